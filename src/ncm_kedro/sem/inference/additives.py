"""New electrodes: frames of conditions unseen by the classifier, crop by crop.

A condition is what an electrode has that those of the training set had not: an additive, as the
class name carries it behind ``__``, a folder below that of the class, or any other text.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from ncm_kedro.errors import FrameError, ModelError
from ncm_kedro.learning.data.frame_bank import build_frame_bank
from ncm_kedro.learning.evaluation.metrics import sum_over_groups
from ncm_kedro.learning.models.classifier import ClassifierSettings, SemClassifier
from ncm_kedro.learning.models.predict import build_network, predict_crops
from ncm_kedro.params.sem_classify import SemAdditivesParams
from ncm_kedro.sem.crops.crop_set import hash_split, index_crops
from ncm_kedro.sem.inference.classify import (
    UNCERTAINTY_TYPES,
    FrameClassifier,
    FramePrediction,
    build_frame_classifier,
    describe_tiles,
)
from ncm_kedro.sem.io.frames import ClassLabel, RawFrames

_LOG = logging.getLogger(__name__)
_CHECKED_CROPS = 8
_TOLERANCE = 0.02


def name_conditions(raw: RawFrames) -> dict[str, str]:
    """Name the condition of each file by the column ``condition`` of a frame table.

    Without one, the condition is the additive of the frame's class.
    """
    return {record.file: record.settings.get("condition", "") for record in raw.records}


def predict_new_electrodes(
    frames: Mapping[str, NDArray[np.uint8]],
    manifest: pd.DataFrame,
    conditions: Mapping[str, str],
    classifier: SemClassifier,
    params: SemAdditivesParams,
    *,
    trained: Mapping[str, str],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predict every crop of every frame that is not excluded.

    Parameters
    ----------
    conditions
        Result of `name_conditions`.
    trained
        Why frames (by `frame_id`) show a region that the classifier knows; these are rejected.

    Returns
    -------
    predictions
        A row per crop: identity and place, true `class`, `composition` and `state`, `additive`
        (the condition), `predicted`, `predicted_composition`, `predicted_state` (each the most
        probable by itself), `probability`, prediction set, OOD or not, ``p_<class>``. The last
        two groups are null where the classifier lacks them.
    rejections
        `file`, `reason` of frames that are excluded or show a known region.

    Raises
    ------
    ModelError
        The classifier knows neither composition nor state of any frame.
    FrameError
        Not one frame could be used.
    """
    _check_classes(manifest, classifier.settings)
    frame_classifier = build_frame_classifier(classifier, params.tiling)
    tables, rejections = [], []
    for row in tqdm(manifest.to_dict("records"), "frames of new electrodes", disable=None):
        try:
            _require_unseen(str(row["file"]), trained.get(str(row["frame_id"])))
            table = _predict_frame(frame_classifier, frames, {str(k): v for k, v in row.items()})
        except FrameError as error:
            _LOG.warning("rejected: %s", error)
            rejections.append({"file": str(row["file"]), "reason": str(error)})
            continue
        condition = conditions.get(str(row["file"])) or str(row["additive"])
        tables.append(table.assign(additive=condition))
    if not tables:
        raise FrameError(
            "raw_additive_frames",
            found=f"{len(manifest)} frames, none of which could be used; the first: "
            f"{rejections[0]['reason']}",
            expected="at least one sound frame that is larger than one crop of the model",
            action="look at the reasons, and put other frames into the folder",
        )
    return _join(tables), pd.DataFrame(rejections, columns=["file", "reason"], dtype="str")


def describe_reference(predictions: pd.DataFrame, settings: ClassifierSettings) -> pd.DataFrame:
    """Add the columns of `predict_new_electrodes` to test predictions, without condition."""
    number = predictions["class"].map({name: k for k, name in enumerate(settings.classes)})
    probabilities = predictions[[f"p_{name}" for name in settings.classes]].to_numpy(np.float64)
    return predictions.assign(
        composition=np.array(settings.compositions)[number.to_numpy()],
        state=np.array(settings.states)[number.to_numpy()],
        additive="",
        **_name_parts(probabilities, settings),
    )


def _check_classes(manifest: pd.DataFrame, settings: ClassifierSettings) -> None:
    known = manifest["composition"].isin(settings.compositions)
    known |= manifest["state"].isin(settings.states)
    if known.any():
        return
    raise ModelError(
        settings.model,
        found=f"a model of other classes ({', '.join(settings.classes)})",
        expected=f"one that knows composition or state of {manifest['class'].iloc[0]}",
        action="name another model (classify_model_uri in globals.yml), or train one on frames "
        "of these compositions and states",
    )


def _require_unseen(file: str, reason: str | None) -> None:
    if reason is not None:
        raise FrameError(
            file,
            found=reason,
            expected="a region that the model has not seen",
            action="take frames of another electrode, or elsewhere on this one",
        )


