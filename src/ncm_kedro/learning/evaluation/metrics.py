"""Scores of a classifier, each with a confidence interval from resampled areas.

Crops of one area show nearly the same thing; resampling crops would make intervals far too narrow.
Whole areas are drawn with replacement instead (cluster bootstrap, Davison & Hinkley 1997, ch. 3.8),
whatever their class: within a class there may be one. An area is a mosaic, a connected imaged
region, which no crop straddles. Areas without replicate electrodes behind them carry within-session
variation only: an interval says nothing about another electrode or another session.

The percentiles of few areas are too narrow, the more so near 0 and 1. So the variance of the
resamples gives the number of independent crops that are worth as much, and the interval of a
fraction is the exact binomial one of that number (Clopper & Pearson 1934, Biometrika 26, 404; for
cluster samples Korn & Graubard 1998, Survey Methodology 24, 193). How errors cluster is known from
the areas that have some, and a perfect score tells nothing of it. So the variance is drawn towards
the largest possible one, that of areas which are right or wrong as a whole, with the weight of half
an area against the effective number of areas that errors (or hits, if fewer) lie in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import TableError
from ncm_kedro.learning.evaluation.calibration import summarise_calibration
from ncm_kedro.params.tune_train import EvaluationParams

MIN_AREAS = 8
"""Fewer independent areas do not give an interval."""
_PRIOR_AREAS = 0.5

Interval = dict[str, float | None]
"""`value` (None where it is not defined), and `low` and `high`, None where areas are too few."""


def sum_over_groups(
    probabilities: NDArray[np.floating], groups: Sequence[str]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Marginal probabilities: classes of the same group (composition, state) added up.

    Parameters
    ----------
    probabilities
        (N, K).
    groups
        Group of each of the K classes.

    Returns
    -------
    probabilities
        (N, G).
    names
        The G groups, sorted.
    """
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    summed = np.asarray(probabilities, dtype=np.float64) @ np.eye(len(names))[member]
    return summed, tuple(str(name) for name in names)


