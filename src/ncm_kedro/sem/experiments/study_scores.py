"""Scores of a study: a table, and a report that is ready for JSON and enough to draw it again.

The report of a study is a mapping with

- ``study``, ``title``, ``question``, ``answer`` (one sentence made from the numbers), ``varied``,
  ``reference`` (the point that others are compared with, or null), ``confidence``, ``classes``
  (count);
- ``rows``: one per point and model with ``study, point, value, model, balanced_accuracy, low,
  high, accuracy, composition_accuracy, state_accuracy, best_epoch, seconds_per_epoch,
  n_train_crops, n_test_crops, n_test_areas, train_area_mm2, test_disjoint_crops, leaking,
  skipped``; where a point was not run all scores are null and ``skipped`` says why. The rows of
  ``grey_levels`` are those of `ncm_kedro.sem.experiments.study_crops`;
- ``comparisons``: ``model, point, reference, difference, low, high, paired, significant``;
- ``history``: one per trained network, ``point, value`` and ``epochs``, a list of ``epoch,
  train_loss, train_accuracy, validation_loss, validation_accuracy, validation_balanced_accuracy,
  seconds``;
- ``skipped``: ``point, reason``; ``notes``: caveats; ``settings``: what did not vary.

`grey_levels` adds ``histograms``: class, then split, then shares of 64 equal bins of 0-255.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score
from tqdm import tqdm

from ncm_kedro.learning.evaluation.metrics import bound_draws, resample_areas, score_with_intervals
from ncm_kedro.params.sem_studies import SemStudiesParams, TransferModel
from ncm_kedro.params.tune_train import EvaluationParams
from ncm_kedro.sem.crops.crop_set import CropSet
from ncm_kedro.sem.experiments.fits import StudyContext, StudyFit
from ncm_kedro.sem.experiments.studies import (
    CAVEATS,
    NOTES,
    TEXTS,
    SkippedPoint,
    StudyPlan,
    StudyPoint,
)
from ncm_kedro.sem.experiments.study_crops import (
    StudyCrops,
    count_grey_levels,
    shorten_histograms,
    summarise_grey_levels,
    tabulate_grey_levels,
)

_LOG = logging.getLogger(__name__)
_SCORES = ("balanced_accuracy", "low", "high", "accuracy", "composition_accuracy", "state_accuracy")
_COUNTS = ("best_epoch", "n_train_crops", "n_test_crops", "n_test_areas")
_NUMBERS = ("value", *_SCORES, "seconds_per_epoch", "train_area_mm2", "test_disjoint_crops")
_COLUMNS = (
    "study", "point", "value", "model", *_SCORES, "best_epoch", "seconds_per_epoch",
    "n_train_crops", "n_test_crops", "n_test_areas", "train_area_mm2", "test_disjoint_crops",
    "leaking", "skipped",
)  # fmt: skip
_SCORE = "balanced_accuracy"
_NAMES = {"texture": "the texture baseline", "network": "the network"}


@dataclass(frozen=True)
class _Scored:
    """A row of the table, and the predictions behind it."""

    row: dict[str, Any]
    predictions: StudyPredictions


def run_study(work: StudyContext, plan: StudyPlan) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Train and score the points of a study; finished trainings are taken as they are.

    Returns
    -------
    table
        The rows of the report.
    report
        See the module.

    Raises
    ------
    ModelError
        The network cannot be built or trained.
    StoreError
        A result cannot be written.
    """
    if plan.name == "grey_levels":
        return _study_grey_levels(work, plan)
    scored: list[_Scored] = []
    missing = list(plan.missing)
    history: list[dict[str, Any]] = []
    for point in tqdm(plan.points, plan.name, disable=None):
        whole = work.find_obstacle(point) or work.ground.cut(point)
        if isinstance(whole, SkippedPoint):
            missing.append(whole)
            continue
        for model in point.models:
            found, fit = _score_fit(work, plan, point, whole, model)
            scored += found
            if fit.epochs:
                history.append({"point": point.name, "value": point.value, "epochs": [*fit.epochs]})
    for gap in missing:
        _LOG.warning("%s, %s is not run: %s", plan.name, gap.point, gap.reason)
    rows = [item.row for item in scored] + [_name_gap(plan, gap) for gap in missing]
    comparisons = compare_points([s.predictions for s in scored], plan.reference, work.params)
    report = _describe(work, plan, missing) | {
        "answer": summarise_study([item.row for item in scored], comparisons, missing),
        "classes": max((item.predictions.n_classes for item in scored), default=0),
        "rows": rows,
        "comparisons": comparisons,
        "history": history,
    }
    return _tabulate(rows), report


