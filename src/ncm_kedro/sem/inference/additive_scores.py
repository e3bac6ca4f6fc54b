"""Scores and attribution maps of new electrodes, condition by condition (Fig. 4b of Oh et al.)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.learning.data.crop_index import CropIndex
from ncm_kedro.learning.data.cutters import resize_crop
from ncm_kedro.learning.data.frame_bank import build_frame_bank
from ncm_kedro.learning.evaluation.metrics import (
    MIN_AREAS,
    Interval,
    bound_draws,
    bound_fraction,
    draw_areas,
)
from ncm_kedro.learning.explain.gradcam import explain_crops
from ncm_kedro.learning.models.classifier import ClassifierSettings, SemClassifier
from ncm_kedro.learning.models.predict import build_network, open_loader
from ncm_kedro.params.sem_classify import SemAdditivesParams
from ncm_kedro.sem.inference.additives import ReferenceCrops
from ncm_kedro.sem.inference.classify import resample_frame
from ncm_kedro.sem.inference.trained_regions import list_notes

ROLES = ("overall", "composition", "state")
"""What may be right: composition and state together, or one of them."""
CONDITION = ["composition", "state", "additive"]
_NO_METRIC_NAME = re.compile(r"[^\w. :/-]", re.ASCII)  # MLflow takes no other characters
_FEW_AREAS = f"no interval below {MIN_AREAS} independent areas"
_CAVEATS = (
    "An interval covers other regions of the same electrodes in the same session; it does not "
    "cover another electrode of the same kind.",
    "Composition and state of the training frames coincide with their sessions: "
    "how much of a loss is the additive and how much is another session cannot be separated in "
    "these frames alone.",
)


def report_conditions(
    predictions: pd.DataFrame,
    rejections: pd.DataFrame,
    known: pd.DataFrame | None,
    settings: ClassifierSettings,
    params: SemAdditivesParams,
    *,
    trained_regions: Mapping[str, Any],
) -> dict[str, Any]:
    """Score every condition, with the test crops of the training set beside.

    Parameters
    ----------
    known
        Test predictions described by `describe_reference`; None without any.
    trained_regions
        Result of `find_trained_regions`.

    Returns
    -------
    dict
        Ready for JSON: `conditions` and `known`, lists of scores (`_score_conditions`); `pooled`,
        the same over all conditions of an additive; `chance` by role; `rejections`;
        `trained_regions` (counts); `notes`.
    """
    conditions = _score_conditions(predictions, settings, params)
    matching = predictions[["composition", "state"]].drop_duplicates()
    beside = None if known is None else known.merge(matching, on=["composition", "state"])
    pooled = {
        str(name): _score_rows(rows, settings, params)
        for name, rows in predictions.groupby("additive", sort=True)
    }
    sets = settings.sets
    return {
        "model": settings.model,
        "crop_px": settings.crop_px,
        "pixel_size_um": settings.pixel_size_um,
        "classes": list(settings.classes),
        "confidence": params.confidence,
        "chance": {
            "overall": 1.0 / len(settings.classes),
            "composition": 1.0 / len(set(settings.compositions)),
            "state": 1.0 / len(set(settings.states)),
        },
        "coverage_target": None if sets is None else sets.coverage,
        "conditions": conditions,
        "known": [] if beside is None else _score_conditions(beside, settings, params),
        "pooled": pooled,
        "rejections": rejections.to_dict("records"),
        "trained_regions": {
            **{name: value for name, value in trained_regions.items() if name != "views"},
            "n_rejected": len(trained_regions["views"]),
        },
        "notes": [
            *list_notes(trained_regions),
            *_list_notes(conditions, settings),
            *(() if sets is None else sets.notes),
            *_CAVEATS,
        ],
    }


def _score_conditions(
    table: pd.DataFrame, settings: ClassifierSettings, params: SemAdditivesParams
) -> list[dict[str, Any]]:
    """Score the crops of each condition.

    Returns
    -------
    list
        `class`, `composition`, `state`, `additive`, `n_crops`, `n_frames`, `n_areas`, and as
        ``{value, low, high}``: accuracy `overall`, of `composition_accuracy` and
        `state_accuracy`, `unknown` (fraction flagged), `coverage` (prediction sets that contain the
        true class) and `set_size`; null where the classifier lacks the true class or the
        estimate, `low` and `high` null with few areas. `profile`: mean probability of every class.
    """
    return [
        {
            "class": str(rows["class"].iloc[0]),
            **{name: str(rows[name].iloc[0]) for name in CONDITION},
            **_score_rows(rows, settings, params),
            "profile": {name: float(rows[f"p_{name}"].mean()) for name in settings.classes},
        }
        for _, rows in table.groupby(CONDITION, sort=True)
    ]


def name_condition(entry: Mapping[str, Any]) -> str:
    """Return class and condition as a figure names them."""
    return f"{entry['class']} + {entry['additive']}" if entry["additive"] else str(entry["class"])


def list_additive_metrics(report: dict[str, Any]) -> dict[str, Any]:
    """Headline numbers of a report for the tracking server."""
    metrics = {}
    for additive, entry in report["pooled"].items():
        for key, score in entry.items():
            if isinstance(score, dict):
                name = f"{_NO_METRIC_NAME.sub('_', additive) or 'no_additive'}.{key}"
                metrics[name] = {"value": score["value"], "step": 0}
    return metrics


def _score_rows(
    rows: pd.DataFrame, settings: ClassifierSettings, params: SemAdditivesParams
) -> dict[str, Any]:
    marks = _mark_rows(rows, settings)
    area = rows["area"].to_numpy(dtype=str)
    n_frames, n_areas = int(rows["frame_id"].nunique()), len(np.unique(area))
    result: dict[str, Any] = {"n_crops": len(rows), "n_frames": n_frames, "n_areas": n_areas}
    for name, values in marks.items():
        told = ~np.isnan(values)
        result[name] = _measure_mean(values[told], area[told], params) if told.any() else None
    return result


def _mark_rows(rows: pd.DataFrame, settings: ClassifierSettings) -> dict[str, NDArray[np.float64]]:
    """(N,) 1 or 0 for each crop, NaN where undefined."""
    pairs = dict(
        zip(zip(settings.compositions, settings.states, strict=True), settings.classes, strict=True)
    )
    true = [pairs.get(pair) for pair in zip(rows["composition"], rows["state"], strict=True)]
    sets = zip(true, rows["prediction_set"], strict=True)
    held = [
        float(name in text.split(", ")) if name and isinstance(text, str) else np.nan
        for name, text in sets
    ]
    hits = {"overall": (rows["predicted"] == true).to_numpy(np.float64)}
    has_truth = {"overall": np.array([name is not None for name in true])}
    for role, names in (("composition", settings.compositions), ("state", settings.states)):
        hits[role] = (rows[f"predicted_{role}"] == rows[role]).to_numpy(np.float64)
        has_truth[role] = rows[role].isin(names).to_numpy()
    marks = {role: np.where(has_truth[role], hits[role], np.nan) for role in ROLES}
    return {
        "overall": marks["overall"],
        "composition_accuracy": marks["composition"],
        "state_accuracy": marks["state"],
        "unknown": rows["unknown"].astype("Float64").to_numpy(np.float64, na_value=np.nan),
        "coverage": np.array(held, dtype=np.float64),
        "set_size": rows["set_size"].astype("Float64").to_numpy(np.float64, na_value=np.nan),
    }


def _measure_mean(
    values: NDArray[np.float64], areas: NDArray[np.str_], params: SemAdditivesParams
) -> Interval:
    """Mean over crops with an interval from resampled areas."""
    mean = float(values.mean())
    names, area, drawn = draw_areas(areas.tolist(), params.resampling)
    sums = np.bincount(area, weights=values, minlength=len(names))
    counts = np.bincount(area, minlength=len(names))
    draws = (drawn @ sums) / (drawn @ counts)
    if values.max() <= 1.0:
        return bound_fraction(mean, draws, sums, counts - sums, params.resampling)
    low, high = bound_draws(draws, len(names), params.resampling)  # a number of classes
    return {"value": mean, "low": low, "high": high}


def _list_notes(conditions: list[dict[str, Any]], settings: ClassifierSettings) -> list[str]:
    notes = []
    lonely = [name_condition(entry) for entry in conditions if entry["n_areas"] < MIN_AREAS]
    if lonely:
        notes.append(f"{_FEW_AREAS}: {', '.join(lonely)}.")
    strange = [name_condition(entry) for entry in conditions if entry["overall"] is None]
    if strange:
        notes.append(
            f"The model has no class for {', '.join(strange)} (it knows "
            f"{', '.join(settings.classes)}): what it cannot know is not scored."
        )
    return notes


@dataclass(frozen=True)
class MappedCrop:
    """A crop and its attribution map for a class.

    Attributes
    ----------
    grey_yx
        (P, P) grey values.
    map_yx
        (P, P) Grad-CAM, 0 or more.
    target
        The class that is mapped.
    probability
        What the classifier gives this class.
    pixel_size_um
        Edge of a pixel, um.
    """

    grey_yx: NDArray[np.uint8]
    map_yx: NDArray[np.float32]
    target: str
    probability: float
    pixel_size_um: float


@dataclass(frozen=True)
class MapPair:
    """Typical crops of a class without and with a condition.

    Attributes
    ----------
    class_name, additive
        The class, and the condition.
    without
        A crop without it, mapped for its predicted class; None where there is no such crop.
    within
        A crop with it, mapped for its predicted class.
    within_true
        The same crop, mapped for its true class; None where that is predicted or unknown.
    """

    class_name: str
    additive: str
    without: MappedCrop | None
    within: MappedCrop
    within_true: MappedCrop | None


@dataclass(frozen=True)
class _Case:
    """A crop to be mapped for a class."""

    crop_yx: NDArray[np.uint8]
    target: str
    probability: float


def map_pairs(
    predictions: pd.DataFrame,
    frames: Mapping[str, NDArray[np.uint8]],
    known: ReferenceCrops | None,
    classifier: SemClassifier,
    params: SemAdditivesParams,
) -> list[MapPair]:
    """Map a typical crop of each condition, and one of the same class without it.

    Typical is the crop of median probability among those with the most frequent prediction.
    Without the condition means: of the same folder but without a condition, else of the training
    set's test crops.

    Parameters
    ----------
    known
        Test crops of the training set, if there are any.
    """
    bare = predictions["additive"] == ""
    shown = predictions if bare.all() else predictions[~bare]
    typical = [pick_typical(rows) for _, rows in shown.groupby(CONDITION, sort=True)]
    typical = typical[: params.map_pairs]
    planned = [_plan_pair(row, predictions, frames, known, classifier) for row in typical]
    cases = [case for part in planned for case in part.values()]
    mapped = iter(_map_cases(cases, classifier, params))
    pairs = []
    for row, part in zip(typical, planned, strict=True):
        found = {name: next(mapped) for name in part}
        pairs.append(
            MapPair(
                class_name=str(row["class"]),
                additive=str(row["additive"]),
                without=found.get("without"),
                within=found["within"],
                within_true=found.get("within_true"),
            )
        )
    return pairs


def pick_typical(rows: pd.DataFrame) -> pd.Series:
    """Return the crop of median probability among those with the most frequent prediction.

    Parameters
    ----------
    rows
        Predictions with `predicted`, `probability` and `crop_id`, at least one.
    """
    often = rows["predicted"].value_counts().sort_index(kind="stable").idxmax()
    alike = rows[rows["predicted"] == often].sort_values(["probability", "crop_id"])
    typical: pd.Series = alike.iloc[len(alike) // 2]
    return typical


def _plan_pair(
    row: pd.Series,
    predictions: pd.DataFrame,
    frames: Mapping[str, NDArray[np.uint8]],
    known: ReferenceCrops | None,
    classifier: SemClassifier,
) -> dict[str, _Case]:
    """Plan the maps of one condition, by the part of `MapPair` that it fills."""
    cases = {"within": _cut_new(row, frames, str(row["predicted"]))}
    if row["class"] in classifier.settings.classes and row["class"] != row["predicted"]:
        cases["within_true"] = _cut_new(row, frames, str(row["class"]))
    without = _find_without(row, predictions, frames, known)
    return cases if without is None else {**cases, "without": without}


def _find_without(
    row: pd.Series,
    predictions: pd.DataFrame,
    frames: Mapping[str, NDArray[np.uint8]],
    known: ReferenceCrops | None,
) -> _Case | None:
    if row["additive"]:
        bare = predictions[(predictions["additive"] == "") & (predictions["class"] == row["class"])]
        if len(bare):
            other = pick_typical(bare)
            return _cut_new(other, frames, str(other["predicted"]))
    if known is None:
        return None
    same = known.predictions[known.predictions["class"] == row["class"]]
    if same.empty:
        return None
    other = pick_typical(same)
    crop = known.crops[known.crops["crop_id"] == other["crop_id"]]
    x, y, size = crop[["x_px", "y_px", "size_px"]].to_numpy(np.int64)[0].tolist()
    crop_yx = known.frames[str(other["frame_id"])][y : y + size, x : x + size]
    return _Case(crop_yx, str(other["predicted"]), float(other["probability"]))


def _cut_new(row: pd.Series, frames: Mapping[str, NDArray[np.uint8]], target: str) -> _Case:
    """Cut a crop out of its frame as it was given; it is brought to the model's size later."""
    image_yx = frames[str(row["frame_id"])]
    x, y, size = (round(float(row[name])) for name in ("x_px", "y_px", "size_px"))
    return _Case(image_yx[y : y + size, x : x + size], target, float(row[f"p_{target}"]))