def count_confusion(
    labels: NDArray[np.integer], predicted: NDArray[np.integer], n_classes: int
) -> NDArray[np.int64]:
    """(K, K) crops by true class (row) and predicted class (column)."""
    cell = labels.astype(np.int64) * n_classes + predicted
    counts = np.bincount(cell, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


def score_confusion(confusion: NDArray[np.number]) -> dict[str, NDArray[np.float64]]:
    """Accuracy, balanced accuracy and macro F1 of confusion matrices.

    Parameters
    ----------
    confusion
        (..., K, K), true class by row.

    Returns
    -------
    dict
        `accuracy`, `balanced_accuracy` (mean recall) and `macro_f1` (mean F1), each of shape
        (...). Means are over classes with crops, so that a resample that happens to miss a class
        does not score zero for it.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    actual, claimed = confusion.sum(axis=-1), confusion.sum(axis=-2)
    recall = np.divide(hits, actual, out=np.zeros_like(hits), where=actual > 0)
    both = actual + claimed
    n_present = np.maximum((actual > 0).sum(axis=-1), 1)
    f1 = np.divide(2.0 * hits, both, out=np.zeros_like(hits), where=both > 0)
    return {
        "accuracy": hits.sum(axis=-1) / actual.sum(axis=-1),
        "balanced_accuracy": recall.sum(axis=-1) / n_present,
        "macro_f1": f1.sum(axis=-1) / n_present,
    }


def draw_areas(
    areas: Sequence[str] | NDArray[np.str_], params: EvaluationParams
) -> tuple[NDArray[np.str_], NDArray[np.int64], NDArray[np.float64]]:
    """Draw areas with replacement.

    Parameters
    ----------
    areas
        (N,) name of the area each crop lies in.
    params
        Resamples, seed.

    Returns
    -------
    names
        (A,) areas, sorted.
    area
        (N,) number of each crop's area.
    weights
        (n_bootstrap, A) how often each area was drawn.
    """
    names, area = np.unique(np.asarray(areas, dtype=str), return_inverse=True)
    chance = np.full(len(names), 1.0 / len(names))
    rng = np.random.default_rng(params.seed)
    weights = rng.multinomial(len(names), chance, size=params.n_bootstrap)
    return names, area.astype(np.int64), weights.astype(np.float64)


def resample_areas(
    labels: NDArray[np.integer],
    predicted: NDArray[np.integer],
    areas: Sequence[str],
    n_classes: int,
    params: EvaluationParams,
) -> dict[str, NDArray[np.float64]]:
    """Scores of `n_bootstrap` resamples of areas, each of shape (n_bootstrap,)."""
    names, area, weights = draw_areas(areas, params)
    cell = (area * n_classes + labels) * n_classes + predicted
    per_area = np.bincount(cell, minlength=len(names) * n_classes**2)
    per_area = per_area.reshape(len(names), n_classes**2).astype(np.float64)
    confusion = (weights @ per_area).reshape(-1, n_classes, n_classes)
    return score_confusion(confusion)


def score_with_intervals(
    labels: NDArray[np.integer],
    predicted: NDArray[np.integer],
    areas: Sequence[str],
    n_classes: int,
    params: EvaluationParams,
) -> dict[str, Interval]:
    """Each score with its interval.

    Parameters
    ----------
    labels, predicted
        (N,) class numbers.
    areas
        (N,) name of the disjoint area each crop lies in.
    n_classes
        Count of classes K.
    params
        Resamples, confidence, seed.

    Returns
    -------
    dict
        ``{score: {value, low, high}}``, fractions.
    """
    values = score_confusion(count_confusion(labels, predicted, n_classes))
    draws = resample_areas(labels, predicted, areas, n_classes, params)
    area, right = (
        np.unique(np.asarray(areas, dtype=str), return_inverse=True)[1],
        labels == predicted,
    )
    hits, errors = np.bincount(area, right), np.bincount(area, ~right)
    return {
        name: bound_fraction(float(values[name]), draws[name], hits, errors, params)
        for name in values
    }


def bound_fraction(
    value: float,
    draws: NDArray[np.floating],
    hits: NDArray[np.number],
    errors: NDArray[np.number],
    params: EvaluationParams,
) -> Interval:
    """Return a score between 0 and 1 with its interval.

    Parameters
    ----------
    value
        The score.
    draws
        (n_bootstrap,) of resamples of areas.
    hits, errors
        (A,) what each independent area adds to the score, and what it takes off, 0 or more.
    params
        Confidence.
    """
    n_areas = len(hits)
    if n_areas < MIN_AREAS:
        return {"value": value, "low": None, "high": None}
    from scipy import stats

    tail, freedom = (1.0 - params.confidence) / 2.0, n_areas - 1
    largest = value * (1.0 - value) / n_areas
    variance = float(draws.var()) * n_areas / freedom
    spread = variance / largest if largest > 0.0 else 0.0  # of the largest possible
    known = min(_count_effective(hits), _count_effective(errors))
    spread = (known * spread + _PRIOR_AREAS) / (known + _PRIOR_AREAS)
    student = stats.t.ppf(tail, freedom) / stats.norm.ppf(tail)
    crops = n_areas / (spread * student**2)
    right, wrong = value * crops, (1.0 - value) * crops
    low = stats.beta.ppf(tail, right, wrong + 1.0) if right > 0.0 else 0.0
    high = stats.beta.ppf(1.0 - tail, right + 1.0, wrong) if wrong > 0.0 else 1.0
    return {"value": value, "low": float(low), "high": float(high)}


def _count_effective(weights: NDArray[np.number]) -> float:
    """Effective number of areas that share weights (A,), 0 without any (Kish 1965)."""
    return float(weights.sum() ** 2 / (weights**2).sum()) if weights.any() else 0.0


def bound_draws(
    draws: NDArray[np.floating], n_areas: int, params: EvaluationParams
) -> tuple[float, float] | tuple[None, None]:
    """Return the interval of any score, or difference of scores, from its resamples, (B,).

    Percentiles are taken further out, as Student's t asks for (expanded percentile interval,
    Hesterberg 2015, Am. Stat. 69, 371).
    """
    if n_areas < MIN_AREAS:
        return None, None
    from scipy import stats

    tail = (1.0 - params.confidence) / 2.0
    reach = stats.t.ppf(tail, n_areas - 1) * np.sqrt(n_areas / (n_areas - 1))
    outer = float(stats.norm.cdf(reach))
    low, high = np.quantile(draws, [outer, 1.0 - outer])
    return float(low), float(high)


def report_classes(
    confusion: NDArray[np.integer],
    names: Sequence[str],
    labels: NDArray[np.integer],
    areas: Sequence[str],
) -> dict[str, dict[str, float | int | None]]:
    """Precision, recall, F1, crops and areas of each class; null where it is not defined."""
    report: dict[str, dict[str, float | int | None]] = {}
    area = np.asarray(areas, dtype=str)
    for row, name in enumerate(names):
        hits, actual = int(confusion[row, row]), int(confusion[row].sum())
        claimed = int(confusion[:, row].sum())
        report[name] = {
            "precision": hits / claimed if claimed else None,
            "recall": hits / actual if actual else None,
            "f1": 2.0 * hits / (actual + claimed) if actual + claimed else None,
            "crops": actual,
            "areas": len(np.unique(area[labels == row])),
        }
    return report


def evaluate_predictions(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    areas: Sequence[str],
    *,
    class_names: Sequence[str],
    compositions: Sequence[str],
    states: Sequence[str],
    params: EvaluationParams | None = None,
    bins: int = 15,
) -> dict[str, Any]:
    """All scores of a set of predictions, ready for JSON.

    Parameters
    ----------
    probabilities
        (N, K), rows add up to 1.
    labels
        (N,) class numbers.
    areas
        (N,) name of the disjoint area each crop lies in.
    class_names, compositions, states
        (K,) name, composition and state of each class.
    params
        Resamples, confidence, seed.
    bins
        Bins of the reliability curve.

    Returns
    -------
    dict
        `n_crops`, `n_areas`, `confidence_level`, `notes`; for each of `class`, `composition`,
        `state`: `names`, the scores as ``{value, low, high}``, `confusion` and `per_class`;
        `calibration` with `expected_error`, `negative_log_likelihood`, `brier` and the
        reliability curve.

    Raises
    ------
    TableError
        There is no prediction, or lengths do not agree.
    """
    params = EvaluationParams() if params is None else params
    _check_lengths(probabilities, labels, areas, (class_names, compositions, states))
    result: dict[str, Any] = {
        "n_crops": len(labels),
        "n_areas": len(set(areas)),
        "confidence_level": params.confidence,
        "notes": note_few_areas(len(set(areas))),
    }
    roles = {"class": class_names, "composition": compositions, "state": states}
    for role, groups in roles.items():
        if role == "class":
            marginal, names = np.asarray(probabilities, dtype=np.float64), tuple(class_names)
        else:
            marginal, names = sum_over_groups(probabilities, groups)
        number = {name: place for place, name in enumerate(names)}
        truth = np.array([number[group] for group in groups], dtype=np.int64)[labels]
        predicted = marginal.argmax(axis=1)
        confusion = count_confusion(truth, predicted, len(names))
        result[role] = {
            "names": list(names),
            **score_with_intervals(truth, predicted, areas, len(names), params),
            "confusion": confusion.tolist(),
            "per_class": report_classes(confusion, names, truth, areas),
        }
    result["calibration"] = summarise_calibration(probabilities, labels, bins)
    return result


def note_few_areas(n_areas: int) -> list[str]:
    """Say why there are no intervals, where there are none."""
    if n_areas >= MIN_AREAS:
        return []
    return [f"no intervals: {n_areas} independent areas of at least {MIN_AREAS}"]


def _check_lengths(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    areas: Sequence[str],
    names: tuple[Sequence[str], ...],
) -> None:
    rows = {len(probabilities), len(labels), len(areas)}
    columns = {probabilities.shape[1], *(len(values) for values in names)}
    if len(labels) == 0 or len(rows) > 1 or len(columns) > 1:
        raise TableError(
            "predictions",
            found=f"{len(probabilities)} x {probabilities.shape[1]} probabilities, {len(labels)} "
            f"labels, {len(areas)} areas, {len(names[0])} class names",
            expected="at least one crop, a label and an area per crop, a column per class",
            action="evaluate the predictions with the crops and classes that they were made for",
        )
