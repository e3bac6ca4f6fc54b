"""Grey values in the range that the network was trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GREY_PERCENTILES = (1.0, 99.8)
"""Percentiles of an image or volume that become 0 and 1."""


def normalise_sections(
    sections: NDArray[np.generic], low: float, high: float
) -> NDArray[np.float32]:
    """Bring grey values to the range that the network was trained on.

    Parameters
    ----------
    sections
        Grey values of any type and shape.
    low, high
        Grey values that become 0 and 1; nothing is clipped.

    Returns
    -------
    ndarray of float32
        Of the same shape; all 0 where low and high are equal.
    """
    grey = np.asarray(sections, dtype=np.float32)
    span = np.float32(high - low)
    if span <= 0:
        return np.zeros_like(grey)
    return (grey - np.float32(low)) / span


def measure_grey_range(image_yx: NDArray[np.generic]) -> tuple[float, float]:
    """Return the low and high percentile of an image's finite grey values."""
    grey = np.asarray(image_yx)
    if grey.dtype == np.uint8:
        share = np.cumsum(np.bincount(grey.ravel(), minlength=256)) / grey.size
        low, high = (int(np.searchsorted(share, p / 100)) for p in GREY_PERCENTILES)
        return float(low), float(high)
    low, high = np.percentile(grey[np.isfinite(grey)], GREY_PERCENTILES)
    return float(low), float(high)