def _map_cases(
    cases: list[_Case], classifier: SemClassifier, params: SemAdditivesParams
) -> list[MappedCrop]:
    settings = classifier.settings
    side = settings.crop_px
    crops = [_rescale_crop(case.crop_yx, side) for case in cases]
    bank = build_frame_bank({f"{number:04d}": crop for number, crop in enumerate(crops)})
    index = CropIndex.of_whole_frames(len(crops), side)
    batches = list(open_loader(settings, bank, index, device="cpu").iterate_epoch(0))
    maps = explain_crops(
        build_network(classifier),
        np.concatenate([batch.images[:, 0].numpy() for batch in batches]),
        [settings.classes.index(case.target) for case in cases],
        weighting=params.weighting,
        device=params.device,
    )
    pixel_um = settings.pixel_size_um * side / settings.input_px
    shown = [resize_crop(crop, settings.input_px) for crop in crops]
    return [
        MappedCrop(grey_yx, map_yx, case.target, case.probability, pixel_um)
        for grey_yx, map_yx, case in zip(shown, maps.grad_cam_nyx, cases, strict=True)
    ]


def _rescale_crop(crop_yx: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    resized = resample_frame(crop_yx, side_px / min(crop_yx.shape))
    return np.ascontiguousarray(resized[:side_px, :side_px])
