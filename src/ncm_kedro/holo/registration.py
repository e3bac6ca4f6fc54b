"""Where things are: the images of all distances on one grid, the moving sample, the axis.

Distances: fringes differ between them; hence phases that were retrieved from each distance alone
are correlated, not the images themselves. Then each image is correlated with what the phase of all
distances together lets expect at its own distance, which shows the same fringes.

Movement that all distances share: the mass of a slice is the same from every side, and its centre
follows a sinusoid: the first two consistency conditions of Helgason and Ludwig (Natterer, The
Mathematics of Computerized Tomography, 1986, theorem II.4.2). What departs from them has moved, if
no ray misses part of the sample. A movement along a sinusoid of one turn, or a constant one, only
moves the whole volume.

Centre: Vo et al., Opt. Express 22, 19078 (2014), and its variant for half acquisition, Vo et al.,
Opt. Express 29, 17849 (2021), as algotom has them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter, shift
from skimage.registration import phase_cross_correlation

from ncm_kedro.errors import TomogramError
from ncm_kedro.holo.retrieval import PhaseRetriever
from ncm_kedro.holo.scan import Geometry
from ncm_kedro.params.holo import RetrievalParams

FloatArray = NDArray[np.float32]

_UPSAMPLING = 50  # parts of a pixel that a shift is measured in
_COARSE_PX = 0.08  # of the frame: structure coarser than this is no landmark
_FINE_PX = 1.0
_ROUNDS = 3  # in which expected images are compared
_OUTLIER = 4.0  # median deviations
_LEAST_ANGLES = 6  # for a drift to be fitted rather than a constant shift
_SIDE = 0.04  # of the width, at either side, where a sample that is in the field of view is not
_AIR = 0.25  # of the sample's mass that a frame of what is there may hold
_LEAST_ROWS = 16
_HALF_TURN_DEG = 180.0


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


def find_centre(
    sinogram_zax: FloatArray, angles_deg: NDArray[np.float64], *, half_acquisition: bool
) -> tuple[float, float]:
    """Find the axis from several rows.

    Parameters
    ----------
    sinogram_zax
        (Z, A, X), rows of the detector.
    angles_deg
        (A,), in any order.

    Returns
    -------
    centre_px, spread_px
        Median over the rows, and half the distance of its quartiles; the spread is half the width
        of the frame where most rows have no axis within the range that is searched.
    """
    from algotom.prep import calculation

    width = sinogram_zax.shape[-1]
    rising = np.argsort(angles_deg, kind="stable")
    if not half_acquisition:
        rising = rising[angles_deg[rising] - angles_deg[rising[0]] < _HALF_TURN_DEG]
    found = []
    with warnings.catch_warnings(record=True) as beyond:
        warnings.filterwarnings("always", message="Global minimum is out of the searching range")
        for sinogram in sinogram_zax[:, rising]:
            if half_acquisition:
                window = max(8, width // 6)
                found.append(float(calculation.find_center_360(sinogram, window, ncore=1)[0]))
            else:
                found.append(float(calculation.find_center_vo(sinogram, ncore=1)))
    low, middle, high = np.percentile(found, [25, 50, 75])
    if 2 * len(beyond) > len(found):
        return float(middle), width / 2
    return float(middle), float((high - low) / 2)


def stitch_half_turns(
    sinogram_zax: FloatArray, angles_deg: NDArray[np.float64], centre_px: float, source: str
) -> tuple[FloatArray, NDArray[np.float64], float]:
    """Join each projection with the one from behind to one of twice the width.

    Parameters
    ----------
    source
        The scan, for errors.

    Returns
    -------
    sinogram_zax, angles_deg, centre_px
        Of half as many projections.

    Raises
    ------
    TomogramError
        If projections have no counterpart half a turn away.
    """
    width = sinogram_zax.shape[-1]
    if centre_px < (width - 1) / 2:  # seen from behind, the axis is at the other side
        angles = (angles_deg + _HALF_TURN_DEG) % (2 * _HALF_TURN_DEG)
        return stitch_half_turns(sinogram_zax[..., ::-1], angles, width - 1 - centre_px, source)
    turned = angles_deg % (2 * _HALF_TURN_DEG)
    first = np.flatnonzero(turned < _HALF_TURN_DEG - 1e-6)
    apart = np.abs((turned[None] - turned[first, None] - _HALF_TURN_DEG + 180) % 360 - 180)
    behind = apart.argmin(axis=1)
    step = float(np.median(np.diff(np.sort(turned))))
    worst = float(apart[np.arange(len(first)), behind].max())
    if worst > step:
        raise TomogramError(
            source,
            found=f"a projection whose counterpart half a turn away is {worst:.3g} degrees off",
            expected="half acquisition over a whole turn, in even steps",
            action="remove `half_acquisition` from the sample's .yml if the axis is in the middle, "
            "or supply the angles that are missing",
        )
    long = int(np.ceil(2 * centre_px)) + 1
    place = np.arange(long)
    share = np.clip((place - (2 * centre_px - width + 1)) / (2 * (width - 1 - centre_px) + 1), 0, 1)
    front = np.pad(sinogram_zax[:, first], ((0, 0), (0, 0), (0, max(long - width, 0))), "edge")
    back = affine_transform(
        sinogram_zax[:, behind, ::-1],
        np.ones(3),
        (0, 0, width - 1 - 2 * centre_px),
        output_shape=(len(sinogram_zax), len(first), long),
        order=3,
        mode="nearest",
        output=np.float32,
    )
    joined = (1 - share) * front[..., :long] + share * back
    return joined.astype(np.float32), angles_deg[first], centre_px
