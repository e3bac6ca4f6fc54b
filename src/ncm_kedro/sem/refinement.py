"""Offsets to a fraction of a pixel, from patches of larger pictures of two frames."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ncm_kedro.sem.registration import (
    band_pass,
    band_weight,
    common_windows,
    find_vertex,
    whiten,
)

_PATCH_PX = 256


def refine_shift(
    first_yx: NDArray[np.uint8],
    second_yx: NDArray[np.uint8],
    guess_yx: NDArray[np.float64],
    reach_px: int,
) -> NDArray[np.float64] | None:
    """Measure a shift on patches from the middle of the common ground.

    Parameters
    ----------
    first_yx, second_yx
        Frames ``(h, w)``.
    guess_yx
        Shift known so far, ``(2,)`` (px).
    reach_px
        Largest error of the guess (px).

    Returns
    -------
    ndarray or None
        Shift ``(2,)`` (px) to a fraction of a pixel; None if the patches do not agree within
        ``reach_px``.
    """
    whole = np.rint(guess_yx).astype(int)
    here, there = common_windows(first_yx.shape, whole)
    extents = [min(_PATCH_PX, window.stop - window.start) for window in here]
    if min(extents) < 4 * reach_px:
        return None
    patches = [
        image_yx[tuple(_middle(w, n) for w, n in zip(windows, extents, strict=True))]
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


def _middle(window: slice, extent: int) -> slice:
    start = window.start + (window.stop - window.start - extent) // 2
    return slice(start, start + extent)
