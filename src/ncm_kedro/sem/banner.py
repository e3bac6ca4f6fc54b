"""The text band that microscopes burn into the bottom of a frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.params.sem_ingest import BannerParams

_INK_DISTANCE = 100  # grey levels between text and background
_FULL_INK = 200  # a scale bar may fill most of a row
_DARK, _BRIGHT = 0, 255


def measure_banner(image_yx: NDArray[np.uint8], params: BannerParams) -> int:
    """Measure the height of the banner.

    A banner is a run of rows at the bottom that consists mostly of one pure background (black or
    white) and print, begins and ends with rows of next to nothing else, and carries text.

    Parameters
    ----------
    image_yx
        Whole frame, ``(H, W)``.
    params
        What counts as a banner.

    Returns
    -------
    int
        Height of the banner (px), 0 without one.
    """
    height = image_yx.shape[0]
    lowest = image_yx[height - max(1, round(height * params.max_fraction)) :]
    for background in (_DARK, _BRIGHT):
        rows = measure_band(lowest, background, params)
        if rows >= params.min_height_px and _has_ink(lowest[-rows:], background):
            return rows
    return 0


def measure_band(lowest_yx: NDArray[np.uint8], background: int, params: BannerParams) -> int:
    """Count the rows, from the bottom up, of a band of one background.

    Parameters
    ----------
    lowest_yx
        Lowest rows of a frame, ``(H, W)``.
    background
        Grey value of the band, 0 or 255.
    params
        What counts as a banner.

    Returns
    -------
    int
        Rows of the band; 0 if the band does not end within the rows given.
    """
    distance_yx = np.abs(lowest_yx.astype(np.int16) - background)
    share_y = (distance_yx <= params.tolerance).mean(axis=1)
    print_y = (distance_yx >= _FULL_INK).mean(axis=1)
    below = np.flatnonzero(share_y + print_y < params.row_fraction)
    first = int(below[-1]) + 1 if below.size else 0
    clean = np.flatnonzero(share_y[first:] >= params.margin_fraction)
    if not clean.size or share_y[-1] < params.margin_fraction:
        return 0
    top = first + int(clean[0])
    return lowest_yx.shape[0] - top if top > 0 else 0


def find_background(banner_yx: NDArray[np.uint8]) -> int:
    """Tell a black banner (0) from a white one (255)."""
    return _DARK if float(np.median(banner_yx)) < _BRIGHT / 2 else _BRIGHT


def _has_ink(band_yx: NDArray[np.uint8], background: int) -> bool:
    distance = np.abs(band_yx.astype(np.int16) - background)
    return bool((distance > _INK_DISTANCE).sum(axis=1).max() > 1)
