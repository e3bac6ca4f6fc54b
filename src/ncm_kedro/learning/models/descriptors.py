"""Descriptors of texture in one grey image; each is the same for a turned or mirrored image."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

_LBP_NEIGHBOURS = 8
PATTERN_BINS = _LBP_NEIGHBOURS + 2
COOCCURRENCE_PROPERTIES = (
    "contrast",
    "dissimilarity",
    "homogeneity",
    "energy",
    "entropy",
    "correlation",
)


@cache
def _uniform_codes() -> NDArray[np.uint8]:
    """Map each 8-bit pattern to its number of ones if it is uniform, else to 9.

    Ojala et al. 2002, equation 9 (the riu2 operator): a pattern is uniform if going once
    round the circle it changes between 0 and 1 at most twice.
    """
    bits = (np.arange(256)[:, None] >> np.arange(_LBP_NEIGHBOURS)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(changes <= 2, bits.sum(axis=1), _LBP_NEIGHBOURS + 1).astype(np.uint8)


def measure_local_patterns(crop_yx: NDArray[np.uint8], radius_px: float) -> NDArray[np.float64]:
    """Frequencies of the rotation-invariant uniform patterns on a circle of 8 neighbours.

    Circles wider than 2 px are read from an image blurred by a Gaussian of a third of the radius,
    so that they describe structure of their own size and not pixel noise.

    Parameters
    ----------
    crop_yx
        Grey image, shape (H, W), 0-255.
    radius_px
        Radius of the circle, below half of the shorter side.

    Returns
    -------
    numpy.ndarray
        Shape (10,), sums to 1: uniform patterns of 0 to 8 ones, then all others together.
    """
    grey = crop_yx.astype(np.float32)
    if radius_px > 2:
        grey = cv2.GaussianBlur(grey, (0, 0), radius_px / 3)
    margin = int(np.ceil(radius_px))
    height, width = grey.shape
    inner = grey[margin : height - margin, margin : width - margin]
    code = np.zeros(inner.shape, dtype=np.uint8)
    for k in range(_LBP_NEIGHBOURS):
        angle = 2 * np.pi * k / _LBP_NEIGHBOURS
        shifted = _shift_view(grey, radius_px * np.sin(angle), radius_px * np.cos(angle), margin)
        code |= (shifted >= inner - 1e-3).astype(np.uint8) << np.uint8(k)
    counts = np.bincount(_uniform_codes()[code].ravel(), minlength=PATTERN_BINS)
    frequencies: NDArray[np.float64] = counts / code.size
    return frequencies


def _shift_view(
    grey: NDArray[np.float32], dy_px: float, dx_px: float, margin: int
) -> NDArray[np.float32]:
    """Values at (y + dy, x + dx) for the pixels inside the margin, bilinear."""
    y0, x0 = int(np.floor(dy_px + 1e-9)), int(np.floor(dx_px + 1e-9))
    fy, fx = max(dy_px - y0, 0.0), max(dx_px - x0, 0.0)
    height, width = grey.shape

    def view(dy: int, dx: int) -> NDArray[np.float32]:
        return grey[margin + dy : height - margin + dy, margin + dx : width - margin + dx]

    value = np.float32((1 - fy) * (1 - fx)) * view(y0, x0)
    if fx > 1e-6:
        value = value + np.float32((1 - fy) * fx) * view(y0, x0 + 1)
    if fy > 1e-6:
        value = value + np.float32(fy * (1 - fx)) * view(y0 + 1, x0)
    if fx > 1e-6 and fy > 1e-6:
        value = value + np.float32(fy * fx) * view(y0 + 1, x0 + 1)
    return value


def measure_cooccurrence(
    quantised_yx: NDArray[np.int32], distance_px: int, levels: int
) -> NDArray[np.float64]:
    """Haralick properties of the symmetric co-occurrence matrix, averaged over four angles.

    Parameters
    ----------
    quantised_yx
        Grey levels, shape (H, W), from 0 to `levels` - 1.
    distance_px
        Distance of the two pixels of a pair, also along the diagonals (rounded there).
    levels
        Number of grey levels.

    Returns
    -------
    numpy.ndarray
        Shape (6,), in the order of `COOCCURRENCE_PROPERTIES`.
    """
    diagonal = max(1, round(distance_px / np.sqrt(2)))
    offsets = ((0, distance_px), (distance_px, 0), (diagonal, diagonal), (diagonal, -diagonal))
    each = [_haralick(_cooccurrence(quantised_yx, dy, dx, levels)) for dy, dx in offsets]
    averaged: NDArray[np.float64] = np.mean(each, axis=0)
    return averaged


def _cooccurrence(
    quantised_yx: NDArray[np.int32], dy: int, dx: int, levels: int
) -> NDArray[np.float64]:
    height, width = quantised_yx.shape
    first = quantised_yx[: height - dy, max(0, -dx) : width - max(0, dx)]
    second = quantised_yx[dy:, max(0, dx) : width - max(0, -dx)]
    pairs = np.bincount((first * levels + second).ravel(), minlength=levels * levels)
    counts = pairs.reshape(levels, levels).astype(np.float64)
    counts += counts.T
    matrix: NDArray[np.float64] = counts / counts.sum()
    return matrix


def _haralick(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Contrast, dissimilarity, homogeneity, energy, entropy and correlation of one matrix."""
    level = np.arange(len(matrix), dtype=np.float64)
    difference = level[:, None] - level[None, :]
    marginal = matrix.sum(axis=1)
    mean = marginal @ level
    variance = marginal @ (level - mean) ** 2
    covariance = (level - mean) @ matrix @ (level - mean)
    filled = matrix[matrix > 0]
    return np.array(
        [
            (matrix * difference**2).sum(),
            (matrix * np.abs(difference)).sum(),
            (matrix / (1 + difference**2)).sum(),
            np.sqrt((matrix**2).sum()),
            -(filled * np.log(filled)).sum(),
            covariance / variance if variance > 0 else 1.0,
        ]
    )


