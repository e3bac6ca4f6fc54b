"""Projections as a file each: folders of TIFF or of ESRF's EDF.

Flats are files whose name begins with ``flat`` or ``ref``, darks with ``dark``; all others are
projections, in the natural order of their names. ``refHST<n>`` and ``ref<frame>_<n>``, as ESRF
names them, were taken before projection n; ``darkend<n>`` there is a sum of darks, ``dark`` a mean.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.datasets.projections.opened import OpenedDistance, make_scan_error
from ncm_kedro.errors import SettingsError
from ncm_kedro.holo.scan import DistanceScan
from ncm_kedro.units import natural_key

IMAGE_SUFFIXES = (".tif", ".tiff", ".edf")

_FLATS, _DARKS, _SUM_OF_DARKS = ("flat", "ref"), ("dark",), "darkend"
_FLAT_PLACE = re.compile(r"ref(?:hst|\d+_)(\d+)$")
_LAST_NUMBER = re.compile(r"(\d+)\D*$")
_ODD_STEPS = 0.1  # of the steps between numbers, at most, where files are numbered in order


@dataclass(frozen=True)
class ImageFrames:
    """Reads frames, a file each, by number."""

    files: tuple[Path, ...]
    shape_yx: tuple[int, int]

    def __call__(self, numbers: NDArray[np.intp]) -> NDArray[Any]:
        """Read the frames."""
        return np.stack([self._read(self.files[int(number)]) for number in numbers])

    def _read(self, path: Path) -> NDArray[Any]:
        frame = _read_image(path)
        if frame.shape != self.shape_yx:
            raise make_scan_error(
                path,
                f"an image of {frame.shape} px",
                f"{self.shape_yx} px, as the first projection has",
                "export it again with the frame of the projections",
            )
        return frame


def open_image_scan(folder: Path) -> OpenedDistance:
    """Open a folder of images.

    Raises
    ------
    TomogramError
        If there is no projection, one is missing by its number, or flats or darks are of another
        size.
    """
    files = sorted(
        (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES),
        key=lambda path: natural_key(path.name),
    )
    flats = [path for path in files if path.name.lower().startswith(_FLATS)]
    darks = [path for path in files if path.name.lower().startswith(_DARKS)]
    projections = sorted(set(files) - {*flats, *darks}, key=files.index)
    if not projections:
        raise make_scan_error(folder, "no projections as .tif, .tiff or .edf")
    _check_numbers(folder, projections)
    height, width = _read_image(projections[0]).shape
    shape = int(height), int(width)
    read = {
        kind: ImageFrames(tuple(paths), shape)
        for kind, paths in (
            ("projections", projections), ("flats", flats), ("darks", _select_darks(darks)),
        )
    }  # fmt: skip
    for frames in read.values():
        if frames.files:
            frames(np.array([0]))
    places = [_FLAT_PLACE.match(path.stem.lower()) for path in flats]
    return OpenedDistance(
        scan=DistanceScan(
            source=str(folder),
            read=read["projections"],
            frames=np.arange(len(projections)),
            flat_frames=np.arange(len(flats)),
            dark_frames=np.arange(len(read["darks"].files)),
            read_flats=read["flats"],
            read_darks=read["darks"],
            flat_places=np.array([int(place[1]) if place else 0 for place in places], np.intp),
        ),
        shape_yx=shape,
        angles_deg=None,
        files=tuple(files),
    )


def _select_darks(darks: Sequence[Path]) -> list[Path]:
    """Take means of darks, not sums."""
    means = [path for path in darks if not path.name.lower().startswith(_SUM_OF_DARKS)]
    if darks and not means:
        raise make_scan_error(
            darks[0],
            "a sum of darks, as ESRF names it, and no mean",
            "darks of one exposure each, or their mean, as `dark...`",
            "divide it by the number of exposures and save it as dark.edf; rename it so if it is "
            "a mean already",
        )
    return means


def _check_numbers(folder: Path, projections: Sequence[Path]) -> None:
    """Check that no number is missing: angles in even steps would be wrong from there on."""
    found = [_LAST_NUMBER.search(path.stem) for path in projections]
    numbers = np.array([int(one[1]) for one in found if one is not None], np.int64)
    if len(numbers) < len(projections) or len(numbers) < 3:
        return
    steps = np.diff(numbers)
    usual = int(np.median(steps))
    odd = np.flatnonzero(steps != usual)
    if 0 < len(odd) <= max(1, _ODD_STEPS * len(steps)):
        raise make_scan_error(
            folder,
            f"{projections[odd[0]].name} followed by {projections[odd[0] + 1].name}",
            f"numbers in steps of {usual}",
            "copy the projections that are missing; if none is, number the files evenly",
        )


def _read_image(path: Path) -> NDArray[Any]:
    try:
        if path.suffix.lower() == ".edf":
            image = _open_edf(path)
        else:
            import tifffile

            image = tifffile.imread(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise make_scan_error(
            path, f"an image that cannot be read ({error})", "an intact file", "copy it again"
        ) from error
    if image.ndim != 2:
        raise make_scan_error(path, f"{image.ndim} axes", "one grey image a file")
    return np.asarray(image)


def _open_edf(path: Path) -> NDArray[Any]:
    try:
        import fabio
    except ImportError as error:
        raise SettingsError(
            path,
            found="an EDF file, and the package fabio not installed",
            expected="the packages of the extra `holo`",
            action="run `pip install fabio algotom nxtomo` in this project's environment",
        ) from error
    return np.asarray(fabio.open(str(path)).data)
