"""A scan as its files hold it, nothing read yet, its lengths, and what a phase says of matter."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

HC_KEV_UM = 1.239841984e-3
"""Planck's constant times the speed of light (keV um; CODATA 2018)."""
ELECTRON_RADIUS_A = 2.8179403262e-5
"""Classical radius of the electron (A; CODATA 2018)."""
_A_PER_UM = 1.0e4
_UM_PER_MM = 1.0e3
FrameReader = Callable[[NDArray[np.intp]], NDArray[Any]]
"""Reads frames by number, (N, Y, X) in the type of the file; pickles."""


@dataclass(frozen=True)
class Geometry:
    """Propagation distances and pixels of a scan, as an equivalent parallel beam sees them.

    Attributes
    ----------
    energy_kev
        Photon energy.
    distance_um
        Effective propagation distance of each scan.
    pixel_um
        Edge of a detector pixel, brought back to the sample, of each scan.
    """

    energy_kev: float
    distance_um: tuple[float, ...]
    pixel_um: tuple[float, ...]

    @property
    def wavelength_um(self) -> float:
        """Wavelength of the photons (um)."""
        return HC_KEV_UM / self.energy_kev

    @property
    def reference(self) -> int:
        """The scan of the highest magnification, onto whose pixels the others are brought."""
        return int(np.argmin(self.pixel_um))

    @property
    def voxel_um(self) -> float:
        """Edge of a voxel of the volume: the pixel of the highest magnification (um)."""
        return self.pixel_um[self.reference]

    @property
    def fresnel(self) -> tuple[float, ...]:
        """Wavelength times distance over the area of a reference pixel, of each scan (no unit)."""
        return tuple(self.wavelength_um * d / self.voxel_um**2 for d in self.distance_um)

    @property
    def fringe_um(self) -> float:
        """How far fringes reach from an edge at the resolution of a pixel: lambda D / 2 px (um)."""
        return self.wavelength_um * max(self.distance_um) / (2 * self.voxel_um)


def describe_cone(
    energy_kev: float,
    focus_sample_mm: Sequence[float],
    focus_detector_mm: float | Sequence[float],
    detector_pixel_um: float,
) -> Geometry:
    """Bring a magnifying beam to the parallel one that gives the same images.

    Fresnel scaling theorem: ``M = zT / z1``, ``D = z1 (zT - z1) / zT``, pixel ``/ M`` (Cloetens et
    al., Appl. Phys. Lett. 75, 2912 (1999); Paganin, Coherent X-Ray Optics, 2006).

    Parameters
    ----------
    focus_sample_mm
        Focus to sample, z1, of each scan.
    focus_detector_mm
        Focus to detector, zT, of all or of each scan.
    detector_pixel_um
        Edge of a pixel on the detector.
    """
    z1, total = np.asarray(focus_sample_mm, np.float64), np.asarray(focus_detector_mm, np.float64)
    distance = z1 * (total - z1) / total * _UM_PER_MM
    pixel = detector_pixel_um * z1 / total
    return Geometry(energy_kev, tuple(map(float, distance)), tuple(map(float, pixel)))


def electron_density_per_delta(energy_kev: float) -> float:
    """Return the electron density (e/A3) of matter whose refractive decrement is 1.

    ``rho_e = 2 pi delta / (r_e lambda^2)``, far above the absorption edges (Als-Nielsen and
    McMorrow, Elements of Modern X-ray Physics, 2011, eq. 3.2).
    """
    wavelength_a = HC_KEV_UM / energy_kev * _A_PER_UM
    return 2 * math.pi / (ELECTRON_RADIUS_A * wavelength_a**2)


@dataclass(frozen=True)
class DistanceScan:
    """The frames of one distance.

    Attributes
    ----------
    source
        File or folder, and entry.
    read
        Reads frames of the file by number.
    frames
        (A,), number in the file of each projection.
    flat_frames, dark_frames
        Numbers of the frames without sample, and without beam; the first may be empty where the
        projections are corrected already.
    read_flats, read_darks
        Read those, where they lie in files of their own; None: ``read`` does.
    flat_places
        Projection, counted from 0, before which each flat was taken; None: as numbers in the file
        say, or before all where they lie in files of their own.
    """

    source: str
    read: FrameReader
    frames: NDArray[np.intp]
    flat_frames: NDArray[np.intp]
    dark_frames: NDArray[np.intp]
    read_flats: FrameReader | None = None
    read_darks: FrameReader | None = None
    flat_places: NDArray[np.intp] | None = None


@dataclass(frozen=True)
class RawScan:
    """Projections of one sample at one or several distances.

    Attributes
    ----------
    name, source
        The sample, and its file or folder.
    shape_ayx
        Projections, rows, columns, the same at every distance.
    angles_deg
        (A,), the same at every distance.
    distances
        One entry per distance, in the order of ``geometry``.
    geometry
        Effective distances and pixels.
    is_absorption
        Whether absorption is wanted instead of phase.
    centre_px
        Where the rotation axis meets a row; None: to be found.
    half_acquisition
        Whether a whole turn was taken with the axis at a side of the frame.
    attributes
        ``cycles``, ``c_rate``, ``axis_to_collector`` where known.
    fingerprint
        Identity of the files' content and of the notes that read them.
    warnings
        What a person should know about it.
    """

    name: str
    source: str
    shape_ayx: tuple[int, int, int]
    angles_deg: NDArray[np.float64]
    distances: tuple[DistanceScan, ...]
    geometry: Geometry
    fingerprint: str
    is_absorption: bool = False
    centre_px: float | None = None
    half_acquisition: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class RawScans(dict[str, RawScan]):
    """Scans by sample.

    Parameters
    ----------
    rejected
        Reason by file that cannot be used.
    """

    def __init__(
        self, scans: Mapping[str, RawScan], rejected: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(scans)
        self.rejected = dict(rejected or {})
