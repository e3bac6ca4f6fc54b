"""Evaluation of a classifier: OOD frames, uncertainty, baselines on the same test crops."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import recall_score

from ncm_kedro.errors import FrameError, ModelError
from ncm_kedro.learning.data.crop_index import CropIndex
from ncm_kedro.learning.data.frame_bank import FrameBank
from ncm_kedro.learning.evaluation.conformal import choose_sets
from ncm_kedro.learning.evaluation.uncertainty_scores import CropOODScores, score_flag, score_sets
from ncm_kedro.learning.models.classifier import CropPredictions, SemClassifier
from ncm_kedro.learning.models.predict import build_network, predict_crops
from ncm_kedro.learning.models.texture import fit_texture_baseline, texture_features
from ncm_kedro.params.sem_classify import ClassifyParams
from ncm_kedro.params.tune_train import EvaluationParams
from ncm_kedro.sem.audit.exclusion import QUARANTINED
from ncm_kedro.sem.crops.crop_set import CropSet
from ncm_kedro.sem.inference.classify import (
    FrameClassifier,
    build_frame_classifier,
    describe_tiles,
    find_frame_p,
)

_LOG = logging.getLogger(__name__)
_OOD_TYPES = {
    **dict.fromkeys(("frame_id", "area", "predicted"), "str"),
    **dict.fromkeys(("unknown", "frame_is_ood"), "bool"),
    **dict.fromkeys(("probability", "ood_p_value", "energy", "feature_distance"), "float64"),
}


def find_ood(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the manifest's rows of frames that were excluded as another material."""
    quarantined = manifest["flags"].str.split(";").map(lambda flags: QUARANTINED in flags)
    return manifest[quarantined & manifest["excluded"]].sort_values("frame_id")


def classify_ood(
    frames: Mapping[str, NDArray[np.uint8]],
    manifest: pd.DataFrame,
    classifier: SemClassifier,
    params: ClassifyParams,
) -> pd.DataFrame:
    """Classify frames of another material, tile by tile.

    Returns
    -------
    DataFrame
        A row per tile, empty where there is no such frame; ``area`` is the frame's mosaic.

    Raises
    ------
    ModelError
        The classifier has no OOD flag.
    """
    frame_classifier = build_frame_classifier(classifier, params)
    tables = []
    for row in find_ood(manifest).to_dict("records"):
        frame_id = str(row["frame_id"])
        try:
            table = _classify_tiles(
                frame_classifier, frames[frame_id], float(row["pixel_size_um"]), frame_id
            )
        except FrameError as error:
            _LOG.warning("omitted from the test of the OOD flag: %s", error)
            continue
        tables.append(table.assign(frame_id=frame_id, area=str(row["mosaic"])))
    empty = pd.DataFrame(columns=list(_OOD_TYPES))
    joined = pd.concat(tables, ignore_index=True) if tables else empty
    return joined[list(_OOD_TYPES)].astype(_OOD_TYPES)


def _classify_tiles(
    frame_classifier: FrameClassifier,
    image_yx: NDArray[np.uint8],
    pixel_size_um: float,
    frame_id: str,
) -> pd.DataFrame:
    tiles = frame_classifier.classify_frame(image_yx, pixel_size_um, frame_id).tiles
    classifier = frame_classifier.classifier
    if tiles.ood_score is None or classifier.detector is None:
        raise _make_uncalibrated_error()
    frame_p = np.asarray(find_frame_p(tiles.ood_score.p))
    described = {
        **describe_tiles(tiles, classifier.settings.classes),
        "predicted": np.array(classifier.settings.classes)[tiles.probabilities.argmax(axis=1)],
        "probability": tiles.probabilities.max(axis=1),
        "frame_is_ood": bool(classifier.detector.flag(frame_p)),
    }
    return pd.DataFrame(described)


def describe_crops(predictions: CropPredictions, classes: Sequence[str]) -> dict[str, Any]:
    """Return `UNCERTAINTY_COLUMNS` of N crops, (N,) each.

    Raises
    ------
    ModelError
        The classifier was never calibrated.
    """
    if predictions.sets is None or predictions.ood_score is None:
        raise _make_uncalibrated_error()
    return describe_tiles(predictions, classes)