def list_study_metrics(report: Mapping[str, Any]) -> dict[str, float]:
    """Headline numbers of a study for the tracking server."""
    scored = [row for row in report["rows"] if row.get("balanced_accuracy") is not None]
    metrics = {"points_run": float(len(scored)), "points_skipped": float(len(report["skipped"]))}
    for model in dict.fromkeys(row["model"] for row in scored):
        values = [row["balanced_accuracy"] for row in scored if row["model"] == model]
        metrics[f"{model}.best_balanced_accuracy"] = max(values)
        metrics[f"{model}.worst_balanced_accuracy"] = min(values)
    return metrics


def _study_grey_levels(work: StudyContext, plan: StudyPlan) -> tuple[pd.DataFrame, dict[str, Any]]:
    whole = work.ground.cut(plan.points[0])
    if isinstance(whole, SkippedPoint):
        rows = [_name_gap(plan, whole)]
        report = _describe(work, plan, [whole]) | {"rows": rows}
        return _tabulate(rows), report | {"answer": summarise_study([], [], [whole])}
    histograms = count_grey_levels(whole.crop_set)
    rows = tabulate_grey_levels(histograms, whole.crop_set)
    report = _describe(work, plan, []) | {
        "answer": summarise_grey_levels(rows),
        "classes": len(histograms),
        "rows": rows,
        "histograms": shorten_histograms(histograms),
    }
    return pd.DataFrame(rows), report


def _score_fit(
    work: StudyContext,
    plan: StudyPlan,
    point: StudyPoint,
    whole: StudyCrops,
    model: TransferModel,
) -> tuple[list[_Scored], StudyFit]:
    """Score a model, and the same where its point shows it crops in another normalisation."""
    fit = work.fit(point, whole, model)
    crop_set = work.select(whole, point)
    cases = [(point.name, fit.predicted)]
    if fit.shown is not None and point.display_normalise is not None:
        name = f"{point.name}, tested {point.display_normalise.method.replace('_', ' ')}"
        cases.append((name, fit.shown))
    seconds = [epoch["seconds"] for epoch in fit.epochs]
    about = {
        "study": plan.name,
        "value": point.value,
        "model": model,
        "best_epoch": fit.best_epoch,
        "seconds_per_epoch": float(np.median(seconds)) if seconds else None,
        "n_train_crops": len(crop_set.indices["train"]),
        "train_area_mm2": whole.sum_region_area("train", "area_mm2"),
        "test_disjoint_crops": whole.sum_region_area("test", "disjoint_crops"),
        "leaking": bool(whole.report["leaking"]),
        "skipped": None,
    }
    table, scored = crop_set.tables["test"], []
    for name, predicted in cases:
        predictions = StudyPredictions(
            point=name,
            model=model,
            crop_ids=tuple(table["crop_id"]),
            areas=tuple(table["area"]),
            labels=crop_set.indices["test"].label,
            predicted=predicted,
            n_classes=len(crop_set.classes),
        )
        scores = _score_predictions(predictions, crop_set, work)
        scored.append(_Scored({**about, "point": name, **scores}, predictions))
    return scored, fit


def _score_predictions(
    predictions: StudyPredictions, crop_set: CropSet, work: StudyContext
) -> dict[str, Any]:
    labels, predicted = predictions.labels, predictions.predicted
    scores = score_with_intervals(
        labels, predicted, predictions.areas, predictions.n_classes, work.params.resampling
    )
    shares = {
        f"{role}_accuracy": float((names[labels] == names[predicted]).mean())
        for role, names in (
            ("composition", np.array(crop_set.compositions)),
            ("state", np.array(crop_set.states)),
        )
    }
    balanced = scores["balanced_accuracy"]
    return {
        "balanced_accuracy": balanced["value"],
        "low": balanced["low"],
        "high": balanced["high"],
        "accuracy": scores["accuracy"]["value"],
        **shares,
        "n_test_crops": len(labels),
        "n_test_areas": len(set(predictions.areas)),
    }


def _name_gap(plan: StudyPlan, gap: SkippedPoint) -> dict[str, Any]:
    empty = dict.fromkeys((*_NUMBERS, *_COUNTS))
    about = {"study": plan.name, "point": gap.point, "model": None, "leaking": None}
    return {**empty, **about, "skipped": gap.reason}


