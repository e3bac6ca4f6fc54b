"""Figures of a reconstruction: resolution by halves of the scan, rings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import median_filter

from ncm_kedro.holo.fbp import mark_circle, reconstruct_rows

FloatArray = NDArray[np.float32]

CORRELATION = 1 / 7
"""Fourier shell correlation down to which structure counts as resolved (van Heel and Schatz,
J. Struct. Biol. 151, 250 (2005), discuss this and other limits)."""
_RING_PX = 9


def correlate_halves(
    sinogram_zax: FloatArray, angles_deg: NDArray[np.float64], centre_px: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlate what every other projection gives with what the others give, by frequency.

    Returns
    -------
    frequency, correlation
        Cycles a pixel, up to 0.5; Fourier ring correlation of all sections together.
    """
    halves = [
        reconstruct_rows(np.ascontiguousarray(sinogram_zax[:, n::2]), angles_deg[n::2], centre_px)
        for n in range(2)
    ]
    size = halves[0].shape[-1]
    window = np.outer(np.hanning(size), np.hanning(size)).astype(np.float32)
    first, second = (fft.rfft2((half - half.mean()) * window) for half in halves)
    square = fft.fftfreq(size)[:, None] ** 2 + fft.rfftfreq(size)[None] ** 2
    shell = np.rint(np.sqrt(square) * size).astype(int)
    last = size // 2 + 1

    def add(values: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.bincount(shell.ravel(), values.sum(axis=0).ravel())
        return np.asarray(total[1:last], np.float64)

    both = add((first * second.conj()).real)
    power = add(np.abs(first) ** 2) * add(np.abs(second) ** 2)
    correlation = both / np.sqrt(np.maximum(power, 1e-30))
    return np.arange(1, last) / size, correlation


def find_resolution(
    frequency: NDArray[np.float64], correlation: NDArray[np.float64], voxel_um: float
) -> float:
    """Return the half period (um) at which the correlation falls below `CORRELATION`."""
    below = np.flatnonzero(correlation < CORRELATION)
    limit = frequency[below[0]] if len(below) else 0.5
    return float(voxel_um / (2 * limit))


def measure_rings(section_yx: FloatArray) -> float:
    """Return the strength of rings: standard deviation of narrow structure of the radial mean."""
    size = len(section_yx)
    inside = mark_circle(size, size / 2 - 2)
    middle = (size - 1) / 2
    y, x = np.ogrid[:size, :size]
    radius = np.rint(np.hypot(y - middle, x - middle)).astype(int)
    count = np.maximum(np.bincount(radius[inside]), 1)
    profile = np.bincount(radius[inside], section_yx[inside]) / count
    outer = profile[size // 16 :]  # towards the axis too few pixels make a mean
    return float(np.std(outer - median_filter(outer, _RING_PX)))