@cache
def _ring_index(height: int, width: int, n_bins: int) -> NDArray[np.intp]:
    """Ring of each coefficient of the real Fourier transform; `n_bins` marks those left out."""
    fy = np.fft.fftfreq(height)[:, None]
    fx = np.fft.rfftfreq(width)[None, :]
    frequency = np.hypot(fy, fx)
    edges = np.geomspace(0.9 / min(height, width), 0.5, n_bins + 1)
    ring = np.searchsorted(edges, frequency, side="right") - 1
    return np.where((ring < 0) | (ring >= n_bins), n_bins, ring)


def measure_radial_power(crop_yx: NDArray[np.uint8], n_bins: int) -> NDArray[np.float64]:
    """Mean power in rings of spatial frequency, log10.

    The crop is taken off its mean and tapered by a Hann window; a ring that holds no coefficient
    is interpolated from its neighbours.

    Parameters
    ----------
    crop_yx
        Grey image, shape (H, W), 0-255.
    n_bins
        Rings, logarithmically spaced from 1 cycle per shorter side to 0.5 cycles per px.

    Returns
    -------
    numpy.ndarray
        Shape (n_bins,), low frequencies first.
    """
    height, width = crop_yx.shape
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    grey = crop_yx.astype(np.float32)
    power = np.abs(fft.rfft2((grey - grey.mean()) * window)) ** 2 / grey.size
    # The real transform leaves out the mirror image of all but its first and middle column.
    twin = np.full(power.shape, 2.0)
    twin[:, 0] = 1.0
    if width % 2 == 0:
        twin[:, -1] = 1.0
    ring = _ring_index(height, width, n_bins).ravel()
    total = np.bincount(ring, weights=(twin * power).ravel(), minlength=n_bins + 1)
    count = np.bincount(ring, weights=twin.ravel(), minlength=n_bins + 1)
    filled = np.flatnonzero(count[:n_bins])
    log_power = np.log10(total[filled] / count[filled] + 1e-3)
    return np.interp(np.arange(n_bins), filled, log_power)
