"""Particle sizes of an electrode, from the complete particles of a volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import TableError
from ncm_kedro.particles.electrode.layer import Layer
from ncm_kedro.particles.measure import Measurement

_REACH = 3.0
_MIN_BANDWIDTH = 0.02
_CHUNK = 1000


@dataclass(frozen=True)
class RadiusMoments:
    """Mean and standard deviation of the radius (um), and what a particle counts for.

    Attributes
    ----------
    number_mean_um, number_std_um
        A particle counts once.
    area_mean_um, area_std_um
        It counts by the surface of its equivalent ball; the mean is the Sauter radius.
    volume_mean_um, volume_std_um
        It counts by its volume.
    min_um, max_um
        Smallest and largest.
    """

    number_mean_um: float
    number_std_um: float
    area_mean_um: float
    area_std_um: float
    volume_mean_um: float
    volume_std_um: float
    min_um: float
    max_um: float


@dataclass(frozen=True)
class SizeDistribution:
    """Densities of the radius, (n,) each, which integrate to 1 over the table by trapezoids.

    Attributes
    ----------
    radius_um
        Ascending, evenly spaced (um).
    number_per_um, area_per_um, volume_per_um
        Density by number, by surface and by volume of equivalent balls (1/um).
    bandwidth
        Standard deviation of the kernel in the logarithm of the radius (no unit).
    """

    radius_um: NDArray[np.float64]
    number_per_um: NDArray[np.float64]
    area_per_um: NDArray[np.float64]
    volume_per_um: NDArray[np.float64]
    bandwidth: float


def weigh_whole_particles(
    measurement: Measurement, extents_vx: NDArray[np.float64], layer: Layer | None
) -> NDArray[np.float64]:
    """Weigh complete particles against the bias that large ones are cut by the border more often.

    A particle counts by the inverse of the fraction of positions at which its bounding box fits
    into the volume without touching a face (associated-set sampling of Miles and Lantuéjoul; Serra,
    Image Analysis and Mathematical Morphology, 1982, chapter VIII). The volume is the bounding
    box of the field of view; in a round view the large ones still count for too little. Across
    the electrode the window is the layer; where the layer ends inside the volume on both sides no
    particle is cut by those faces, and nothing is corrected along that axis.

    Parameters
    ----------
    measurement
        What was measured in the sample.
    extents_vx
        Bounding boxes of the complete particles along z, y, x, (n, 3).
    layer
        The electrode, if it was found.

    Returns
    -------
    numpy.ndarray
        (n,), 1 or more: particles that a complete one stands for.
    """
    weights = np.ones(len(extents_vx))
    for axis, window_vx in enumerate(_measure_window_vx(measurement)):
        length = window_vx
        if layer is not None and layer.axis == axis:
            if layer.complete:
                continue
            length = layer.thickness_um / measurement.voxel_size_um[axis]
        weights *= length / np.maximum(length - extents_vx[:, axis] - 1, 1)
    return weights


def measure_moments(
    radius_um: NDArray[np.float64], weights: NDArray[np.float64]
) -> RadiusMoments | None:
    """Take means and standard deviations of radii, by number, surface and volume.

    Parameters
    ----------
    radius_um
        Equivalent radii, (n,), above 0.
    weights
        Particles that each stands for, (n,).

    Returns
    -------
    RadiusMoments or None
        None for no particles.
    """
    if not len(radius_um):
        return None
    moments: dict[str, float] = {}
    for name, power in (("number", 0), ("area", 2), ("volume", 3)):
        share = weights * radius_um**power
        share = share / share.sum()
        mean = float(share @ radius_um)
        moments[f"{name}_mean_um"] = mean
        moments[f"{name}_std_um"] = float(np.sqrt(share @ (radius_um - mean) ** 2))
    return RadiusMoments(**moments, min_um=float(radius_um.min()), max_um=float(radius_um.max()))


def estimate_sizes(
    radius_um: NDArray[np.float64], weights: NDArray[np.float64], points: int
) -> SizeDistribution | None:
    """Estimate the densities of the radius with a Gaussian kernel in its logarithm.

    The kernel is laid over the particles weighted by surface. They are drawn together beforehand
    by what the kernel spreads them (Silverman, Density Estimation, 1986, section 6.4.1) and then
    shifted, so that the variance of the logarithm and the area-weighted mean of the radius stay
    those of the particles. By number and by volume the density follows from the one by surface as
    in PyBaMM, through 1/R² and R.

    The bandwidth is Silverman's (eq. 3.31): 0.9 times the smaller of standard deviation and
    interquartile range over 1.34, of the logarithm, times n to the power of -1/5, with n the
    effective number of particles (one over the sum of squared fractions); never less than 0.02. The
    table reaches three bandwidths beyond the smallest and the largest particle.

    Parameters
    ----------
    radius_um
        Equivalent radii, (n,), above 0.
    weights
        Particles that each stands for, (n,).

    Returns
    -------
    SizeDistribution or None
        None for no particles.

    Raises
    ------
    TableError
        If a radius or weight is not above 0.
    """
    if not len(radius_um):
        return None
    if not (np.all(radius_um > 0) and np.all(weights > 0)):
        raise TableError(
            "particle sizes", found="a radius or weight of 0 or less, or none at all",
            expected="positive numbers", action="leave particles without a volume out",
        )  # fmt: skip
    log_radius = np.log(radius_um)
    surface = weights * radius_um**2
    surface = surface / surface.sum()
    width = _choose_bandwidth(log_radius, surface)
    grid = np.linspace(
        float(radius_um.min() * np.exp(-_REACH * width)),
        float(radius_um.max() * np.exp(_REACH * width)),
        points,
    )
    centres = _draw_together(log_radius, surface, width)
    area = _sum_kernels(np.log(grid), centres, surface, width) / grid
    number, volume = area / grid**2, area * grid
    return SizeDistribution(
        radius_um=grid,
        number_per_um=number / np.trapezoid(number, grid),
        area_per_um=area / np.trapezoid(area, grid),
        volume_per_um=volume / np.trapezoid(volume, grid),
        bandwidth=width,
    )


def _measure_window_vx(measurement: Measurement) -> list[float]:
    """Return the extents of the field of view's bounding box along z, y, x (voxels)."""
    cells = measurement.cells
    window = []
    for axis, (edge, length) in enumerate(zip(cells.edge_vx, measurement.shape_zyx, strict=True)):
        others = tuple(other for other in range(3) if other != axis)
        seen = np.flatnonzero((cells.valid > 0).any(axis=others))
        low, high = (seen[0], seen[-1] + 1) if len(seen) else (0, 0)
        window.append(float(min(high * edge, length) - low * edge))
    return window


