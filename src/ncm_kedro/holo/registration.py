"""Bringing the images of all distances onto the pixels of the highest magnification.

Fringes differ between distances; hence phases that were retrieved from each distance alone are
correlated, not the images themselves. Then each image is correlated with what the phase of all
distances together lets expect at its own distance, which shows the same fringes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter, shift
from skimage.registration import phase_cross_correlation

from ncm_kedro.holo.geometry import Geometry
from ncm_kedro.holo.retrieval import PhaseRetriever
from ncm_kedro.params.holo import RetrievalParams

FloatArray = NDArray[np.float32]

_UPSAMPLING = 50  # parts of a pixel that a shift is measured in
_COARSE_PX = 0.08  # of the frame: structure coarser than this is no landmark
_FINE_PX = 1.0
_ROUNDS = 3  # in which expected images are compared
_OUTLIER = 4.0  # median deviations
_LEAST_ANGLES = 6  # for a drift to be fitted rather than a constant shift


def rescale_image(
    image_yx: FloatArray, geometry: Geometry, distance: int, shift_yx: Sequence[float]
) -> FloatArray:
    """Resample an image onto the pixels of the reference distance (cubic splines).

    Parameters
    ----------
    distance
        Which scan of ``geometry`` the image belongs to.
    shift_yx
        Where the image shows the middle of the reference, (y, x) in reference pixels.
    """
    scale = geometry.voxel_um / geometry.pixel_um[distance]
    if scale == 1 and not np.any(shift_yx):
        return image_yx
    middle = (np.array(image_yx.shape) - 1) / 2
    offset = middle - scale * (middle - np.asarray(shift_yx))
    moved: FloatArray = affine_transform(
        image_yx, [scale, scale], offset, order=3, mode="nearest", output=np.float32
    )
    return moved


def measure_shifts(
    intensity_kyx: FloatArray,
    geometry: Geometry,
    retrieval: RetrievalParams,
    *,
    device: str = "cpu",
) -> NDArray[np.float64]:
    """Measure where each distance shows what the reference shows.

    Parameters
    ----------
    intensity_kyx
        (K, Y, X), one projection at each distance, on the reference's pixels.

    Returns
    -------
    ndarray of float64
        (K, 2), y and x in pixels, 0 for the reference, NaN where an image is blank.
    """
    shape = intensity_kyx.shape[1], intensity_kyx.shape[2]
    linear = retrieval.model_copy(update={"method": "ctf_homogeneous", "refinements": 0})
    alone = [
        PhaseRetriever(shape, (fresnel,), linear, device).retrieve(image[None])
        for image, fresnel in zip(intensity_kyx, geometry.fresnel, strict=True)
    ]
    known = alone[geometry.reference]
    shifts = np.array([_correlate(known, image) for image in alone])
    together = PhaseRetriever(shape, geometry.fresnel, linear, device)
    for _ in range(_ROUNDS if np.isfinite(shifts).all() else 0):
        aligned = [
            shift(image, -by, order=3, mode="nearest")
            for image, by in zip(intensity_kyx, shifts, strict=True)
        ]
        expected = together.propagate(together.retrieve(np.stack(aligned)))
        left = np.array([_correlate(*pair) for pair in zip(expected, aligned, strict=True)])
        shifts += left - left[geometry.reference]
    return shifts


def _correlate(known_yx: FloatArray, image_yx: FloatArray) -> NDArray[np.float64]:
    """Measure where an image shows what another shows (y, x in px), NaN where one is blank."""
    shape = known_yx.shape
    window = np.outer(np.hanning(shape[0]), np.hanning(shape[1])).astype(np.float32)
    known, image = (
        (gaussian_filter(one, _FINE_PX) - gaussian_filter(one, _COARSE_PX * min(shape))) * window
        for one in (known_yx, image_yx)
    )
    if not (known.any() and image.any()):
        return np.full(2, np.nan)
    found = phase_cross_correlation(known, image, upsample_factor=_UPSAMPLING, normalization=None)
    return np.asarray(-found[0], np.float64)


def fit_drift(
    places_m: NDArray[np.float64], shifts_mkd: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """Fit a slow drift (parabola in time) through measured shifts, without outliers.

    Parameters
    ----------
    places_m
        (M,), projections at which they were measured, counted from 0.
    shifts_mkd
        (M, K, 2); NaN where it could not be measured.
    count
        Projections of the scan.

    Returns
    -------
    ndarray of float64
        (A, K, 2), shift of every projection.
    """
    seen = np.isfinite(shifts_mkd).all(axis=(1, 2))
    if not seen.any():
        return np.zeros((count, *shifts_mkd.shape[1:]))
    time, shifts_mkd = places_m[seen] / max(count - 1, 1), shifts_mkd[seen]
    degree = 2 if len(time) >= _LEAST_ANGLES else 0
    flat = shifts_mkd.reshape(len(time), -1)
    deviation = np.abs(flat - np.median(flat, axis=0))
    spread = np.median(deviation, axis=0) + 1.0 / _UPSAMPLING
    out = np.empty((count, flat.shape[1]))
    for column in range(flat.shape[1]):
        good = deviation[:, column] <= max(_OUTLIER * spread[column], 2.0)
        for _ in range(3):
            fit = np.polynomial.Polynomial.fit(time[good], flat[good, column], degree, (0, 1))
            left = np.abs(flat[:, column] - fit(time))
            good = left <= _OUTLIER * (np.median(left) + 1.0 / _UPSAMPLING)
        out[:, column] = fit(np.arange(count) / max(count - 1, 1))
    return out.reshape(count, *shifts_mkd.shape[1:])
