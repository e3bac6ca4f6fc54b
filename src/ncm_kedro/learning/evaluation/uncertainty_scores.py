"""Scores of prediction sets and of the OOD flag on the test split.

Areas weigh alike; intervals come from resampled areas, none from few of them (`metrics`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.learning.evaluation.conformal import ConformalSets, weigh_areas
from ncm_kedro.learning.evaluation.metrics import (
    Interval,
    bound_draws,
    bound_fraction,
    draw_areas,
    note_few_areas,
)
from ncm_kedro.learning.evaluation.ood import OODDetector
from ncm_kedro.params.tune_train import EvaluationParams

_BINS = 40
_SHOWN_QUANTILE = 0.95


@dataclass(frozen=True)
class CropOODScores:
    """OOD measures of crops, as in their table.

    Attributes
    ----------
    feature_distance, energy
        (N,).
    unknown
        (N,) whether flagged.
    areas
        (N,) name of the area each crop lies in.
    """

    feature_distance: NDArray[np.float64]
    energy: NDArray[np.float64]
    unknown: NDArray[np.bool_]
    areas: Sequence[str]


def score_sets(
    members: NDArray[np.bool_],
    labels: NDArray[np.integer],
    areas: Sequence[str],
    *,
    classes: Sequence[str],
    sets: ConformalSets,
    params: EvaluationParams,
) -> dict[str, Any]:
    """Coverage and size of prediction sets, ready for JSON.

    Parameters
    ----------
    members
        (N, K) whether a class is in a crop's set.
    labels
        (N,) class numbers.
    areas
        (N,) name of the area each crop lies in.
    classes
        (K,) names.
    sets
        The fitted thresholds and their target.
    params
        Resamples, confidence, seed.

    Returns
    -------
    dict
        `target`, `notes`; `coverage`, `mean_size` and `singletons` (fraction of sets of one
        class) as ``{value, low, high}``, and the same for each class under `per_class`.
    """
    size = members.sum(axis=1).astype(np.float64)
    values = {
        "coverage": members[np.arange(len(labels)), labels].astype(np.float64),
        "mean_size": size,
        "singletons": (size == 1).astype(np.float64),
    }
    area = np.asarray(areas, dtype=str)
    per_class: dict[str, Any] = {}
    for number, name in enumerate(classes):
        mine = labels == number
        if mine.any():
            per_class[name] = {
                "areas": len(np.unique(area[mine])),
                "validation_mosaics": sets.n_mosaics[number],
                **_mean_over_areas(
                    {key: value[mine] for key, value in values.items()},
                    area[mine].tolist(),
                    params,
                ),
            }
    return {
        "target": sets.coverage,
        "notes": [*sets.notes, *note_few_areas(len(set(areas)))],
        **_mean_over_areas(values, areas, params),
        "per_class": per_class,
    }


def score_flag(
    known: CropOODScores,
    ood: CropOODScores,
    detector: OODDetector,
    params: EvaluationParams,
) -> dict[str, Any]:
    """Score the flag: false alarms on in-distribution crops, detection of OOD material.

    Parameters
    ----------
    known
        Crops of the test split.
    ood
        Crops of another material; may be none.
    detector
        What flagged them.
    params
        Resamples, confidence, seed.

    Returns
    -------
    dict
        `nominal_false_alarm_rate`, `foreign_auroc`, `reliable` (whether the flag is raised),
        `notes`, `false_alarms` as ``{value, low, high}``, `n_ood` crops and
        `n_ood_areas`; `detected` (fraction of OOD crops flagged) and `auroc` of the score, the
        feature distance and the energy, null without OOD crops; `histogram` of the score.
    """
    alarms = {"false_alarms": known.unknown.astype(np.float64)}
    result: dict[str, Any] = {
        "nominal_false_alarm_rate": detector.false_alarm_rate,
        "foreign_auroc": detector.foreign_auroc,
        "reliable": detector.is_reliable,
        "notes": list(detector.notes),
        **_mean_over_areas(alarms, known.areas, params),
        "n_ood": len(ood.areas),
        "n_ood_areas": len(set(ood.areas)),
        "detected": None,
        "auroc": None,
        "histogram": count_scores(known, ood, detector),
    }
    if len(ood.areas) > 0:
        result["detected"] = float(np.average(ood.unknown, weights=weigh_areas(ood.areas)))
        pairs = {
            "score": (_score(known, detector), _score(ood, detector)),
            "feature_distance": (known.feature_distance, ood.feature_distance),
            "energy": (known.energy, ood.energy),
        }
        result["auroc"] = {
            name: measure_auroc(
                low,
                high,
                known_areas=known.areas,
                ood_areas=ood.areas,
                params=params,
            )
            for name, (low, high) in pairs.items()
        }
    return result


def measure_auroc(
    known: NDArray[np.floating],
    ood: NDArray[np.floating],
    *,
    known_areas: Sequence[str],
    ood_areas: Sequence[str],
    params: EvaluationParams,
) -> Interval:
    """Area under the ROC curve: P(an OOD crop scores above an in-distribution one), ties half.

    Areas weigh alike on both sides and are resampled on both; the fewer of the two count.

    Parameters
    ----------
    known, ood
        (N,) and (M,) scores.
    known_areas, ood_areas
        Names of the areas they lie in.
    params
        Resamples, confidence, seed.
    """
    names, area, drawn = draw_areas(known_areas, params)
    others, other_area, other_drawn = draw_areas(
        ood_areas, params.model_copy(update={"seed": params.seed + 1})
    )
    wins = np.zeros((len(names), len(others)))
    for row in range(len(names)):
        mine = np.sort(known[area == row])
        below = np.searchsorted(mine, ood, side="left")
        level = np.searchsorted(mine, ood, side="right")
        won = (below + level) / (2.0 * len(mine))
        wins[row] = np.bincount(other_area, weights=won, minlength=len(others))
    wins /= np.bincount(other_area, minlength=len(others))
    draws = ((drawn @ wins) * other_drawn).sum(axis=1)
    draws /= drawn.sum(axis=1) * other_drawn.sum(axis=1)
    many = int(len(others) > len(names))  # the side of more areas is averaged over
    won, lost = wins.mean(axis=many), (1.0 - wins).mean(axis=many)
    return bound_fraction(float(wins.mean()), draws, won, lost, params)


def count_scores(known: CropOODScores, ood: CropOODScores, detector: OODDetector) -> dict[str, Any]:
    """Count scores in bins; the last one holds all that is above.

    Areas weigh alike, in the validation split mosaics.

    Returns
    -------
    dict
        `edges` (spreads above the validation median), `threshold`, and under `share` one list per
        group: `validation`, `test` and, with OOD crops, `ood`.
    """
    ranks = detector.ranks
    groups = {
        "validation": (ranks.scores, ranks.weights / ranks.weights.sum()),
        "test": (_score(known, detector), weigh_areas(known.areas)),
    }
    if len(ood.areas) > 0:
        groups["ood"] = (_score(ood, detector), weigh_areas(ood.areas))
    low = min(float(score.min()) for score, _ in groups.values())
    high = max(float(np.quantile(score, _SHOWN_QUANTILE)) for score, _ in groups.values())
    edges = np.linspace(low, max(high, 1.2 * detector.threshold, low + 1.0), _BINS + 1)
    return {
        "edges": edges.tolist(),
        "threshold": detector.threshold,
        "share": {
            name: np.histogram(np.minimum(score, edges[-1]), edges, weights=weights)[0].tolist()
            for name, (score, weights) in groups.items()
        },
    }


def _score(crops: CropOODScores, detector: OODDetector) -> NDArray[np.float64]:
    return detector.combine(crops.feature_distance, crops.energy)


def _mean_over_areas(
    values: Mapping[str, NDArray[np.float64]], areas: Sequence[str], params: EvaluationParams
) -> dict[str, Interval]:
    """Mean over areas of each value's mean over an area's crops, with intervals."""
    names, area, drawn = draw_areas(areas, params)
    count = np.bincount(area, minlength=len(names))
    result: dict[str, Interval] = {}
    for key, value in values.items():
        means = np.bincount(area, weights=value, minlength=len(names)) / count
        draws, mean = drawn @ means / len(names), float(means.mean())
        if value.max() <= 1.0:
            result[key] = bound_fraction(mean, draws, means, 1.0 - means, params)
        else:  # a number of classes
            low, high = bound_draws(draws, len(names), params)
            result[key] = {"value": mean, "low": low, "high": high}
    return result
