"""The pixel size as an instrument states it: beside the image, or in tags of the image file.

Which fields of which vendor are read, and in which unit they are written: docs/sem_ingest.md.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import tifffile
from PIL import Image

from ncm_kedro.sem.io.sidecar import PIXEL_SIZE_KEYS, Sections, Sidecar, fold_key, parse_sections
from ncm_kedro.units import parse_length_um, parse_number, split_quantity, um_per_unit

_FEI_TAGS, _ZEISS_TAG, _TESCAN_TAG = (34682, 34680), 34118, 50431
_GATAN_UNIT_TAG, _GATAN_SCALE_TAG = 65003, 65009
_TIFF_MARKS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_BINARY_LINE = re.compile(r"([A-Za-z0-9]\w*=[^\x00-\x08]*|\[\w+\])$")
_UNIT_IN_KEY = re.compile(r"\s*(?:[(\[]\s*([^)\]]+)[)\]]|(?:_|\s+in\s+|\s+)([pnuµμm]?m))$")
_TWO_SIDES = re.compile(r"^(.*?)\s*[xX*]\s*(.*)$")
_IMAGEJ_UNIT = re.compile(r"^unit=(.*)$", re.MULTILINE)
_OME_PIXELS = re.compile(r"<Pixels\b[^>]*>")
_OME_SIZE = re.compile(r'\bPhysicalSizeX(Unit)?="([^"]+)"')
_UM_PER_INCH, _UM_PER_CM = 25_400.0, 10_000.0
_MAX_RESOLUTION_UM = 2.54  # 10,000 dpi: what is coarser describes a screen or a print
_MAX_PAGES = 8
_RESOLUTION = "Resolution"


@dataclass(frozen=True)
class StatedSize:
    """A pixel size as it is written.

    Parameters
    ----------
    value_um
        Edge of a pixel (um).
    relative_error
        Half a unit of the last digit that is written, over the value.
    unit_is_written
        Whether the unit stands beside the number; otherwise the format has but one.
    shape_px
        Width and height of the image whose pixels are counted, None where that is not said.
    counts_scan
        Whether the pixels are those of the scan, which is saved at another size.
    is_resolution
        Whether it is no more than the resolution of the image file.
    """

    value_um: float
    relative_error: float
    unit_is_written: bool
    shape_px: tuple[int, int] | None = None
    counts_scan: bool = False
    is_resolution: bool = False


@dataclass(frozen=True)
class _Place:
    """Where a format keeps its pixel size, its unit, and the size of the image it belongs to."""

    key: str
    section: str | None = None
    unit: str | None = None
    shape_keys: tuple[str, ...] = ()
    counts_scan: bool = False


_PLACES = (
    *(_Place("PixelWidth", scan, "m", ("ResolutionX", "ResolutionY"))
      for scan in ("Scan", "EScan", "IScan")),
    _Place("AP_IMAGE_PIXEL_SIZE", shape_keys=("DP_IMAGE_STORE",)),
    _Place("PixelSizeX", "MAIN", "m"),
    _Place("PixelSize", "SemImageFile", "nm", ("DataSize",)),
    *(_Place("Pixel Size", section, "um", ("Frame Size",), counts_scan=True)
      for section in ("Active Scan", "Image Info")),
    *(_Place(key) for key in PIXEL_SIZE_KEYS),
)  # fmt: skip
"""FEI/Thermo, Zeiss, TESCAN, Hitachi, SEC; then any format that writes the unit."""


def find_stated_size(record: Sidecar) -> tuple[StatedSize | None, str]:
    """Find the pixel size in what an instrument wrote.

    Returns
    -------
    size, problem
        The size, None without one; and what stood in its place and is no length with a unit,
        empty if nothing did.
    """
    problem = ""
    for place in _PLACES:
        shape_px = _read_shape(record, place.shape_keys)
        for section, key, value in _find_fields(record, place):
            in_key = _UNIT_IN_KEY.search(key)
            written = (in_key[1] or in_key[2]) if in_key else None
            known = None if place.counts_scan and shape_px is None else place.unit
            if size := _read_size(value, written, known, shape_px):
                is_resolution = section == _RESOLUTION
                return StatedSize(*size, place.counts_scan, is_resolution), ""
            problem = problem or f"'{key} : {value}', which is no length with a unit"
    return _read_jeol(record), problem


def read_embedded(data: bytes) -> Sidecar:
    """Read what was written into an image file beside the image.

    Parameters
    ----------
    data
        Content of the file: TIFF with the tags of FEI/Thermo, Zeiss, TESCAN, Gatan, ImageJ or OME,
        or any image with a resolution finer than any screen or print has.

    Returns
    -------
    Sidecar
        Its fields; empty if there are none, or if the file is damaged.
    """
    try:
        if data.startswith(_TIFF_MARKS):
            with tifffile.TiffFile(io.BytesIO(data)) as tiff:
                return Sidecar(_read_tiff(tiff))
        with Image.open(io.BytesIO(data)) as image:
            return Sidecar(_describe_resolution(image.info.get("dpi"), _UM_PER_INCH))
    except (
        tifffile.TiffFileError, Image.DecompressionBombError, OSError, EOFError, SyntaxError,
        ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError,
        struct.error,
    ):  # fmt: skip
        return Sidecar()


def _find_fields(record: Sidecar, place: _Place) -> Iterator[tuple[str, str, str]]:
    """Section, key and value of every field of a place; a unit in the key does not matter."""
    wanted = fold_key(place.key)
    for section, fields in record.sections.items():
        if place.section is None or fold_key(section) == fold_key(place.section):
            for key, value in fields.items():
                if fold_key(_UNIT_IN_KEY.sub("", key)) == wanted:
                    values = [value] if isinstance(value, str) else value
                    yield from ((section, key, part) for part in values if part)


def _read_size(
    text: str, written: str | None, known: str | None, shape_px: tuple[int, int] | None
) -> tuple[float, float, bool, tuple[int, int] | None] | None:
    """First fields of a ``StatedSize``; None unless the text is a length, or two that agree."""
    if sides := _TWO_SIDES.match(text):
        first, second = split_quantity(sides[1]), split_quantity(sides[2])
        if first[0] != second[0] or first[1] not in ("", second[1]):
            return None
        text = sides[2]
    number, unit = split_quantity(text)
    value_um = parse_length_um(text, written or known)
    if value_um is None or not 0 < value_um < float("inf"):
        return None
    digits = re.sub(r"\D", "", number.partition("e")[0])
    return value_um, 0.5 / int(digits), bool(unit or written), shape_px


def _read_shape(record: Sidecar, keys: tuple[str, ...]) -> tuple[int, int] | None:
    """Width and height from one field (``1280x960``) or from two."""
    if len(keys) == 1:
        return record.find_pair(keys[0])
    sides = [int(value) for key in keys for value in record.find(key) if value.isdecimal()]
    return (sides[0], sides[1]) if len(sides) == 2 and all(sides) else None


def _read_jeol(record: Sidecar) -> StatedSize | None:
    """Length of the drawn bar over its pixels: the pixel size of the saved image."""
    length = next(record.find("SM_MICRON_MARKER"), "")
    length_um, bar_px = (
        parse_length_um(length),
        parse_number(next(record.find("SM_MICRON_BAR"), "")),
    )
    if not length_um or not bar_px or min(length_um, bar_px) <= 0:
        return None
    return StatedSize(length_um / bar_px, 0.5 / bar_px, True, record.find_pair("CM_FULL_SIZE"))


def _read_tiff(tiff: tifffile.TiffFile) -> Sections:
    pages = [tiff.pages[index] for index in range(min(len(tiff.pages), _MAX_PAGES))]
    tags = {tag.code: tag for page in reversed(pages) for tag in page.tags.values()}
    sections: Sections = {}
    for code in (*_FEI_TAGS, _ZEISS_TAG, _TESCAN_TAG):
        if code in tags:
            text = _read_tag_text(tiff, tags[code])
            if code == _TESCAN_TAG:  # a binary tag; its fields stand between other blocks
                lines = (_BINARY_LINE.search(line) for line in text.splitlines())
                text = "[MAIN]\n" + "\n".join(line[1] for line in lines if line)
            sections = {**sections, **parse_sections(text)[0]}
    if sections:
        return sections
    if _GATAN_UNIT_TAG in tags and _GATAN_SCALE_TAG in tags:
        unit = str(tags[_GATAN_UNIT_TAG].value).strip("\x00 ")
        return _describe_size("Gatan", float(tags[_GATAN_SCALE_TAG].value), unit)
    return _read_software(max(pages, key=lambda page: page.imagewidth * page.imagelength), pages[0])


def _read_tag_text(tiff: tifffile.TiffFile, tag: tifffile.TiffTag) -> str:
    """Text of a tag as it stands in the file: its numbers keep their digits and units."""
    tiff.filehandle.seek(tag.valueoffset)
    data = bytes(tiff.filehandle.read(tag.count))
    if data[1:2] == b"\x00":
        return data.decode("utf-16-le", "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _read_software(page: tifffile.TiffPage, first: tifffile.TiffPage) -> Sections:
    """Pixel size by OME, ImageJ or the plain resolution of the largest page."""
    description = first.description.replace("\\u00B5", "µ")
    if pixels := _OME_PIXELS.search(description):
        found = {unit: value for unit, value in _OME_SIZE.findall(pixels[0])}
        size = parse_number(found.get("", ""))
        return _describe_size("OME", size or 0.0, found.get("Unit", "um"))
    counts = [page.tags.valueof(code, (0, 1)) for code in ("XResolution", "YResolution")]
    x, y = (numerator / denominator for numerator, denominator in counts)
    if x <= 0 or not 0.99 < y / x < 1.01:
        return {}
    if (unit := _IMAGEJ_UNIT.search(description)) and description.startswith("ImageJ="):
        name = unit[1].strip()
        if um_per_unit(name) is not None and name.casefold() not in ("inch", "in", "cm"):
            return _describe_size("ImageJ", 1.0 / x, name)
    um_per_resolution_unit = {2: _UM_PER_INCH, 3: _UM_PER_CM}.get(int(page.resolutionunit))
    return _describe_resolution((x, y), um_per_resolution_unit)


def _describe_resolution(per_unit: tuple[float, float] | None, unit_um: float | None) -> Sections:
    """Pixel size of a resolution, unless it is one that screens and prints have."""
    if not per_unit or unit_um is None or per_unit[0] <= 0:
        return {}
    value_um = unit_um / float(per_unit[0])
    if value_um > _MAX_RESOLUTION_UM or not 0.99 < per_unit[1] / per_unit[0] < 1.01:
        return {}
    return _describe_size(_RESOLUTION, value_um, "um")


def _describe_size(section: str, value: float, unit: str) -> Sections:
    return {section: {"Pixel Size": f"{value:.10g} {unit}"}} if value > 0 else {}
