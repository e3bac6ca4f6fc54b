"""Tomograms in TIFF: one stack in a file, or a folder of sections."""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from ncm_kedro.datasets.tomograms.notes import (
    OpenedVolume,
    assume_cubes,
    check_volume,
    convert_to_um,
    make_volume_error,
)
from ncm_kedro.errors import TomogramError
from ncm_kedro.tomo.volumes.volume import CUBES, Region, Spacing, Triple

TIFF_SUFFIXES = (".tif", ".tiff")
SECTION_SUFFIXES = (*TIFF_SUFFIXES, ".png")

_READ_ERRORS = (
    tifffile.TiffFileError, OSError, ValueError, IndexError, KeyError, TypeError, AttributeError,
    struct.error,
)  # fmt: skip
_PRINT_PIXEL_UM = 20.0  # a printer's resolution, 72 to 1200 dpi, gives larger pixels
_UNIT_NAMES = {2: "inch", 3: "cm"}  # ResolutionUnit
_COPY = re.compile(
    r"^(copy|kopie) (\(\d+\) )?(of|von) "
    r"|[ _-]*\((copy|kopie|\d+)\)$|[ _-]+(copy|kopie|copie|copia)( ?\(?\d+\)?)?$",
    re.IGNORECASE,
)
_NAMED = 8  # files that a message names


def open_tiff(path: Path) -> OpenedVolume:
    """Open a multi-page TIFF, an ImageJ or OME stack, or a BigTIFF.

    Raises
    ------
    TomogramError
        If it is damaged, or not one grey volume.
    """
    if not path.stat().st_size:
        raise make_volume_error(path, "an empty file (0 bytes)")
    try:
        with tifffile.TiffFile(path) as tiff:
            return _describe_stack(path, tiff)
    except _READ_ERRORS as error:
        raise _damaged(path, str(error)) from error


def _describe_stack(path: Path, tiff: tifffile.TiffFile) -> OpenedVolume:
    _check_chain(path, tiff)
    series = tiff.series[0]
    pages = list(series.pages)
    lost = sum(page is None for page in pages)
    if lost:
        raise make_volume_error(
            path,
            f"{lost} of {len(pages)} planes missing, which its OME-XML places in this or other "
            "files",
            "every plane that the OME-XML names",
            "put the files that belong together into one folder, or export one file again",
        )
    page = series.keyframe
    shapes = {(page.shape, page.dtype) for page in (s.keyframe for s in tiff.series)}
    if len(tiff.series) > 1 and len(shapes) > 1:
        found = " and ".join(sorted(f"{s} {d}" for s, d in shapes))
        raise make_volume_error(path, f"sections of different shape or type: {found}")
    if len(tiff.series) > 1:
        raise make_volume_error(path, f"{len(tiff.series)} separate images in one file")
    if "S" in series.axes or "C" in series.axes or page.samplesperpixel > 1:
        raise make_volume_error(path, f"colour or several channels (axes {series.axes})")
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        raise make_volume_error(path, "a colour palette instead of grey values")
    shape = check_volume(path, series.shape, series.dtype)
    kind = series.dtype.newbyteorder(tiff.byteorder)
    read: MappedStack | PagedStack | ChunkedStack
    files = sorted({Path(page.parent.filehandle.path) for page in pages} | {path})
    if (
        series.dataoffset is not None
        and page.compression == 1
        and page.bitspersample % 8 == 0
        and len(files) == 1
    ):
        ends = {path: series.dataoffset + int(np.prod(shape)) * kind.itemsize}
        read = MappedStack(path, series.dataoffset, shape, kind)
    else:
        ends = dict.fromkeys(files, 0)
        for one in pages:
            file = Path(one.parent.filehandle.path)
            ends[file] = max(ends[file], _end_of(one))
        read = PagedStack(path, shape) if len(pages) == shape[0] else ChunkedStack(path, shape)
    for file, needed in ends.items():
        if needed > file.stat().st_size:
            raise _damaged(file, f"{file.stat().st_size} of {needed} bytes")
    spacing, said = _find_voxel_size(tiff)
    return OpenedVolume(shape, kind, read, spacing, said, tuple(files))