def _predict_frame(
    frame_classifier: FrameClassifier,
    frames: Mapping[str, NDArray[np.uint8]],
    row: Mapping[str, Any],
) -> pd.DataFrame:
    """Predict the crops of one row of the frame table."""
    file, frame_id = str(row["file"]), str(row["frame_id"])
    if row["excluded"]:
        raise FrameError(
            file,
            found=str(row["exclusion_reason"]),
            expected="a sound frame",
            action="leave it out, or change sem_ingest.quality",
        )
    prediction = frame_classifier.classify_frame(
        frames[frame_id], float(row["pixel_size_um"]), file
    )
    label = ClassLabel(str(row["composition"]), str(row["state"]))
    return pd.DataFrame(_describe_tiles(prediction, frame_classifier.classifier, frame_id)).assign(
        frame_id=frame_id,
        file=file,
        area=str(row["mosaic"]),
        composition=label.composition,
        state=label.state,
        **{"class": label.name},
    )


def _describe_tiles(
    prediction: FramePrediction, classifier: SemClassifier, frame_id: str
) -> dict[str, Any]:
    settings, tiles = classifier.settings, prediction.tiles
    best = tiles.probabilities.argmax(axis=1)
    size = f"{prediction.tile_px:.0f}"
    columns: dict[str, Any] = {
        "crop_id": [f"{frame_id}@{x:.0f},{y:.0f},{size}" for x, y in prediction.tile_xy_px],
        "x_px": prediction.tile_xy_px[:, 0],
        "y_px": prediction.tile_xy_px[:, 1],
        "size_px": prediction.tile_px,
        "predicted": np.array(settings.classes)[best],
        **_name_parts(tiles.probabilities, settings),
        "probability": tiles.probabilities.max(axis=1),
        **describe_tiles(tiles, settings.classes),
    }
    shares = zip(settings.classes, tiles.probabilities.T, strict=True)
    return columns | {f"p_{name}": share for name, share in shares}


def _name_parts(
    probabilities: NDArray[np.float64], settings: ClassifierSettings
) -> dict[str, NDArray[np.str_]]:
    """Most probable composition and state, each by summed probability."""
    parts = {}
    for role, groups in (("composition", settings.compositions), ("state", settings.states)):
        marginal, names = sum_over_groups(probabilities, groups)
        parts[f"predicted_{role}"] = np.array(names)[marginal.argmax(axis=1)]
    return parts


def _join(tables: list[pd.DataFrame]) -> pd.DataFrame:
    joined = pd.concat(tables, ignore_index=True).astype(UNCERTAINTY_TYPES)
    first = [
        "crop_id", "frame_id", "file", "area", "class", "composition", "state", "additive",
        "x_px", "y_px", "size_px",
    ]  # fmt: skip
    ordered = joined[[*first, *(name for name in joined.columns if name not in first)]]
    return ordered.sort_values("crop_id", ignore_index=True)


@dataclass(frozen=True)
class ReferenceCrops:
    """Test crops of electrodes that the classifier was trained on.

    Attributes
    ----------
    predictions
        A row per test crop, described as those of new electrodes.
    crops
        Their rows of the crop table, by `crop_id`.
    frames
        Grey frames by ``frame_id``.
    """

    predictions: pd.DataFrame
    crops: pd.DataFrame
    frames: Mapping[str, NDArray[np.uint8]]


def match_reference(
    classifier: SemClassifier,
    frames: Mapping[str, NDArray[np.uint8]] | None,
    crops: pd.DataFrame | None,
    predictions: pd.DataFrame | None,
    device: str,
) -> tuple[ReferenceCrops | None, str | None]:
    """Take the test predictions if they are this classifier's own.

    A few of them are predicted again; another model's numbers would differ.

    Returns
    -------
    known, problem
        The crops, or why they are not used.
    """
    if frames is None or crops is None or predictions is None:
        return None, "no test predictions at hand: run `kedro run --pipelines tune_train`"
    settings = classifier.settings
    columns = [f"p_{name}" for name in settings.classes]
    if settings.split_hash != hash_split(crops) or not set(columns) <= set(predictions):
        return None, "the test predictions at hand were made with another split or other classes"
    table = predictions.merge(crops.drop(columns=["class", "area", "frame_id"]), on="crop_id")
    if len(table) != len(predictions) or not len(table):
        return None, "the test predictions at hand are not of the present crops"
    picked = np.unique(np.linspace(0, len(table) - 1, _CHECKED_CROPS).round().astype(int))
    some = table.iloc[picked]
    bank = build_frame_bank(frames, sorted(set(some["frame_id"])))
    index = index_crops(some, bank, settings.classes)
    again = predict_crops(
        classifier, build_network(classifier), bank, index, device=device
    ).probabilities
    if np.abs(again - some[columns].to_numpy(np.float64)).max() > _TOLERANCE:
        return None, "the test predictions at hand are those of another model"
    known = ReferenceCrops(describe_reference(predictions, settings), crops, frames)
    return known, None
