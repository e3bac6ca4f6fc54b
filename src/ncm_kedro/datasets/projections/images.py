"""Projections as a file each: folders of TIFF or of ESRF's EDF.

Flats are files whose name begins with ``flat`` or ``ref``, darks with ``dark``; all others are
projections, in the natural order of their names.
"""

from __future__ import annotations

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

_FLATS, _DARKS = ("flat", "ref"), ("dark",)


@dataclass(frozen=True)
class ImageFrames:
    """Reads frames, a file each, by number."""

    files: tuple[Path, ...]

    def __call__(self, numbers: NDArray[np.intp]) -> NDArray[Any]:
        """Read the frames."""
        frames = [_read_image(self.files[int(number)]) for number in numbers]
        for number, frame in zip(numbers, frames, strict=True):
            if frame.shape != frames[0].shape:
                raise make_scan_error(
                    self.files[int(number)],
                    f"an image of {frame.shape} px",
                    f"{frames[0].shape} px, as those before it",
                    "remove it, or export the scan again",
                )
        return np.stack(frames)


def open_image_scan(folder: Path) -> OpenedDistance:
    """Open a folder of images.

    Raises
    ------
    TomogramError
        If there is no projection, or flats or darks are of another size.
    """
    files = sorted(
        (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES),
        key=lambda path: natural_key(path.name),
    )
    flats = [path for path in files if path.name.lower().startswith(_FLATS)]
    darks = [path for path in files if path.name.lower().startswith(_DARKS)]
    projections = [path for path in files if path not in flats and path not in darks]
    if not projections:
        raise make_scan_error(folder, "no projections as .tif, .tiff or .edf")
    shape = _read_image(projections[0]).shape
    for path in (*flats[:1], *darks[:1]):
        if _read_image(path).shape != shape:
            raise make_scan_error(
                path,
                f"a frame of {_read_image(path).shape} px",
                f"{shape} px, as the projections have",
                "supply flats and darks that were taken with the frame of the projections",
            )
    return OpenedDistance(
        scan=DistanceScan(
            source=str(folder),
            read=ImageFrames(tuple(projections)),
            frames=np.arange(len(projections)),
            flat_frames=np.arange(len(flats)),
            dark_frames=np.arange(len(darks)),
            read_flats=ImageFrames(tuple(flats)),
            read_darks=ImageFrames(tuple(darks)),
        ),
        shape_yx=(int(shape[0]), int(shape[1])),
        angles_deg=None,
        files=tuple(files),
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