def open_sections(folder: Path) -> OpenedVolume:
    """Open a folder of sections, one file each, in natural order of their names.

    Parameters
    ----------
    folder
        Holds ``*.tif``, ``*.tiff`` or ``*.png``.

    Raises
    ------
    TomogramError
        If there is none, they differ in shape or type, or some are there twice.
    """
    files = list_sections(folder)
    if not files:
        raise make_volume_error(folder, "a folder without TIFF or PNG sections")
    _check_names(folder, files)
    if len(files) == 1 and files[0].suffix.lower() in TIFF_SUFFIXES:
        return open_tiff(files[0])
    first = _describe_section(files[0])
    for file in files[1:]:
        other = _describe_section(file)
        if other != first:
            raise make_volume_error(
                file,
                f"a section of {other[0]} {other[1]}, where the first ({files[0].name}) has "
                f"{first[0]} {first[1]}",
                "sections of one shape and type",
                "export the reconstruction again, or move the unrelated files out of the folder",
            )
    shape = check_volume(folder, (len(files), *first[0]), first[1])
    spacing, said = _find_section_size(files[0])
    read = SectionFolder(tuple(files))
    gaps = _find_gaps(files)
    return OpenedVolume(shape, first[1], read, spacing, said, tuple(files), gaps)


def list_sections(folder: Path) -> list[Path]:
    """List the image files of a folder; ``s2.tif`` comes before ``s10.tif``."""
    files = [path for path in folder.iterdir() if path.suffix.lower() in SECTION_SUFFIXES]
    visible = [path for path in files if not path.name.startswith(".") and not path.is_dir()]
    broken = [path for path in visible if not path.is_file()]
    if broken:
        raise make_volume_error(
            folder, f"links to files that are not there: {_name_some(broken)}", "every section",
            "connect the drive that holds them, or remove the links",
        )  # fmt: skip
    return sorted(visible, key=lambda path: _natural_key(path.stem))


def _check_names(folder: Path, files: Sequence[Path]) -> None:
    """Refuse sections that are there twice, and images that are no sections of the series."""
    for path in files:
        plain = _COPY.sub("", path.stem).lower()
        if plain != path.stem.lower() and any(plain == other.stem.lower() for other in files):
            raise _ambiguous(folder, "copies beside their originals",
                             [f for f in files if _COPY.search(f.stem)])  # fmt: skip
    number = Counter(tuple(_natural_key(path.stem)) for path in files)
    twice = [path for path in files if number[tuple(_natural_key(path.stem))] > 1]
    if twice:
        raise _ambiguous(folder, "sections of one number in more than one file", twice)
    patterns = Counter(_pattern(path) for path in files)
    (usual, count), *others = patterns.most_common()
    if others and "#" in usual and count > 1:
        strangers = [path for path in files if _pattern(path) != usual]
        raise _ambiguous(folder, f"images named unlike the other {count}", strangers)


def _pattern(path: Path) -> str:
    return re.sub(r"\d+", "#", path.stem.lower()) + path.suffix.lower()[:4]


