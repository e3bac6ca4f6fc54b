"""Tomograms in TIFF: one stack in a file."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from ncm_kedro.datasets.tomograms.notes import (
    OpenedVolume,
    assume_cubes,
    check_volume,
    convert_to_um,
    join_spacing,
    make_volume_error,
)
from ncm_kedro.errors import TomogramError
from ncm_kedro.tomo.volumes.volume import CUBES, Region, Spacing, Triple

READ_ERRORS = (
    tifffile.TiffFileError, OSError, ValueError, IndexError, KeyError, TypeError, AttributeError,
    struct.error,
)  # fmt: skip
_PRINT_PIXEL_UM = 20.0  # a printer's resolution, 72 to 1200 dpi, gives larger pixels
_UNIT_NAMES = {2: "inch", 3: "cm"}  # ResolutionUnit


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
    except READ_ERRORS as error:
        raise make_damage_error(path, str(error)) from error


def _describe_stack(path: Path, tiff: tifffile.TiffFile) -> OpenedVolume:
    check_chain(path, tiff)
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
    read: PlainStack | PagedStack | ChunkedStack
    files = sorted({Path(page.parent.filehandle.path) for page in pages} | {path})
    if (
        series.dataoffset is not None
        and page.compression == 1
        and page.bitspersample % 8 == 0
        and len(files) == 1
    ):
        ends = {path: series.dataoffset + int(np.prod(shape)) * kind.itemsize}
        read = PlainStack(path, series.dataoffset, shape, kind)
    else:
        ends = dict.fromkeys(files, 0)
        for one in pages:
            file = Path(one.parent.filehandle.path)
            ends[file] = max(ends[file], find_end(one))
        read = PagedStack(path, shape) if len(pages) == shape[0] else ChunkedStack(path, shape)
    for file, needed in ends.items():
        if needed > file.stat().st_size:
            raise make_damage_error(file, f"{file.stat().st_size} of {needed} bytes")
    spacing, said = find_voxel_size(tiff)
    return OpenedVolume(shape, kind, read, spacing, said, tuple(files))


@dataclass(frozen=True)
class PlainStack:
    """Reads voxels that lie in a file one after the other."""

    path: Path
    offset: int
    shape_zyx: Triple
    dtype: np.dtype[Any]

    def __call__(self, region: Region) -> NDArray[Any]:
        """Read a region; a map of the file would end the process where the disk fails."""
        sections, rows, _ = (range(*part.indices(n))
                             for part, n in zip(region, self.shape_zyx, strict=True))  # fmt: skip
        _, height, width = self.shape_zyx
        band = np.empty((len(sections), len(rows), width), self.dtype)
        with self.path.open("rb") as file:
            for place, z in enumerate(sections):
                file.seek(self.offset + (z * height + rows.start) * width * self.dtype.itemsize)
                values = np.fromfile(file, self.dtype, len(rows) * width)
                band[place] = values.reshape(len(rows), width)
        return band[:, :, region[2]]


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


def check_chain(path: Path, tiff: tifffile.TiffFile) -> None:
    """Reject a file whose last page names a next one that is not there."""
    last, form, handle = tiff.pages[len(tiff.pages) - 1], tiff.tiff, tiff.filehandle
    handle.seek(last.offset)
    tags = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))[0]
    handle.seek(last.offset + form.tagnosize + tags * form.tagsize)
    following = struct.unpack(form.offsetformat, handle.read(form.offsetsize))[0]
    if following:
        raise make_damage_error(
            path, f"{len(tiff.pages)} pages, and a next one that cannot be read"
        )


def find_end(page: Any) -> int:
    """Return where the data of a page ends in its file (bytes)."""
    pairs = zip(page.dataoffsets, page.databytecounts, strict=True)
    return max((offset + count for offset, count in pairs), default=0)


def find_voxel_size(tiff: tifffile.TiffFile) -> tuple[Spacing | None, str]:
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
        if sizes[0] is None and "PhysicalSizeZ" in pixels:
            return None, f"OME-XML PhysicalSizeZ {pixels['PhysicalSizeZ']} is no length"
        return assume_cubes(sizes, "OME-XML PhysicalSize")
    page = tiff.pages[0]
    across = [_resolution(page, name) for name in ("YResolution", "XResolution")]
    tag = page.tags.get("ResolutionUnit")
    per = _UNIT_NAMES.get(int(tag.value)) if tag is not None else None
    shaped: dict[str, Any] = (tiff.shaped_metadata or ({},))[0]  # as tifffile writes it
    if tiff.imagej_metadata:
        return _find_imagej_size(tiff.imagej_metadata, len(tiff.pages) == 1, per, across)
    if "spacing" in shaped:
        depth = convert_to_um(abs(float(shaped["spacing"])), shaped.get("unit") or per)
        pixels = [convert_to_um(1 / n, per or shaped.get("unit")) if n else None for n in across]
        return join_spacing([depth, *pixels]), "spacing in the description, and resolution"
    return _cubic_voxels(per, across)


def _find_imagej_size(
    notes: Mapping[str, Any], is_page: bool, per: str | None, across: Sequence[float]
) -> tuple[Spacing | None, str]:
    """Read ImageJ's notes as its decoder does.

    The unit of the notes, else the tag's, counts for all axes that have none of their own. A depth
    of 1 is left out, 0 means none, and its sign means nothing. A single section has none.
    """
    if "unit" not in notes and "spacing" not in notes:  # a printer's resolution, or nothing
        return _cubic_voxels(per, across)
    unit = notes.get("unit") or per
    units = [notes.get("zunit") or unit, notes.get("yunit") or unit, unit]
    is_section = is_page and int(notes.get("images", 1)) == 1
    spacing = notes.get("spacing") or (None if is_section else 1.0)
    lengths = [abs(float(spacing)) if spacing else 0.0, *(1 / n if n else 0.0 for n in across)]
    sizes = [convert_to_um(length, one) for length, one in zip(lengths, units, strict=True)]
    if (sizes[0] is None and spacing is not None) or None in sizes[1:]:
        return None, (
            f"ImageJ's unit {unit!r} is no length, or its resolution or spacing is missing"
        )
    return assume_cubes(sizes, "ImageJ spacing and resolution")


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


def make_damage_error(path: Path, found: str) -> TomogramError:
    """Make the error for a file that is not what was written."""
    return make_volume_error(path, f"a damaged or truncated file ({found})", "an intact image file",
                         "copy or export the file again")  # fmt: skip
