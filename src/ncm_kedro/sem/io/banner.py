"""The text band at the bottom of a frame: its height and its background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_INK_DISTANCE = 100  # grey levels between text and background
_MAX_HEIGHT_FRACTION = 0.25  # of the frame
_MIN_HEIGHT_PX = 10
_TOLERANCE = 24  # grey levels between the background and pure black or white
_ROW_FRACTION = 0.4  # of background and full-contrast print in each row of a banner, at least
_MARGIN_FRACTION = 0.97  # of background in its first and last row, at least
_FULL_INK = 200  # a scale bar may fill most of a row
_DARK, _BRIGHT = 0, 255


def measure_banner(image_yx: NDArray[np.uint8]) -> int:
    """Return the height (px) of the banner of a frame ``(H, W)``, 0 without one.

    A banner is a run of rows at the bottom that consists mostly of one pure background (black or
    white) and print, begins and ends with rows of next to nothing else, and carries text.
    """
    height = image_yx.shape[0]
    lowest = image_yx[height - max(1, round(height * _MAX_HEIGHT_FRACTION)) :]
    for background in (_DARK, _BRIGHT):
        rows = _measure_band(lowest, background)
        if rows >= _MIN_HEIGHT_PX and _has_ink(lowest[-rows:], background):
            return rows
    return 0


def _measure_band(lowest_yx: NDArray[np.uint8], background: int) -> int:
    """Count rows, from the bottom up, of a band of one background; 0 if it does not end in them."""
    distance_yx = np.abs(lowest_yx.astype(np.int16) - background)
    share_y = (distance_yx <= _TOLERANCE).mean(axis=1)
    print_y = (distance_yx >= _FULL_INK).mean(axis=1)
    below = np.flatnonzero(share_y + print_y < _ROW_FRACTION)
    first = int(below[-1]) + 1 if below.size else 0
    clean = np.flatnonzero(share_y[first:] >= _MARGIN_FRACTION)
    if not clean.size or share_y[-1] < _MARGIN_FRACTION:
        return 0
    top = first + int(clean[0])
    return lowest_yx.shape[0] - top if top > 0 else 0


def find_background(banner_yx: NDArray[np.uint8]) -> int:
    """Grey value of the background: 0 (black) or 255 (white)."""
    return _DARK if float(np.median(banner_yx)) < _BRIGHT / 2 else _BRIGHT


def _has_ink(band_yx: NDArray[np.uint8], background: int) -> bool:
    distance = np.abs(band_yx.astype(np.int16) - background)
    return bool((distance > _INK_DISTANCE).sum(axis=1).max() > 1)


def measure_ink(banner_yx: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Distance of each pixel from the banner's background, in grey levels."""
    return np.abs(banner_yx.astype(np.int16) - find_background(banner_yx)).astype(np.uint8)