def _find_gaps(files: Sequence[Path]) -> tuple[str, ...]:
    """Warn where numbers are missing from the one that counts through the names."""
    fields = [[int(n) for n in re.findall(r"\d+", path.stem)] for path in files]
    if len({len(field) for field in fields}) != 1 or len(files) < 3:
        return ()
    counting = [column for column in zip(*fields, strict=True) if len(set(column)) > 1]
    if len(counting) != 1:
        return ()
    numbers = np.array(counting[0])
    step = Counter(np.diff(numbers).tolist()).most_common(1)[0][0]
    missing = sorted(set(range(numbers[0], numbers[-1] + 1, step)) - set(numbers.tolist()))
    if not missing:
        return ()
    width = len(re.findall(r"\d+", files[0].stem)[-1])
    named = ", ".join(f"{n:0{width}d}" for n in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return (
        f"sections {named}{more} are missing: {len(files)} files are numbered {numbers[0]} to "
        f"{numbers[-1]}. Their neighbours are stacked upon each other, and what lies there is "
        "too short along z",
    )


def _ambiguous(folder: Path, found: str, files: Sequence[Path]) -> TomogramError:
    return make_volume_error(
        folder, f"{found}: {_name_some(files)}", "one file per section, and nothing else",
        "move what is too much out of the folder",
    )  # fmt: skip


def _name_some(files: Sequence[Path]) -> str:
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    return ", ".join(path.name for path in files[:_NAMED]) + more


@dataclass(frozen=True)
class MappedStack:
    """Reads voxels that lie in a file one after the other."""

    path: Path
    offset: int
    shape_zyx: Triple
    dtype: np.dtype[Any]

    def __call__(self, region: Region) -> NDArray[Any]:
        """Map a region; pages are read when it is copied."""
        mapped = np.memmap(self.path, self.dtype, "r", self.offset, self.shape_zyx)
        return mapped[region]


@dataclass(frozen=True)
class PagedStack:
    """Decodes the sections that a region touches."""

    path: Path
    shape_zyx: Triple

    def __call__(self, region: Region) -> NDArray[Any]:
        """Read a region."""
        with tifffile.TiffFile(self.path) as tiff:
            pages = tiff.series[0].pages
            sections = range(*region[0].indices(self.shape_zyx[0]))
            return np.stack([pages[z].asarray(maxworkers=1)[region[1:]] for z in sections])


@dataclass(frozen=True)
class ChunkedStack:
    """Reads a volume whose pages are not its sections, as a volumetric page, tile by tile."""

    path: Path
    shape_zyx: Triple

    def __call__(self, region: Region) -> NDArray[Any]:
        """Read a region."""
        import zarr

        store = tifffile.imread(self.path, aszarr=True, level=0)
        try:
            return np.asarray(zarr.open_array(store, mode="r")[region]).reshape(
                [len(range(*part.indices(n))) for part, n in zip(region, self.shape_zyx,
                                                                 strict=True)]
            )  # fmt: skip
        finally:
            store.close()


@dataclass(frozen=True)
class SectionFolder:
    """Decodes the files that a region touches."""

    files: tuple[Path, ...]

    def __call__(self, region: Region) -> NDArray[Any]:
        """Read a region."""
        return np.stack([_read_section(file)[region[1:]] for file in self.files[region[0]]])


def _describe_section(file: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    if not file.stat().st_size:
        raise make_volume_error(file, "an empty file (0 bytes)")
    if file.suffix.lower() not in TIFF_SUFFIXES:
        image = _read_section(file)
        return image.shape, image.dtype
    try:
        with tifffile.TiffFile(file) as tiff:
            _check_chain(file, tiff)
            page = tiff.pages[0]
            if len(tiff.pages) > 1:
                raise make_volume_error(file, f"{len(tiff.pages)} pages in one file of a folder",
                                    "one section per file")  # fmt: skip
            if page.is_volumetric:
                raise make_volume_error(file, f"a volume ({page.shape}) in a folder of sections",
                                        "one section per file")  # fmt: skip
            if len(page.shape) != 2 or page.photometric == tifffile.PHOTOMETRIC.PALETTE:
                raise make_volume_error(file, f"a colour image ({page.shape})", "grey sections")
            if _end_of(page) > file.stat().st_size:
                raise _damaged(file, f"{file.stat().st_size} of {_end_of(page)} bytes")
            return page.shape, page.dtype.newbyteorder(tiff.byteorder)
    except _READ_ERRORS as error:
        raise _damaged(file, str(error)) from error


def _read_section(file: Path) -> NDArray[Any]:
    if file.suffix.lower() in TIFF_SUFFIXES:
        with tifffile.TiffFile(file) as tiff:  # the page, whatever shape its metadata gives it
            return np.asarray(tiff.pages[0].asarray(maxworkers=1))
    image = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise _damaged(file, "no image that can be decoded")
    if image.ndim != 2:
        raise make_volume_error(file, f"a colour image ({image.shape})", "grey sections")
    return np.asarray(image)


def _check_chain(path: Path, tiff: tifffile.TiffFile) -> None:
    """Reject a file whose last page names a next one that is not there."""
    last, form, handle = tiff.pages[len(tiff.pages) - 1], tiff.tiff, tiff.filehandle
    handle.seek(last.offset)
    tags = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))[0]
    handle.seek(last.offset + form.tagnosize + tags * form.tagsize)
    following = struct.unpack(form.offsetformat, handle.read(form.offsetsize))[0]
    if following:
        raise _damaged(path, f"{len(tiff.pages)} pages, and a next one that cannot be read")


