"""The texture baseline: classical descriptors of a crop and a linear classifier on them.

Three families, each rotation invariant by construction or by averaging:

- local binary patterns at several radii (Ojala et al. 2002, doi:10.1109/TPAMI.2002.1017623),
- grey-level co-occurrence at several distances (Haralick et al. 1973,
  doi:10.1109/TSMC.1973.4309314),
- the radially averaged power spectrum.

A network that does not beat this on unseen regions was not worth its training. The descriptors are
by hand: those of scikit-image take 3.2 times as long.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import fft
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from ncm_kedro.errors import ModelError
from ncm_kedro.params.base import FrozenParams

_MAX_ITERATIONS = 3000
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


class TextureParams(FrozenParams):
    """Descriptors of the texture baseline, and candidates for its regularisation."""

    lbp_radii_px: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0)
    """Radii of the circles of 8 neighbours of the local binary patterns, px."""
    cooccurrence_distances_px: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Distances of the co-occurrence pairs, px; each is averaged over 0, 45, 90 and 135 degrees."""
    grey_levels: int = Field(default=32, ge=2, le=256)
    """Grey levels of the co-occurrence matrices (uint8 is divided evenly among them)."""
    spectrum_bins: int = Field(default=24, ge=2, le=256)
    """Logarithmically spaced rings of the power spectrum, from 1 cycle per crop to Nyquist."""
    inverse_regularisation: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    """Candidates for C of the logistic regression; the best on validation is selected."""


def texture_features(
    crops_nyx: NDArray[np.uint8], params: TextureParams | None = None, *, n_threads: int = 2
) -> NDArray[np.float32]:
    """Measure the texture of grey crops.

    Parameters
    ----------
    crops_nyx
        Grey crops, shape (N, H, W), 0-255.
    params
        Radii, distances and bins; the defaults if not given.
    n_threads
        Crops measured side by side; the result does not depend on it.

    Returns
    -------
    numpy.ndarray
        Shape (N, F); columns are named by `texture_feature_names`.

    Raises
    ------
    ModelError
        If the crops are not a stack of uint8 images larger than the largest distance.
    """
    params = params or TextureParams()
    _check_crops(crops_nyx, params)
    measure = partial(_measure_crop, params=params)
    if n_threads <= 1:
        rows = [measure(crop_yx) for crop_yx in crops_nyx]
    else:
        with ThreadPoolExecutor(n_threads) as pool:
            rows = list(pool.map(measure, crops_nyx))
    n_features = len(texture_feature_names(params))
    return np.asarray(rows, dtype=np.float32).reshape(len(crops_nyx), n_features)


def texture_feature_names(params: TextureParams | None = None) -> list[str]:
    """Name the columns of `texture_features`, in order."""
    params = params or TextureParams()
    names = [f"lbp_r{r:g}_{b}" for r in params.lbp_radii_px for b in range(PATTERN_BINS)]
    for distance in params.cooccurrence_distances_px:
        names += [f"glcm_d{distance}_{prop}" for prop in COOCCURRENCE_PROPERTIES]
    names += [f"spectrum_{ring}" for ring in range(params.spectrum_bins)]
    return [*names, "grey_mean", "grey_std", "grey_skewness"]


def fit_texture_baseline(
    features: NDArray[np.floating[Any]],
    labels: NDArray[Any],
    seed: int,
    *,
    validation: tuple[NDArray[np.floating[Any]], NDArray[Any]],
    params: TextureParams | None = None,
) -> Pipeline:
    """Standardise the features and fit a multinomial logistic regression.

    Parameters
    ----------
    features
        Shape (N, F), of the training split.
    labels
        Class of each row, shape (N,).
    seed
        Seed of the shuffles.
    validation
        Features and labels of the validation split; C is chosen by balanced accuracy there.
    params
        Holds the candidates for C; the defaults if not given.

    Returns
    -------
    sklearn.pipeline.Pipeline
        StandardScaler and LogisticRegression, fitted to `features` with the best C.

    Raises
    ------
    ModelError
        If there are fewer than two classes.
    """
    params = params or TextureParams()
    n_classes = np.unique(labels).size
    if n_classes < 2:
        raise ModelError(
            "texture baseline",
            found=f"{n_classes} class(es) among {len(labels)} training crops",
            expected="at least two classes",
            action="add frames of another class, or omit the baseline",
        )
    fitted = [_fit_candidate(c, seed, features, labels) for c in params.inverse_regularisation]
    scores = [balanced_accuracy_score(validation[1], f.predict(validation[0])) for f in fitted]
    return fitted[int(np.argmax(scores))]


def _fit_candidate(
    inverse_regularisation: float,
    seed: int,
    features: NDArray[np.floating[Any]],
    labels: NDArray[Any],
) -> Pipeline:
    regression = LogisticRegression(
        C=inverse_regularisation, max_iter=_MAX_ITERATIONS, random_state=seed
    )
    model = Pipeline([("scale", StandardScaler()), ("classify", regression)])
    with threadpool_limits(1, "blas"):  # threads cost 20 times as much as these small products
        return model.fit(features, labels)


def _check_crops(crops_nyx: NDArray[np.uint8], params: TextureParams) -> None:
    needed_px = 2 * int(np.ceil(max(*params.cooccurrence_distances_px, *params.lbp_radii_px))) + 1
    fits = crops_nyx.ndim == 3 and min(crops_nyx.shape[1:]) >= needed_px  # (N, H, W)
    if crops_nyx.dtype != np.uint8 or not fits:
        raise ModelError(
            "texture features",
            found=f"an array of shape {crops_nyx.shape} and dtype {crops_nyx.dtype}",
            expected=f"uint8 crops of shape (N, H, W) with sides of at least {needed_px} px",
            action="pass grey crops, or shorten the distances and radii of the texture settings",
        )


def _measure_crop(crop_yx: NDArray[np.uint8], params: TextureParams) -> NDArray[np.float64]:
    grey = crop_yx.astype(np.float64)
    mean, std = grey.mean(), grey.std()
    skewness = ((grey - mean) ** 3).mean() / (std**3 + 1.0)
    parts = [measure_local_patterns(crop_yx, radius) for radius in params.lbp_radii_px]
    quantised = (crop_yx.astype(np.int32) * params.grey_levels) // 256
    parts += [
        measure_cooccurrence(quantised, distance, params.grey_levels)
        for distance in params.cooccurrence_distances_px
    ]
    parts.append(measure_radial_power(crop_yx, params.spectrum_bins))
    parts.append(np.array([mean, std, skewness]))
    return np.concatenate(parts)


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
    """Ring of each coefficient of the real Fourier transform; `n_bins` marks those in none."""
    fy = np.fft.fftfreq(height)[:, None]
    fx = np.fft.rfftfreq(width)[None, :]
    frequency = np.hypot(fy, fx)
    edges = np.geomspace(0.9 / min(height, width), 0.5, n_bins + 1)
    ring = np.searchsorted(edges, frequency, side="right") - 1
    return np.where((ring < 0) | (ring >= n_bins), n_bins, ring)


def measure_radial_power(crop_yx: NDArray[np.uint8], n_bins: int) -> NDArray[np.float64]:
    """Mean power in rings of spatial frequency, log10.

    The mean is subtracted and the crop tapered by a Hann window; a ring that holds no coefficient
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
    # The real transform omits the mirror image of all but its first and middle column.
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
