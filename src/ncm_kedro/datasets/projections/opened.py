"""What every reader of projections returns, and a user's notes on a scan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from ncm_kedro.errors import TomogramError
from ncm_kedro.holo.scan import DistanceScan
from ncm_kedro.params.base import FrozenParams


@dataclass(frozen=True)
class OpenedDistance:
    """One distance of a scan: its frames, and what the file says about them (None: nothing).

    Attributes
    ----------
    scan
        Frames.
    shape_yx
        Rows and columns of a frame.
    angles_deg
        (A,), one a projection.
    energy_kev
        Photon energy.
    focus_sample_mm, sample_detector_mm
        Distances along the beam.
    detector_pixel_um, sample_pixel_um
        Edge of a pixel, at the detector and brought back to the sample.
    files
        All files that hold it.
    """

    scan: DistanceScan
    shape_yx: tuple[int, int]
    angles_deg: NDArray[np.float64] | None
    files: tuple[Path, ...]
    energy_kev: float | None = None
    focus_sample_mm: float | None = None
    sample_detector_mm: float | None = None
    detector_pixel_um: float | None = None
    sample_pixel_um: float | None = None


class ScanNotes(FrozenParams):
    """Keys of ``<sample>.yml``; all are optional, and override what the files say."""

    energy_kev: float | None = Field(default=None, gt=0)
    """Photon energy (keV)."""

    focus_sample_mm: tuple[float, ...] | None = None
    """Focus to sample of each distance (mm), in the order of the files' names."""

    focus_detector_mm: float | None = Field(default=None, gt=0)
    """Focus to detector (mm)."""

    propagation_mm: tuple[float, ...] | None = None
    """Sample to detector of each distance in a parallel beam (mm), instead of the two above."""

    pixel_um: float | None = Field(default=None, gt=0)
    """Edge of a detector pixel (um); of a pixel at the sample in a parallel beam."""

    angles_deg: tuple[float, float] | None = None
    """First and last angle (degrees) of projections in even steps, where no file says them."""

    angles_path: str | None = None
    """Path of the angles within an HDF5 file."""

    absorption: bool = False
    """Whether this is one scan close to the detector, of which absorption is wanted, not phase."""

    centre_px: float | None = None
    """Where the rotation axis meets a row (px from the first one's middle); else it is found."""

    half_acquisition: bool = False
    """Whether a whole turn was taken with the axis at a side of the frame."""

    cycles: float | None = Field(default=None, ge=0)
    """Charge and discharge cycles that the electrode has seen (no unit)."""

    c_rate: float | None = Field(default=None, gt=0)
    """Rate at which it was cycled (1/h)."""

    axis_to_collector: Literal["z", "-z", "y", "-y", "x", "-x"] | None = None
    """Axis of the volume that points from the separator to the current collector."""


def read_scan_notes(path: Path) -> ScanNotes:
    """Read a scan's ``.yml``; an absent one is empty.

    Raises
    ------
    TomogramError
        If it cannot be parsed, has an unknown key, or a value out of range.
    """
    if not path.is_file():
        return ScanNotes()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
        return ScanNotes.model_validate({} if content is None else content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise TomogramError(
            path,
            found=f"notes that cannot be used ({' '.join(str(error).split())})",
            expected=f"YAML with some of the keys {', '.join(ScanNotes.model_fields)}",
            action="correct it, for example `energy_kev: 17.0`",
        ) from error


def make_scan_error(
    source: object,
    found: str,
    expected: str = "projections of one sample at one or several distances",
    action: str = "export the scan again as NXtomo, EDF, dxchange HDF5 or TIFF",
) -> TomogramError:
    """Make the error for a scan that cannot be used."""
    return TomogramError(source, found=found, expected=expected, action=action)
