"""From frames of the detector to intensities: darks, flats in time, zingers, fixed pattern.

The order of Van Nieuwenhove et al., Opt. Express 23, 27975 (2015), without their eigen flats.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from ncm_kedro.errors import TomogramError
from ncm_kedro.holo.scan import DistanceScan

FloatArray = NDArray[np.float32]

_LEAST = 1e-3
_PATTERN_PX = 5  # stripes are narrower, shadows of the sample wider
_SINGLE_PX = 3
_CORRECTED = 2.0  # that intensities over those without sample do not exceed
_LEAST_DISTANCES = 3  # that show what they have in common


def group_flats(scan: DistanceScan) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Average the darks, and the flats that were taken in one go.

    Returns
    -------
    dark_yx, flats_fyx, place_f
        Mean dark (Y, X); mean flats less dark (F, Y, X); the projection, counted from 0, before
        which each group was taken. No flats: ones, and a dark of 0, for projections that are
        corrected already.

    Raises
    ------
    TomogramError
        If there are no flats, and the projections are counts.
    """
    shape = scan.read(scan.frames[:1]).shape[1:]
    dark_yx = np.zeros(shape, np.float32)
    if not len(scan.flat_frames):
        _check_intensity(scan)
        return dark_yx, np.ones((1, *shape), np.float32), np.zeros(1, np.float32)
    if len(scan.dark_frames):
        dark_yx = np.mean((scan.read_darks or scan.read)(scan.dark_frames), 0, np.float32)
    read = scan.read_flats or scan.read
    places = scan.flat_places
    if places is None and scan.read_flats is None:
        places = np.searchsorted(scan.frames, scan.flat_frames)
    elif places is None:
        places = np.zeros(len(scan.flat_frames), np.intp)
    known = np.unique(places)
    flats = [np.mean(read(scan.flat_frames[places == p]), 0, np.float32) - dark_yx for p in known]
    return dark_yx, np.stack(flats), known.astype(np.float32)


def normalise_frames(
    frames_ayx: NDArray[np.generic],
    places_a: NDArray[np.float32],
    dark_yx: FloatArray,
    flats_fyx: FloatArray,
    flat_places_f: FloatArray,
) -> FloatArray:
    """Divide by the flat at the time of each frame, linear between the groups of flats.

    Parameters
    ----------
    places_a, flat_places_f
        Of frames and groups of flats, both in projections from the first one.

    Returns
    -------
    ndarray of float32
        (A, Y, X), intensity over that without sample; NaN where the beam gives none.
    """
    out = frames_ayx.astype(np.float32) - dark_yx
    for image, place in zip(out, places_a, strict=True):
        upper = int(np.clip(np.searchsorted(flat_places_f, place), 1, max(len(flats_fyx) - 1, 1)))
        flat = flats_fyx[0]
        if len(flats_fyx) > 1:
            low, high = flat_places_f[upper - 1], flat_places_f[upper]
            share = np.float32(np.clip((place - low) / (high - low), 0, 1))
            flat = (1 - share) * flats_fyx[upper - 1] + share * flats_fyx[upper]
        np.divide(image, np.where(flat > 0, flat, np.nan), out=image)
    return out


def remove_zingers(image_yx: FloatArray, threshold: float) -> FloatArray:
    """Replace pixels that are far above their surroundings, or unknown, by the local median.

    Parameters
    ----------
    threshold
        Excess over the median of 3 x 3 pixels from which a pixel is a zinger (fraction of it).
    """
    known = np.isfinite(image_yx)
    filled = image_yx if known.all() else _fill(image_yx, known)
    middle = cv2.medianBlur(filled, 3)
    hit = (filled > middle * (1 + threshold) + _LEAST) | ~known
    return np.where(hit, middle, filled)


def measure_pattern(mean_log_kyx: FloatArray) -> FloatArray:
    """Find the pattern of the detector that flats have left: it is the same at every distance.

    Narrow structure that stands still while the sample turns may also be the sample's own: its
    fringes, what lies near the axis. That differs between distances. Hence a pixel counts where all
    distances show the same sign, by the least of them; of few distances only single pixels count.

    Parameters
    ----------
    mean_log_kyx
        (K, Y, X), logarithm of the intensity, averaged over the angles.

    Returns
    -------
    ndarray of float32
        (Y, X), pattern; subtract it from the logarithm.
    """
    width = _PATTERN_PX if len(mean_log_kyx) >= _LEAST_DISTANCES else _SINGLE_PX
    smooth = median_filter(mean_log_kyx, size=(1, 1, width), mode="nearest")
    rest_kyx = mean_log_kyx - smooth
    sign_kyx = np.sign(rest_kyx)
    least_yx = np.where((sign_kyx == sign_kyx[0]).all(axis=0), np.abs(rest_kyx).min(axis=0), 0)
    return np.asarray(sign_kyx[0] * least_yx, np.float32)


def _check_intensity(scan: DistanceScan) -> None:
    typical = float(np.nanmedian(scan.read(scan.frames[len(scan.frames) // 2 :][:1])))
    if not 0 < typical < _CORRECTED:
        raise TomogramError(
            scan.source,
            found=f"no flats, and projections of {typical:.4g} in the median",
            expected="flats, or projections that were divided by them: 1 without sample",
            action="supply the flats, or divide by them before",
        )


def _fill(image_yx: FloatArray, known: NDArray[np.bool_]) -> FloatArray:
    """Fill unknown pixels with the mean of the known ones about them."""
    weight = cv2.blur(known.astype(np.float32), (7, 7))
    total = cv2.blur(np.where(known, image_yx, 0).astype(np.float32), (7, 7))
    near = total / np.maximum(weight, 1e-6)
    return np.where(known, image_yx, np.where(weight > 0, near, 1)).astype(np.float32)
