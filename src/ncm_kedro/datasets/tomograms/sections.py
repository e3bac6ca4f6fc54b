"""Tomograms as folders of sections, a TIFF or PNG file each."""

from __future__ import annotations

import re
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
    TIFF_SUFFIXES,
    OpenedVolume,
    check_volume,
    make_volume_error,
)
from ncm_kedro.datasets.tomograms.tiff import (
    READ_ERRORS,
    check_chain,
    find_end,
    find_voxel_size,
    make_damage_error,
    open_tiff,
)
from ncm_kedro.errors import TomogramError
from ncm_kedro.tomo.volumes.volume import Region, Spacing
from ncm_kedro.units import natural_key

SECTION_SUFFIXES = (*TIFF_SUFFIXES, ".png")
_COPY = re.compile(
    r"^(copy|kopie) (\(\d+\) )?(of|von) "
    r"|[ _-]*\((copy|kopie|\d+)\)$|[ _-]+(copy|kopie|copie|copia)( ?\(?\d+\)?)?$",
    re.IGNORECASE,
)
_NAMED = 8  # files that a message names
_SPARSE = 20  # numbers by file from which they are moments or angles rather than a count


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
        raise make_volume_error(
            folder,
            "a folder without TIFF or PNG sections",
            action="save each section as TIFF or PNG, all in this folder and none below it",
        )
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
    files = sorted(
        (path for path in folder.iterdir() if path.suffix.lower() in SECTION_SUFFIXES),
        key=lambda path: natural_key(path.stem),
    )
    visible = [path for path in files if not path.name.startswith(".") and not path.is_dir()]
    broken = [path for path in visible if not path.is_file()]
    if broken:
        raise make_volume_error(
            folder, f"links to files that are not there: {_name_some(broken)}", "every section",
            "connect the drive that holds them, or remove the links",
        )  # fmt: skip
    return visible


def _check_names(folder: Path, files: Sequence[Path]) -> None:
    """Refuse sections that are there twice, and images that are no sections of the series."""
    for path in files:
        plain = _COPY.sub("", path.stem).lower()
        if plain != path.stem.lower() and any(plain == other.stem.lower() for other in files):
            raise _ambiguous(folder, "copies beside their originals",
                             [f for f in files if _COPY.search(f.stem)])  # fmt: skip
    number = Counter(natural_key(path.stem) for path in files)
    twice = [path for path in files if number[natural_key(path.stem)] > 1]
    if twice:
        raise _ambiguous(folder, "sections of one number in more than one file", twice)
    patterns = Counter(_pattern(path) for path in files)
    (usual, count), *others = patterns.most_common()
    if others and "#" in usual and count > 1:
        strangers = [path for path in files if _pattern(path) != usual]
        raise _ambiguous(folder, f"images named unlike the other {count}", strangers)
    if len(files) > 1 and (others or not _list_counters(files)):
        raise make_volume_error(
            folder,
            f"names of which no number alone counts the sections: {_name_some(files)}",
            "one number that differs between all sections and grows in their order, as in "
            "s_0001.tif",
            "number the sections of one volume from one end to the other; move other channels or "
            "tiles into folders of their own",
        )


def _pattern(path: Path) -> str:
    return re.sub(r"\d+", "#", path.stem.lower()) + path.suffix.lower()[:4]


def _list_counters(files: Sequence[Path]) -> list[NDArray[np.float64]]:
    """List the numbers in the names that count the sections; none where two of them disagree."""
    fields = [re.findall(r"\d+(?:\.\d+)?", path.stem) for path in files]
    distinct = [
        np.array(column, np.float64)
        for column in zip(*fields, strict=True)
        if len({float(text) for text in column}) == len(files)
    ]
    return distinct if all((np.diff(numbers) > 0).all() for numbers in distinct) else []


def _find_gaps(files: Sequence[Path]) -> tuple[str, ...]:
    """Warn where numbers are missing from the one that counts most evenly."""
    steps = [
        (numbers, *Counter(np.diff(numbers).tolist()).most_common(1)[0])
        for numbers in (_list_counters(files) if len(files) > 2 else [])
    ]
    if not steps:
        return ()
    numbers, step, _ = max(steps, key=lambda one: one[2])
    expected = round((numbers[-1] - numbers[0]) / step) + 1
    if step % 1 or not len(files) < expected < _SPARSE * len(files):
        return ()
    whole = numbers.astype(int)
    missing = sorted(set(range(whole[0], whole[-1] + 1, int(step))) - set(whole.tolist()))
    width = len(re.findall(r"\d+", files[0].stem)[-1])
    named = ", ".join(f"{n:0{width}d}" for n in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return (
        f"sections {named}{more} are missing: {len(files)} files are numbered {whole[0]} to "
        f"{whole[-1]}. Their neighbours are stacked upon each other, and what lies there is "
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
            check_chain(file, tiff)
            page = tiff.pages[0]
            if len(tiff.pages) > 1:
                raise make_volume_error(file, f"{len(tiff.pages)} pages in one file of a folder",
                                    "one section per file")  # fmt: skip
            if page.is_volumetric:
                raise make_volume_error(file, f"a volume ({page.shape}) in a folder of sections",
                                        "one section per file")  # fmt: skip
            if len(page.shape) != 2 or page.photometric == tifffile.PHOTOMETRIC.PALETTE:
                raise make_volume_error(file, f"a colour image ({page.shape})", "grey sections")
            if find_end(page) > file.stat().st_size:
                raise make_damage_error(file, f"{file.stat().st_size} of {find_end(page)} bytes")
            return page.shape, page.dtype.newbyteorder("=")
    except READ_ERRORS as error:
        raise make_damage_error(file, str(error)) from error


def _read_section(file: Path) -> NDArray[Any]:
    if file.suffix.lower() in TIFF_SUFFIXES:
        with tifffile.TiffFile(file) as tiff:  # the page, whatever shape its metadata gives it
            return np.asarray(tiff.pages[0].asarray(maxworkers=1))
    image = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise make_damage_error(file, "no image that can be decoded")
    if image.ndim != 2:
        raise make_volume_error(file, f"a colour image ({image.shape})", "grey sections")
    return np.asarray(image)


def _find_section_size(file: Path) -> tuple[Spacing | None, str]:
    if file.suffix.lower() not in TIFF_SUFFIXES:
        return None, "PNG sections hold no size"
    with tifffile.TiffFile(file) as tiff:
        return find_voxel_size(tiff)