def _choose_bandwidth(values: NDArray[np.float64], share: NDArray[np.float64]) -> float:
    """Return Silverman's bandwidth of weighted values; the weights add up to 1."""
    mean = share @ values
    spread = float(np.sqrt(share @ (values - mean) ** 2))
    order = np.argsort(values)
    below = np.cumsum(share[order]) - share[order] / 2
    quartiles = np.interp([0.25, 0.75], below, values[order])
    between = float(quartiles[1] - quartiles[0]) / 1.34
    scale = min(spread, between) if between > 0 else spread
    effective = 1 / float(np.sum(share**2))
    return max(float(0.9 * scale * effective**-0.2), _MIN_BANDWIDTH)


def _draw_together(
    log_radius: NDArray[np.float64], share: NDArray[np.float64], width: float
) -> NDArray[np.float64]:
    """Return centres of kernels that preserve the mean radius and the spread of its logarithm."""
    mean = share @ log_radius
    variance = float(share @ (log_radius - mean) ** 2)
    kept = np.sqrt(max(1 - width**2 / variance, 0)) if variance > 0 else 0.0
    centres: NDArray[np.float64] = (log_radius - mean) * kept
    shift = np.log(share @ np.exp(log_radius)) - np.log(share @ np.exp(centres)) - width**2 / 2
    return centres + shift


def _sum_kernels(
    grid: NDArray[np.float64],
    centres: NDArray[np.float64],
    share: NDArray[np.float64],
    width: float,
) -> NDArray[np.float64]:
    """Add up Gaussians at a grid, (n,)."""
    density = np.zeros(len(grid))
    for start in range(0, len(centres), _CHUNK):
        part = slice(start, start + _CHUNK)
        steps = (grid[:, None] - centres[None, part]) / width
        density += np.exp(-(steps**2) / 2) @ share[part]
    density /= width * np.sqrt(2 * np.pi)
    return density
