"""Movement of the sample during a scan, which all distances share.

The mass of a slice is the same from every side, and its centre follows a sinusoid: the first two
consistency conditions of Helgason and Ludwig (Natterer, The Mathematics of Computerized Tomography,
1986, theorem II.4.2). What departs from them has moved, if no ray misses part of the sample. A
movement along a sinusoid of one turn, or a constant one, only moves the whole volume.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.registration import phase_cross_correlation

FloatArray = NDArray[np.float32]

_SIDE = 0.04  # of the width, at either side, where a sample that is in the field of view is not
_AIR = 0.25  # of the sample's mass that a frame of what is there may hold
_LEAST_ROWS = 16
_UPSAMPLING = 50  # parts of a pixel that a shift is measured in
_ROUNDS = 3
_OUTLIER = 4.0  # median deviations


def sum_rows(phase_yx: FloatArray) -> NDArray[np.float64]:
    """Sum a projection along its rows, above the line between the air at its two sides.

    Returns
    -------
    ndarray of float64
        (3, Y): mass, its first moment about the middle column, and the mass of that air.
    """
    width = phase_yx.shape[1]
    side = max(1, round(_SIDE * width))
    x = np.arange(width) - (width - 1) / 2
    left, right = phase_yx[:, :side].mean(axis=1), phase_yx[:, -side:].mean(axis=1)
    slope = (right - left) / (width - side)
    air = width * (left + right) / 2
    mass = phase_yx.sum(axis=1, dtype=np.float64) - air
    return np.stack([mass, phase_yx @ x - slope * (x @ x), air])


def find_motion(
    rows_asy: NDArray[np.float64], angles_deg: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Find how far the sample was off at each projection.

    Parameters
    ----------
    rows_asy
        (A, 3, Y), what `sum_rows` returned.

    Returns
    -------
    ndarray of float64, optional
        (A, 2), y and x in px; its median along y, and its part along a sinusoid of one turn along
        x, are 0. None where the sample reaches beyond the sides or moved by a quarter of a frame,
        or rows are few.
    """
    mass_ay, moment_ay, air_ay = np.moveaxis(rows_asy, 1, 0)
    total, air = (abs(np.median(of.sum(axis=1))) for of in (mass_ay, air_ay))
    if mass_ay.shape[1] < _LEAST_ROWS or not air < _AIR * total:
        return None
    height = _find_heights(mass_ay)
    # Rows that enter or leave the frame are in no projection's centre.
    reach = int(np.ceil(np.abs(height).max())) + 1
    if 4 * reach > mass_ay.shape[1]:
        return None
    mass, moment = (
        _move_rows(of, height)[:, reach:-reach].sum(axis=1) for of in (mass_ay, moment_ay)
    )
    return np.stack([height, _leave_sinusoid(moment / mass, np.deg2rad(angles_deg))], axis=1)


def _find_heights(mass_ay: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the vertical shift of each profile from what they have in common."""
    window = np.hanning(mass_ay.shape[1])
    height = np.zeros(len(mass_ay))
    for _ in range(_ROUNDS):
        moved_ay = _move_rows(mass_ay, height)
        moved_ay = (moved_ay - moved_ay.mean(axis=1, keepdims=True)) * window
        known = np.median(moved_ay, axis=0)
        for number, one in enumerate(moved_ay):
            found = phase_cross_correlation(
                known, one, upsample_factor=_UPSAMPLING, normalization=None
            )
            height[number] -= found[0][0]
        height -= np.median(height)
    return height


def _move_rows(of_ay: NDArray[np.float64], by_a: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring profiles back by their shifts (px)."""
    places = np.arange(of_ay.shape[1], dtype=float)
    return np.array(
        [np.interp(places + by, places, one) for by, one in zip(by_a, of_ay, strict=True)]
    )


def _leave_sinusoid(
    centre_a: NDArray[np.float64], angle_a: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what a sinusoid of one turn leaves; outliers have no say in it."""
    waves = np.stack([np.ones_like(angle_a), np.cos(angle_a), np.sin(angle_a)], axis=1)
    good = np.ones(len(centre_a), bool)
    for _ in range(_ROUNDS):
        fit = np.linalg.lstsq(waves[good], centre_a[good], rcond=None)[0]
        left: NDArray[np.float64] = centre_a - waves @ fit
        good = np.abs(left) <= _OUTLIER * np.median(np.abs(left)) + 1 / _UPSAMPLING
    return left