def _end_of(page: Any) -> int:
    pairs = zip(page.dataoffsets, page.databytecounts, strict=True)
    return max((offset + count for offset, count in pairs), default=0)


def _find_voxel_size(tiff: tifffile.TiffFile) -> tuple[Spacing | None, str]:
    """Find the voxel size in OME-XML, in ImageJ's notes, or in the resolution tags."""
    if tiff.ome_metadata:
        pixels = _first_image(tifffile.xml2dict(tiff.ome_metadata)).get("Pixels", {})
        sizes = [
            convert_to_um(
                float(pixels.get(f"PhysicalSize{axis}", 0)),
                pixels.get(f"PhysicalSize{axis}Unit", "µm"),
            )
            for axis in "ZYX"
        ]
        return assume_cubes(sizes, "OME-XML PhysicalSize")
    page = tiff.pages[0]
    across = [_resolution(page, name) for name in ("YResolution", "XResolution")]
    tag = page.tags.get("ResolutionUnit")
    per = _UNIT_NAMES.get(int(tag.value)) if tag is not None else None
    if tiff.imagej_metadata:
        # As ImageJ's decoder: the unit of the notes, else the tag's, for all three axes; a depth
        # of 1 is left out, and its sign means nothing.
        notes = tiff.imagej_metadata
        unit = notes.get("unit") or per
        pixels_yx = [convert_to_um(1 / n, unit) if n else None for n in across]
        depth = convert_to_um(abs(float(notes.get("spacing", 1.0))), unit)
        if "unit" not in notes and "spacing" not in notes:  # a printer's resolution, or nothing
            return _cubic_voxels(per, across)
        if depth is None or None in pixels_yx:
            return None, f"ImageJ's unit {unit!r} is no length, or its resolution is missing"
        return assume_cubes([depth, *pixels_yx], "ImageJ spacing and resolution")
    return _cubic_voxels(per, across)


def _find_section_size(file: Path) -> tuple[Spacing | None, str]:
    if file.suffix.lower() not in TIFF_SUFFIXES:
        return None, "PNG sections hold no size"
    with tifffile.TiffFile(file) as tiff:
        return _find_voxel_size(tiff)


def _cubic_voxels(unit: str | None, across: Sequence[float]) -> tuple[Spacing | None, str]:
    """Take square pixels of a plausible size as faces of cubes."""
    if unit is None or not all(across):
        return None, "the TIFF tags give no resolution"
    height, width = (convert_to_um(1 / n, unit) or 0.0 for n in across)
    if max(height, width) >= _PRINT_PIXEL_UM or abs(height - width) > 1e-3 * width:
        return None, f"the TIFF tags give {height:.4g} x {width:.4g} um, a printer's resolution"
    return (width, width, width), f"TIFF resolution, {CUBES}"


def _resolution(page: Any, name: str) -> float:
    tag = page.tags.get(name)
    if tag is None:
        return 0.0
    numerator, denominator = tag.value
    return numerator / denominator if denominator else 0.0


def _first_image(document: dict[str, Any]) -> dict[str, Any]:
    image = document.get("OME", {}).get("Image", {})
    first = image[0] if isinstance(image, list) and image else image
    return first if isinstance(first, dict) else {}


def _natural_key(text: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", text)
    return [(1, int(p), "") if p.isdigit() else (0, 0, p.lower()) for p in parts if p]


def _damaged(path: Path, found: str) -> TomogramError:
    return make_volume_error(path, f"a damaged or truncated file ({found})", "an intact image file",
                         "copy or export the file again")  # fmt: skip
