"""What every reader of projections returns, a user's notes on a scan, and the geometry of both.

Contradictions between files and notes are errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ncm_kedro.errors import NcmError, TomogramError
from ncm_kedro.holo.scan import DistanceScan, Geometry, describe_cone
from ncm_kedro.params.base import FrozenParams

_ALIKE = 1e-4  # difference of what distances must have in common (fraction)
_PIXELS_ALIKE = 0.02
_ENERGY_KEV = (1.0, 500.0)


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


def make_scan_error(
    source: object,
    found: str,
    expected: str = "projections of one sample at one or several distances",
    action: str = "export the scan again as NXtomo, EDF, dxchange HDF5 or TIFF",
) -> TomogramError:
    """Make the error for a scan that cannot be used."""
    return TomogramError(source, found=found, expected=expected, action=action)


def find_geometry(
    path: Path, notes_path: Path, opened: Sequence[OpenedDistance], notes: ScanNotes
) -> Geometry:
    """Find the geometry of a scan; notes override what its files say.

    Parameters
    ----------
    path, notes_path
        The scan and its notes, for errors.
    opened
        Its distances, one or several.

    Raises
    ------
    TomogramError
        If something is missing, impossible, or differs between the distances.
    """
    count = len(opened)
    energy = notes.energy_kev or _agree(path, "energy_kev", [one.energy_kev for one in opened])
    if notes.absorption:
        if count > 1:
            raise make_scan_error(
                path, f"{count} distances, and `absorption: true`",
                "one scan, close to the detector",
                "remove the other distances, or the line `absorption: true`",
            )  # fmt: skip
        return Geometry(energy or 0.0, (0.0,), _find_pixels(path, notes_path, opened, notes))
    energy = _check_energy(path, notes_path, energy)
    z1, total = _find_cone(notes_path, opened, notes)
    parallel = notes.propagation_mm or tuple(one.sample_detector_mm or 0.0 for one in opened)
    if notes.propagation_mm is not None or (z1 is None and all(parallel)):
        _check_count(notes_path, "propagation_mm", parallel, count)
        distance = tuple(1e3 * one for one in parallel)
        pixels = _find_pixels(path, notes_path, opened, notes)
        geometry = Geometry(energy, distance, pixels)
    elif z1 is None or total is None:
        raise _ask(path, notes_path, "distances", "focus_sample_mm: [40.6, 43.4, 54.6, 77.9]` and "
                   "`focus_detector_mm: 1217")  # fmt: skip
    elif any(near <= 0 or near >= far for near, far in zip(z1, total, strict=True)):
        raise make_scan_error(
            notes_path if notes.focus_sample_mm else path,
            f"focus to sample {_list_mm(z1)} mm, to detector {_list_mm(total)} mm",
            "a sample before the detector",
            "correct focus_sample_mm (in the order of the files) and focus_detector_mm",
        )
    else:
        geometry = _magnify(path, notes_path, opened, notes, describe_cone(energy, z1, total, 1.0))
    _check_distances(path, geometry)
    return geometry


def _check_energy(path: Path, notes_path: Path, energy: float | None) -> float:
    if energy is None:
        raise _ask(path, notes_path, "photon energy", "energy_kev: 17.0")
    if not _ENERGY_KEV[0] <= energy <= _ENERGY_KEV[1]:
        raise make_scan_error(
            path,
            f"a photon energy of {energy:g} keV",
            f"between {_ENERGY_KEV[0]:g} and {_ENERGY_KEV[1]:g} keV",
            f"write a line such as `energy_kev: 17.0` into {notes_path}",
        )
    return energy


def _check_distances(path: Path, geometry: Geometry) -> None:
    if min(geometry.distance_um) <= 0 or len(set(geometry.distance_um)) < len(geometry.distance_um):
        told = _list_mm([d / 1e3 for d in geometry.distance_um])
        raise make_scan_error(
            path,
            f"propagation over {told} mm",
            "distances that differ and are greater than 0",
            "correct the distances in the scan's .yml, or remove the scan that is there twice",
        )


def _magnify(
    path: Path, notes_path: Path, opened: Sequence[OpenedDistance], notes: ScanNotes, cone: Geometry
) -> Geometry:
    """Give a magnifying beam its pixels; ``cone`` has those of a detector pixel of 1 um."""
    pixel = notes.pixel_um
    pixel = pixel or _agree(path, "detector pixel", [one.detector_pixel_um for one in opened])
    said = tuple(one.sample_pixel_um for one in opened if one.sample_pixel_um is not None)
    if pixel is None and len(said) == len(opened):
        return replace(cone, pixel_um=said)
    if pixel is None:
        raise _ask(path, notes_path, "size of a detector pixel", "pixel_um: 3.0")
    found = replace(cone, pixel_um=tuple(pixel * one for one in cone.pixel_um))
    for one, has in zip(opened, found.pixel_um, strict=True):
        told = one.sample_pixel_um
        if notes.pixel_um is None and told and abs(told / has - 1) > _PIXELS_ALIKE:
            raise make_scan_error(
                path,
                f"pixels of {told:.4g} um at the sample by its own entry, of {has:.4g} um by the "
                f"detector's of {pixel:.4g} um and the distances",
                "pixels and distances that fit together",
                f"write the detector's, such as `pixel_um: {pixel:.4g}`, into {notes_path}",
            )
    return found


def _find_pixels(
    path: Path, notes_path: Path, opened: Sequence[OpenedDistance], notes: ScanNotes
) -> tuple[float, ...]:
    """Find the pixel at the sample in a beam that does not magnify, for each distance."""
    at_sample = [one.sample_pixel_um or one.detector_pixel_um for one in opened]
    pixel = notes.pixel_um or _agree(path, "pixel", at_sample)
    if pixel is None:
        raise _ask(path, notes_path, "size of a pixel", "pixel_um: 3.0")
    return (pixel,) * len(opened)


def _agree(path: Path, what: str, values: Sequence[float | None]) -> float | None:
    """Return what the distances say with one voice; None: nothing."""
    known = [value for value in values if value is not None]
    if known and max(known) > min(known) * (1 + _ALIKE):
        raise make_scan_error(
            path, f"{what} of {' and '.join(f'{value:g}' for value in sorted(set(known)))}",
            "one at all distances", "write the right one into the scan's .yml (energy_kev, "
            "pixel_um), or bin the frames alike",
        )  # fmt: skip
    return known[0] if known else None


def _ask(path: Path, notes_path: Path, what: str, line: str) -> NcmError:
    return make_scan_error(path, f"no {what}", f"the {what}, in the file or beside it",
                           f"write a line such as `{line}` into {notes_path}")  # fmt: skip


def _list_mm(lengths_mm: Sequence[float]) -> str:
    return ", ".join(f"{length:.6g}" for length in lengths_mm)


def _find_cone(
    notes_path: Path, opened: Sequence[OpenedDistance], notes: ScanNotes
) -> tuple[list[float] | None, list[float] | None]:
    """Find focus to sample and focus to detector of each distance."""
    said = [one.focus_sample_mm for one in opened]
    behind = [one.sample_detector_mm for one in opened]
    z1 = None if None in said else [float(z or 0) for z in said]
    total = None
    if notes.focus_detector_mm is not None:
        total = [notes.focus_detector_mm] * len(opened)
    elif z1 is not None and None not in behind:
        total = [float(d or 0) + z for d, z in zip(behind, z1, strict=True)]
    if notes.focus_sample_mm is not None:
        _check_count(notes_path, "focus_sample_mm", notes.focus_sample_mm, len(opened))
        z1 = list(notes.focus_sample_mm)
    return z1, total


def _check_count(notes_path: Path, key: str, values: Sequence[float], count: int) -> None:
    if len(values) != count:
        raise make_scan_error(
            notes_path,
            f"{len(values)} values of {key} for {count} distances",
            "one value a distance, in the natural order of the files' names",
            f"correct {key}",
        )