def _describe(work: StudyContext, plan: StudyPlan, missing: list[SkippedPoint]) -> dict[str, Any]:
    """Parts of a report that do not depend on what was run."""
    title, question = TEXTS[plan.name]
    settings = {
        "models": list(work.params.models),
        "train": work.params.train.model_dump(mode="json"),
        "crops": work.crops.model_dump(mode="json"),
    }
    return {
        "study": plan.name,
        "title": title,
        "question": question,
        "varied": plan.varied,
        "reference": plan.reference,
        "confidence": work.params.confidence,
        "classes": 0,
        "comparisons": [],
        "history": [],
        "skipped": [asdict(gap) for gap in missing],
        "notes": [*CAVEATS, *NOTES.get(plan.name, ())],
        "settings": settings,
    }


def _tabulate(rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    kinds = dict.fromkeys(_NUMBERS, "float64") | dict.fromkeys(_COUNTS, "Int64")
    return table.astype({**kinds, "leaking": "boolean", "model": "object", "skipped": "object"})


@dataclass(frozen=True)
class StudyPredictions:
    """Predictions of one model on the test crops of one point.

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
        return float(balanced_accuracy_score(self.labels, self.predicted))

    def draw_scores(self, params: EvaluationParams) -> NDArray[np.float64]:
        """(n_bootstrap,) balanced accuracies of resampled areas."""
        draws = resample_areas(self.labels, self.predicted, self.areas, self.n_classes, params)
        return draws[_SCORE]


def compare_points(
    predictions: Sequence[StudyPredictions], reference: str | None, params: SemStudiesParams
) -> list[dict[str, Any]]:
    """Compare every point with the reference, model by model.

    Areas are resampled for both alike where they were tested on the same crops, and independently
    where not.

    Parameters
    ----------
    predictions
        All points and models that were run.
    reference
        Name of the point that others are compared with; the last one where it was not run.

    Returns
    -------
    list
        `model`, `point`, `reference`, `difference` of balanced accuracy, `low`, `high`, `paired`,
        and `significant`: whether the interval excludes zero.
    """
    rows = []
    for model in dict.fromkeys(each.model for each in predictions):
        mine = [each for each in predictions if each.model == model]
        chosen = next((each for each in mine if each.point == reference), mine[-1])
        rows += [_compare(each, chosen, params) for each in mine if each is not chosen]
    return rows


def summarise_study(
    rows: Sequence[dict[str, Any]],
    comparisons: Sequence[dict[str, Any]],
    missing: Sequence[SkippedPoint],
) -> str:
    """Summarise the numbers in one sentence.

    Parameters
    ----------
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
    n_areas = min(len(set(each.areas)) for each in (point, reference))
    low, high = bound_draws(draws, n_areas, resampling)
    return {
        "model": point.model,
        "point": point.point,
        "reference": reference.point,
        "difference": point.score() - reference.score(),
        "low": low,
        "high": high,
        "paired": paired,
        "significant": low is not None and high is not None and (low > 0.0 or high < 0.0),
    }


def _write_interval(row: dict[str, Any], style: str) -> str:
    if row["low"] is None:
        return "too few areas for an interval"
    return f"{row['low']:{style}} to {row['high']:{style}}"


def _describe_model(
    model: str, rows: Sequence[dict[str, Any]], comparisons: Sequence[dict[str, Any]]
) -> str:
    mine = [row for row in rows if row["model"] == model]
    name = comparisons[0]["reference"] if comparisons else mine[-1]["point"]
    row = next(row for row in mine if row["point"] == name)
    text = (
        f"{_NAMES[model]} reaches a balanced accuracy of {row[_SCORE]:.3f} "
        f"({_write_interval(row, '.3f')}) at '{name}'"
    )
    groups = {
        "below it": [c for c in comparisons if c["significant"] and c["difference"] < 0],
        "above it": [c for c in comparisons if c["significant"] and c["difference"] > 0],
        "and no difference beyond noise at": [c for c in comparisons if not c["significant"]],
    }
    for where, found in groups.items():
        if found:
            text += f", {where} {', '.join(map(_format_difference, found))}"
    return text


def _format_difference(row: dict[str, Any]) -> str:
    return f"'{row['point']}' ({row['difference']:+.3f}, {_write_interval(row, '+.3f')})"
