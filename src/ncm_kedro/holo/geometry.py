"""Lengths of a holo-tomographic scan, and what a phase shift says about matter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HC_KEV_UM = 1.239841984e-3
"""Planck's constant times the speed of light (keV um; CODATA 2018)."""
ELECTRON_RADIUS_A = 2.8179403262e-5
"""Classical radius of the electron (A; CODATA 2018)."""
_A_PER_UM = 1.0e4
_UM_PER_MM = 1.0e3


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