def score_uncertainty(
    predictions: pd.DataFrame,
    ood: pd.DataFrame,
    classifier: SemClassifier,
    params: EvaluationParams,
) -> dict[str, Any]:
    """Score prediction sets and OOD flag.

    Parameters
    ----------
    ood
        Tiles of another material, may be empty.

    Raises
    ------
    ModelError
        The classifier was never calibrated.
    """
    settings = classifier.settings
    if settings.sets is None or classifier.detector is None:
        raise _make_uncalibrated_error()
    number = {name: place for place, name in enumerate(settings.classes)}
    labels = predictions["class"].map(number).to_numpy(np.int64)
    members = choose_sets(
        predictions[[f"p_{name}" for name in settings.classes]].to_numpy(), settings.sets
    )
    flag = score_flag(_measure(predictions), labels, _measure(ood), classifier.detector, params)
    frames = ood.groupby("frame_id")["frame_is_ood"].first()
    return {
        "sets": score_sets(
            members,
            labels,
            predictions["area"].tolist(),
            classes=settings.classes,
            sets=settings.sets,
            params=params,
        ),
        "flag": flag | {"n_ood_frames": len(frames), "n_ood_frames_flagged": int(frames.sum())},
    }


def _measure(table: pd.DataFrame) -> CropOODScores:
    return CropOODScores(
        feature_distance=table["feature_distance"].to_numpy(np.float64),
        energy=table["energy"].to_numpy(np.float64),
        unknown=table["unknown"].to_numpy(np.bool_),
        areas=table["area"].tolist(),
    )


def _make_uncalibrated_error() -> ModelError:
    return ModelError(
        "classifier",
        found="neither prediction sets nor an OOD flag",
        expected="a calibrated classifier",
        action="run the node calibrate_sem_classifier again",
    )


_CROPS_AT_ONCE = 256


def predict_by_texture(crop_set: CropSet, seed: int) -> NDArray[np.float64]:
    """Fit texture features with logistic regression; return test probabilities, (N, K)."""
    features = {split: measure_textures(crop_set, split) for split in crop_set.indices}
    labels = {split: index.label for split, index in crop_set.indices.items()}
    baseline = fit_texture_baseline(
        features["train"],
        labels["train"],
        seed,
        validation=(features["validate"], labels["validate"]),
    )
    return np.asarray(baseline.predict_proba(features["test"]), dtype=np.float64)


def measure_textures(crop_set: CropSet, split: str) -> NDArray[np.float32]:
    """Measure the texture of all crops of a split, a few at a time; (N, F)."""
    starts = range(0, len(crop_set.indices[split]), _CROPS_AT_ONCE)
    parts = (crop_set.cut_pixels(split, slice(n, n + _CROPS_AT_ONCE)) for n in starts)
    return np.concatenate([texture_features(pixels) for pixels in parts])


def score_on_test(crop_set: CropSet, reference: SemClassifier, *, device: str) -> float:
    """Return the balanced accuracy of another classifier on the test crops, by class name.

    The reference sees crops of its own physical size around the same centres.

    Parameters
    ----------
    reference
        A classifier that may know other classes, crop and pixel sizes.

    Raises
    ------
    ModelError
        The frames are smaller than one of the reference's crops.
    """
    settings = reference.settings
    size_px = round(settings.crop_px * settings.pixel_size_um / crop_set.pixel_size_um)
    index = centre_crops(crop_set.indices["test"], crop_set.bank, size_px)
    probabilities = predict_crops(
        reference, build_network(reference), crop_set.bank, index, device=device
    ).probabilities
    predicted = np.array(settings.classes)[probabilities.argmax(axis=1)]
    truth = crop_set.tables["test"]["class"].to_numpy(dtype=str)
    return float(recall_score(truth, predicted, labels=np.unique(truth), average="macro"))


def centre_crops(index: CropIndex, bank: FrameBank, size_px: int) -> CropIndex:
    """Change the size of crops around their centres, pushed inside their frames.

    Raises
    ------
    ModelError
        A frame is smaller than a crop of that size.
    """
    if size_px > min(bank.widths[index.frame].min(), bank.heights[index.frame].min()):
        raise ModelError(
            "production model",
            found=f"crops of {size_px} px at the pixel size of these frames",
            expected="crops that fit into the frames",
            action="compare by hand, and move the alias `production` in MLflow",
        )
    corners = []
    for corner, extent in ((index.x_px, bank.widths), (index.y_px, bank.heights)):
        moved = corner + (index.size_px - size_px) // 2
        corners.append(np.clip(moved, 0, extent[index.frame] - size_px))
    sizes = np.full(len(index), size_px, dtype=np.int64)
    return replace(index, x_px=corners[0], y_px=corners[1], size_px=sizes, allowed_xyxy_px=None)
