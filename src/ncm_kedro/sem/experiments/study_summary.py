"""Differences between the points of a study, and what they say in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.learning.evaluation.metrics import count_confusion, resample_areas, score_confusion
from ncm_kedro.params.sem_studies import SemStudiesParams
from ncm_kedro.params.tune_train import EvaluationParams
from ncm_kedro.sem.experiments.studies import SkippedPoint

_SCORE = "balanced_accuracy"
_NAMES = {"texture": "the texture baseline", "network": "the network"}


@dataclass(frozen=True)
class StudyPredictions:
    """What one model said of the test crops of one point.

    Attributes
    ----------
    point, model
        Which.
    crop_ids, areas
        (T,) names of the crops and of the areas that they lie in.
    labels, predicted
        (T,) class numbers.
    n_classes
        Count of classes.
    """

    point: str
    model: str
    crop_ids: tuple[str, ...]
    areas: tuple[str, ...]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    n_classes: int

    def score(self) -> float:
        """Balanced accuracy."""
        confusion = count_confusion(self.labels, self.predicted, self.n_classes)
        return float(score_confusion(confusion)[_SCORE])

    def draw_scores(self, params: EvaluationParams) -> NDArray[np.float64]:
        """(n_bootstrap,) balanced accuracies of resampled areas."""
        draws = resample_areas(
            self.labels, self.predicted, self.areas, self.n_classes, params, strata=self.labels
        )
        return draws[_SCORE]


def compare_points(
    answers: Sequence[StudyPredictions], reference: str | None, params: SemStudiesParams
) -> list[dict[str, Any]]:
    """Set every point beside the reference, model by model.

    Areas are resampled for both alike where they were tested on the same crops, and independently
    where not.

    Parameters
    ----------
    answers
        All points and models that were run.
    reference
        Name of the point that others are set against; the last one where it was not run.
    params
        Resamples, confidence, seed.

    Returns
    -------
    list
        `model`, `point`, `reference`, `difference` of balanced accuracy, `low`, `high`, `paired`,
        and `significant`: whether the interval excludes zero.
    """
    rows = []
    for model in dict.fromkeys(each.model for each in answers):
        mine = [each for each in answers if each.model == model]
        chosen = next((each for each in mine if each.point == reference), mine[-1])
        rows += [_compare(each, chosen, params) for each in mine if each is not chosen]
    return rows


def summarise_study(
    rows: Sequence[dict[str, Any]],
    comparisons: Sequence[dict[str, Any]],
    missing: Sequence[SkippedPoint],
) -> str:
    """Say in one sentence what the numbers show.

    Parameters
    ----------
    rows
        Scores of the points that were run.
    comparisons
        Result of `compare_points`.
    missing
        Points that were not run.
    """
    if not rows:
        return f"Not run: {'; '.join(dict.fromkeys(gap.reason for gap in missing))}."
    parts = [
        _describe_model(model, rows, [c for c in comparisons if c["model"] == model])
        for model in dict.fromkeys(row["model"] for row in rows)
    ]
    sentence = "; ".join(parts)
    sentence = sentence[0].upper() + sentence[1:] + "."
    if missing:
        sentence += f" Not run: {', '.join(gap.point for gap in missing)}."
    return sentence


def _compare(
    point: StudyPredictions, reference: StudyPredictions, params: SemStudiesParams
) -> dict[str, Any]:
    paired = point.crop_ids == reference.crop_ids
    resampling = params.resampling
    other = resampling if paired else resampling.model_copy(update={"seed": resampling.seed + 1})
    draws = point.draw_scores(resampling) - reference.draw_scores(other)
    tail = (1.0 - params.confidence) / 2.0
    low, high = (float(np.quantile(draws, level)) for level in (tail, 1.0 - tail))
    return {
        "model": point.model,
        "point": point.point,
        "reference": reference.point,
        "difference": point.score() - reference.score(),
        "low": low,
        "high": high,
        "paired": paired,
        "significant": low > 0.0 or high < 0.0,
    }


def _describe_model(
    model: str, rows: Sequence[dict[str, Any]], comparisons: Sequence[dict[str, Any]]
) -> str:
    mine = [row for row in rows if row["model"] == model]
    name = comparisons[0]["reference"] if comparisons else mine[-1]["point"]
    row = next(row for row in mine if row["point"] == name)
    text = (
        f"{_NAMES[model]} reaches a balanced accuracy of {row[_SCORE]:.3f} "
        f"({row['low']:.3f} to {row['high']:.3f}) at '{name}'"
    )
    groups = {
        "below it": [c for c in comparisons if c["significant"] and c["difference"] < 0],
        "above it": [c for c in comparisons if c["significant"] and c["difference"] > 0],
    }
    for where, found in groups.items():
        if found:
            said = (f"'{c['point']}' ({_format_difference(c)})" for c in found)
            text += f", {where} {', '.join(said)}"
    same = [c for c in comparisons if not c["significant"]]
    if same:
        said = (f"'{c['point']}' ({_format_difference(c)})" for c in same)
        text += f", and no difference beyond noise at {', '.join(said)}"
    return text


def _format_difference(row: dict[str, Any]) -> str:
    return f"{row['difference']:+.3f}, {row['low']:+.3f} to {row['high']:+.3f}"
