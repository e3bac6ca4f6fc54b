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
_PHENOM_TAG, _FIBICS_TAG = 34683, 51023
_GATAN_UNIT_TAG, _GATAN_SCALE_TAG = 65003, 65009
_TIFF_MARKS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_BINARY_LINE = re.compile(r"([A-Za-z0-9]\w*=[^\x00-\x08]*|\[\w+\])$")
_UNIT_IN_KEY = re.compile(r"\s*(?:[(\[]\s*([^)\]]+)[)\]]|(?:_|\s+in\s+|\s+)([pnuµμm]?m))$")
_TWO_SIDES = re.compile(r"^(.*?)\s*[xX*×]\s*(\d.*)$")  # noqa: RUF001
_XML_FIELD = re.compile(r'<([\w.]+)(?:\s+units?="([^"]*)")?\s*>([^<>]+)</\1>')
_PHENOM_START, _PHENOM_END = b"<FeiImage", b"</FeiImage>"
_IMAGEJ_UNIT = re.compile(r"^unit=(.*)$", re.MULTILINE)
_OME_PIXELS = re.compile(r"<Pixels\b[^>]*>")
_OME_SIZE = re.compile(r'\bPhysicalSizeX(Unit)?="([^"]+)"')
_UM_PER_INCH, _UM_PER_CM = 25_400.0, 10_000.0
_MAX_RESOLUTION_UM = 2.54  # 10,000 dpi: what is coarser describes a screen or a print
_MAX_PAGES = 8
_RESOLUTION = "Resolution"
_SAME = 0.01  # relative difference of two values that are one, as those of two sides


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
    is_of_display
        Whether the pixels are those of the display; the image shows the same field.
    """

    value_um: float
    relative_error: float
    unit_is_written: bool
    shape_px: tuple[int, int] | None = None
    counts_scan: bool = False
    is_resolution: bool = False
    is_of_display: bool = False


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

_OTHER_SIDE = {
    "pixelwidth": "Pixel Height", "pixelsizex": "Pixel Size Y", "pixelsize": "Pixel Size Y",
}  # fmt: skip


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
        sizes: list[StatedSize] = []
        texts: list[str] = []
        for section, key, value in _find_fields(record, place.key, place.section):
            in_key = _UNIT_IN_KEY.search(key)
            written = (in_key[1] or in_key[2]) if in_key else None
            known = None if place.counts_scan and shape_px is None else place.unit
            texts.append(f"'{key} : {value}'")
            if size := _read_size(value, written, known, shape_px):
                is_resolution = section == _RESOLUTION
                sizes.append(StatedSize(*size, place.counts_scan, is_resolution))
            else:
                problem = problem or f"{texts[-1]}, which is no length with a unit"
        if sizes and (contrary := _find_contrary(record, place, sizes)):
            return None, f"{' and '.join(texts)}, which contradict {contrary}"
        if sizes:
            return sizes[0], ""
    return _read_jeol(record) or _read_zeiss_display(record), problem


def _find_contrary(record: Sidecar, place: _Place, sizes: list[StatedSize]) -> str:
    """Say what contradicts a pixel size: another value, or another height; empty if nothing."""
    values_um = [size.value_um for size in sizes]
    if max(values_um) > (1 + _SAME) * min(values_um):
        return "each other"
    other = _OTHER_SIDE.get(fold_key(place.key))
    for _, key, value in _find_fields(record, other, place.section) if other else ():
        in_key = _UNIT_IN_KEY.search(key)
        size = _read_size(value, (in_key[1] or in_key[2]) if in_key else None, place.unit, None)
        if size and not 1 - _SAME < size[0] / values_um[0] < 1 + _SAME:
            return f"'{key} : {value}': pixels that are not square are not read"
    return ""


def read_embedded(data: bytes) -> Sidecar:
    """Read what was written into an image file beside the image.

    Parameters
    ----------
    data
        Content of the file: TIFF with the tags of FEI/Thermo, Zeiss, TESCAN, Phenom, Fibics, Gatan,
        ImageJ or OME, JPEG of Phenom, or any image with a resolution finer than any screen or
        print has.

    Returns
    -------
    Sidecar
        Its fields; empty if there are none, or if the file is damaged.
    """
    try:
        if data.startswith(_TIFF_MARKS):
            with tifffile.TiffFile(io.BytesIO(data)) as tiff:
                return Sidecar(_read_tiff(tiff))
        if sections := _read_phenom(data):
            return Sidecar(sections)
        with Image.open(io.BytesIO(data)) as image:
            return Sidecar(_describe_resolution(image.info.get("dpi"), _UM_PER_INCH))
    except (
        tifffile.TiffFileError, Image.DecompressionBombError, OSError, EOFError, SyntaxError,
        ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError,
        struct.error,
    ):  # fmt: skip
        return Sidecar()


def _find_fields(
    record: Sidecar, wanted_key: str, wanted_section: str | None
) -> Iterator[tuple[str, str, str]]:
    """Section, key and value of every field of a place; a unit in the key does not matter."""
    wanted = fold_key(wanted_key)
    for section, fields in record.sections.items():
        if wanted_section is None or fold_key(section) == fold_key(wanted_section):
            for key, value in fields.items():
                if fold_key(_UNIT_IN_KEY.sub("", key)) == wanted:
                    values = [value] if isinstance(value, str) else value
                    yield from ((section, key, part) for part in values if part)


def _read_size(
    text: str, written: str | None, known: str | None, shape_px: tuple[int, int] | None
) -> tuple[float, float, bool, tuple[int, int] | None] | None:
    """First fields of a ``StatedSize``; None unless the text is a length, or two that agree."""
    sides = _TWO_SIDES.match(text) if parse_length_um(text, written or known) is None else None
    if sides:
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


def _read_zeiss_display(record: Sidecar) -> StatedSize | None:
    """Pixel size of the display and the pixels that its field takes there, of older software."""
    edge_um, width_um, height_um = (
        next((um for text in record.find(key) if (um := parse_length_um(text))), 0.0)
        for key in ("AP_PIXEL_SIZE", "AP_WIDTH", "AP_HEIGHT")
    )
    if min(edge_um, width_um, height_um) <= 0:
        return None
    shape_px = round(width_um / edge_um), round(height_um / edge_um)
    return StatedSize(width_um / shape_px[0], 0.001, True, shape_px, is_of_display=True)


def _read_phenom(data: bytes) -> Sections:
    """Fields of the XML that Phenom writes into a TIFF tag, or behind the pixels of a JPEG."""
    start, end = data.rfind(_PHENOM_START), data.rfind(_PHENOM_END)
    if not 0 <= start < end:
        return {}
    fields = _XML_FIELD.findall(data[start:end].decode("utf-8", "replace"))
    return {"Phenom": {name: f"{value.strip()} {unit}".strip() for name, unit, value in fields}}


def _read_fibics(data: bytes) -> Sections:
    """Pixel size of an image of Zeiss Atlas (Fibics): its field over its width."""
    fields = _XML_FIELD.findall(data.decode("latin-1"))
    found = {name: (value.strip(), unit) for name, unit, value in reversed(fields)}
    (field, unit), (width, _) = found.get("FOV_X", ("", "")), found.get("Width", ("", ""))
    field_um, width_px = parse_length_um(field, unit), parse_number(width)
    if not field_um or not width_px or min(field_um, width_px) <= 0:
        return {}
    instrument = found.get("Machine", ("", ""))[0]
    sections = _describe_size("Fibics", field_um / width_px, "um")
    return {**sections, "Image": {"Instrument": instrument}} if instrument else sections


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
    for code, read in ((_PHENOM_TAG, _read_phenom), (_FIBICS_TAG, _read_fibics)):
        if not sections and code in tags:
            sections = read(_read_tag_bytes(tiff, tags[code]))
    if sections:
        return sections
    if _GATAN_UNIT_TAG in tags and _GATAN_SCALE_TAG in tags:
        unit = str(tags[_GATAN_UNIT_TAG].value).strip("\x00 ")
        return _describe_size("Gatan", float(tags[_GATAN_SCALE_TAG].value), unit)
    return _read_software(max(pages, key=lambda page: page.imagewidth * page.imagelength), pages[0])


def _read_tag_text(tiff: tifffile.TiffFile, tag: tifffile.TiffTag) -> str:
    """Text of a tag as it stands in the file: its numbers keep their digits and units."""
    data = _read_tag_bytes(tiff, tag)
    if data[1:2] == b"\x00":
        return data.decode("utf-16-le", "replace").rstrip("\x00")
    try:
        return data.decode("utf-8").rstrip("\x00")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace").rstrip("\x00")


def _read_tag_bytes(tiff: tifffile.TiffFile, tag: tifffile.TiffTag) -> bytes:
    tiff.filehandle.seek(tag.valueoffset)
    return bytes(tiff.filehandle.read(tag.count))


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
