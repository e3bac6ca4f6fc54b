"""Offsets of overlapping frames to a fraction of a pixel, and frames that are slightly turned."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ncm_kedro.sem.mosaic.geometry import fit_similarity, map_points
from ncm_kedro.sem.mosaic.registration import (
    band_pass,
    band_weight,
    common_windows,
    find_vertex,
    whiten,
)

_PATCH_PX = 256
_CORNER_PX, _CORNER_REACH_PX, _CORNER_MISS_PX = 128, 16, 2.0
_MIN_SLANT = 0.012  # px a px: 0.7 degrees, or 1.2 % of the magnification; scans are bent by 0.8 %


def refine_shift(
    first_yx: NDArray[np.uint8],
    second_yx: NDArray[np.uint8],
    guess_yx: NDArray[np.float64],
    reach_px: int,
    *,
    patch_px: int = _PATCH_PX,
    at_yx: tuple[float, float] = (0.5, 0.5),
) -> NDArray[np.float64] | None:
    """Measure a shift on patches from one place of the common region.

    Parameters
    ----------
    first_yx, second_yx
        Frames ``(h, w)``.
    guess_yx
        Shift known so far, ``(2,)`` (px).
    reach_px
        Largest error of the guess (px).
    patch_px
        Edge of the patches, less where less is common (px).
    at_yx
        Where in the common region the patches lie, 0 to 1 (no unit); by default in its middle.

    Returns
    -------
    ndarray or None
        Shift ``(2,)`` (px) to a fraction of a pixel; None if the patches do not agree within
        ``reach_px``.
    """
    whole = np.rint(guess_yx).astype(int)
    here, there = common_windows(first_yx.shape, second_yx.shape, whole)
    extents = [min(patch_px, window.stop - window.start) for window in here]
    if min(extents) < 4 * reach_px:
        return None
    patches = [
        image_yx[tuple(_part(*part) for part in zip(windows, extents, at_yx, strict=True))]
        for image_yx, windows in ((first_yx, here), (second_yx, there))
    ]
    height, width = extents
    window_yx = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    stack = np.stack([band_pass(patch) for patch in patches]) * window_yx
    spectra = whiten(scipy.fft.rfft2(stack)) * band_weight(height, width)
    surface = scipy.fft.irfft2(spectra[0] * spectra[1].conj(), s=(height, width))
    rows = np.arange(-reach_px, reach_px + 1)
    near = surface[np.ix_(rows % height, rows % width)]
    y, x = np.unravel_index(int(near.argmax()), near.shape)
    if not (0 < y < 2 * reach_px and 0 < x < 2 * reach_px):
        return None
    top = np.float64(near[y, x])
    return np.array(
        [
            whole[0] + rows[y] + float(find_vertex(near[y - 1, x], top, near[y + 1, x])),
            whole[1] + rows[x] + float(find_vertex(near[y, x - 1], top, near[y, x + 1])),
        ]
    )


def _part(window: slice, extent: int, at: float) -> slice:
    start = window.start + int(at * (window.stop - window.start - extent))
    return slice(start, start + extent)


def find_slant(
    first_yx: NDArray[np.uint8], second_yx: NDArray[np.uint8], shift_yx: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Measure whether frames that phase correlation takes for shifted are turned or enlarged.

    Parameters
    ----------
    first_yx, second_yx
        Frames ``(h, w)``.
    shift_yx
        Position of the second in the first, ``(2,)`` (px).

    Returns
    -------
    ndarray or None
        The similarity transform ``(2, 3)`` from places of the second frame to those of the first
        (x, y in px), if the corners of the common region agree on one that is no shift.
    """
    here, _ = common_windows(first_yx.shape, second_yx.shape, np.rint(shift_yx).astype(int))
    extent_yx = np.array([min(_CORNER_PX, window.stop - window.start) for window in here])
    low_yx = np.array([window.start for window in here])
    room_yx = np.array([window.stop for window in here]) - extent_yx - low_yx
    if np.hypot(*room_yx) < _CORNER_PX:
        return None
    source, target = [], []
    for at_yx in ((0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0)):
        found_yx = refine_shift(
            first_yx, second_yx, shift_yx, _CORNER_REACH_PX, patch_px=_CORNER_PX, at_yx=at_yx
        )
        if found_yx is None:
            return None
        place_yx = low_yx + (np.array(at_yx) * room_yx).astype(int) + extent_yx / 2
        source.append((place_yx - np.rint(shift_yx))[::-1])
        target.append((place_yx - np.rint(shift_yx) + found_yx)[::-1])
        if len(source) == 2:
            step = np.subtract(*target) - np.subtract(*source)
            if np.hypot(*step) < _MIN_SLANT * np.hypot(*room_yx):
                return None
    matrix = fit_similarity(np.array(source), np.array(target), mirrored=False)
    miss_px = np.linalg.norm(map_points(matrix, np.array(source)) - np.array(target), axis=1)
    return matrix if miss_px.max() <= _CORNER_MISS_PX else None
