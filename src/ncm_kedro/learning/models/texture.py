"""The texture baseline: classical descriptors of a crop and a linear classifier on them.

Three families, each rotation invariant by construction or by averaging:

- local binary patterns at several radii (Ojala et al. 2002, doi:10.1109/TPAMI.2002.1017623),
- grey-level co-occurrence at several distances (Haralick et al. 1973,
  doi:10.1109/TSMC.1973.4309314),
- the radially averaged power spectrum.

A network that does not beat this on unseen area has learned nothing that was worth the wait.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.models.descriptors import (
    COOCCURRENCE_PROPERTIES,
    PATTERN_BINS,
    measure_cooccurrence,
    measure_local_patterns,
    measure_radial_power,
)
from ncm_kedro.params.base import FrozenParams

_MAX_ITERATIONS = 3000
_FOLDS_WITHOUT_VALIDATION = 4


class TextureParams(FrozenParams):
    """What the texture baseline measures and how hard its classifier is regularised."""

    lbp_radii_px: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0)
    """Radii of the circles of 8 neighbours of the local binary patterns, px."""
    cooccurrence_distances_px: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Distances of the co-occurrence pairs, px; each is averaged over 0, 45, 90 and 135 degrees."""
    grey_levels: int = Field(default=32, ge=2, le=256)
    """Grey levels of the co-occurrence matrices (uint8 is divided evenly among them)."""
    spectrum_bins: int = Field(default=24, ge=2, le=256)
    """Logarithmically spaced rings of the power spectrum, from 1 cycle per crop to Nyquist."""
    inverse_regularisation: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    """Candidates for C of the logistic regression; the best on validation is kept."""


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
    validation: tuple[NDArray[np.floating[Any]], NDArray[Any]] | None = None,
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
        Without it, a quarter of the rows, drawn at random, stands in for it.
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
            action="add frames of another class, or leave the baseline out",
        )
    if validation is None:
        order = np.random.default_rng(seed).permutation(len(labels))
        n_held = max(1, len(labels) // _FOLDS_WITHOUT_VALIDATION)
        held, kept = order[:n_held], order[n_held:]
        validation = features[held], labels[held]
        fit_on = features[kept], labels[kept]
    else:
        fit_on = features, labels
    candidates = params.inverse_regularisation
    scores = [_score_candidate(c, seed, fit_on, validation) for c in candidates]
    best = candidates[int(np.argmax(scores))]
    return _make_pipeline(best, seed).fit(features, labels)


def _make_pipeline(inverse_regularisation: float, seed: int) -> Pipeline:
    return Pipeline(
        [
            ("scale", StandardScaler()),
            (
                "classify",
                LogisticRegression(
                    C=inverse_regularisation, max_iter=_MAX_ITERATIONS, random_state=seed
                ),
            ),
        ]
    )


def _score_candidate(
    inverse_regularisation: float,
    seed: int,
    fit_on: tuple[NDArray[np.floating[Any]], NDArray[Any]],
    validation: tuple[NDArray[np.floating[Any]], NDArray[Any]],
) -> float:
    fitted = _make_pipeline(inverse_regularisation, seed).fit(*fit_on)
    return float(balanced_accuracy_score(validation[1], fitted.predict(validation[0])))


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
