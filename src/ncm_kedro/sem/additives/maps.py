"""Where the classifier looks with and without additive, side by side (Fig. 4b of Oh et al.)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.learning.data.crop_index import CropIndex
from ncm_kedro.learning.data.cutters import resize_crop
from ncm_kedro.learning.data.frame_bank import build_frame_bank
from ncm_kedro.learning.explain.gradcam import explain_crops
from ncm_kedro.learning.models.classifier import SemClassifier, build_network, open_loader
from ncm_kedro.params.sem_classify import SemAdditivesParams
from ncm_kedro.sem.additives.additives import ReferenceCrops
from ncm_kedro.sem.additives.scores import CONDITION
from ncm_kedro.sem.inference.classify import resample_frame


@dataclass(frozen=True)
class MappedCrop:
    """A crop and what in it speaks for a class.

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
    predictions
        Result of `predict_new_electrodes`.
    frames
        Grey frames of the new electrodes by ``frame_id``.
    known
        Test crops of the training set, if there are any.
    classifier
        What is explained.
    params
        How many conditions; how maps are weighed.
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
    """Say what is mapped for one condition, by the part of `MapPair` that it fills."""
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
    count = len(crops)
    bank = build_frame_bank({f"{number:04d}": crop for number, crop in enumerate(crops)})
    index = CropIndex(
        frame=np.arange(count),
        x_px=np.zeros(count, np.int64),
        y_px=np.zeros(count, np.int64),
        size_px=np.full(count, side),
        label=np.zeros(count, np.int64),
    )
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
