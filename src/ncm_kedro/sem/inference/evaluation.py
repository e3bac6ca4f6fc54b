"""Evaluation of a classifier: OOD frames, uncertainty, baselines on the same test crops."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import process_time
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.errors import FrameError, ModelError
from ncm_kedro.learning.data.crop_index import CropIndex
from ncm_kedro.learning.data.frame_bank import FrameBank
from ncm_kedro.learning.evaluation.conformal import choose_sets
from ncm_kedro.learning.evaluation.metrics import MIN_AREAS
from ncm_kedro.learning.evaluation.promotion import Comparison, compare_predictions
from ncm_kedro.learning.evaluation.uncertainty_scores import CropOODScores, score_flag, score_sets
from ncm_kedro.learning.models.classifier import (
    ClassifierSettings,
    CropPredictions,
    SemClassifier,
    TrainingRegion,
)
from ncm_kedro.learning.models.predict import build_network, predict_crops
from ncm_kedro.learning.models.texture import fit_texture_baseline, texture_features
from ncm_kedro.params.sem_classify import ClassifyParams
from ncm_kedro.params.tune_train import EvaluationParams, TrainParams
from ncm_kedro.sem.audit.exclusion import QUARANTINED
from ncm_kedro.sem.crops.boxes import place_boxes
from ncm_kedro.sem.crops.crop_set import CropSet, CropTextures
from ncm_kedro.sem.crops.regions import REGION_COLUMNS
from ncm_kedro.sem.inference.classify import (
    FrameClassifier,
    build_frame_classifier,
    describe_tiles,
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
    median = float(np.median(tiles.ood_score.score))
    described = {
        **describe_tiles(tiles, classifier.settings.classes),
        "predicted": np.array(classifier.settings.classes)[tiles.probabilities.argmax(axis=1)],
        "probability": tiles.probabilities.max(axis=1),
        "frame_is_ood": median > classifier.detector.frame_threshold,
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
    flag = score_flag(_measure(predictions), _measure(ood), classifier.detector, params)
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
_TOUCHING_PX = 1.0  # boxes that overlap by less share no more than their edge


def measure_all_textures(crop_set: CropSet) -> CropTextures:
    """Measure the texture of the crops of every split."""
    started = process_time()
    features = {split: measure_textures(crop_set, split) for split in crop_set.indices}
    return CropTextures(features, process_time() - started)


def predict_by_texture(crop_set: CropSet, textures: CropTextures, seed: int) -> NDArray[np.float64]:
    """Fit texture features with logistic regression; return test probabilities, (N, K)."""
    features = textures.features
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


def describe_classifier(
    crop_set: CropSet, train: TrainParams, evaluation: EvaluationParams
) -> ClassifierSettings:
    """Return the settings of a classifier of these crops; `train_classifier` fills in the rest."""
    return ClassifierSettings(
        model=train.model,
        classes=crop_set.classes,
        compositions=crop_set.compositions,
        states=crop_set.states,
        crop_px=crop_set.crop_px,
        pixel_size_um=crop_set.pixel_size_um,
        input_px=train.input_px,
        test_time_augmentation=evaluation.test_time_augmentation,
        split_hash=crop_set.split_hash,
        training_regions=_list_training_regions(crop_set),
    )


def _list_training_regions(crop_set: CropSet) -> tuple[TrainingRegion, ...]:
    """Return the parts of frames that training, selection and calibration could see."""
    seen = pd.concat([crop_set.tables[split] for split in ("train", "validate")])
    rows = seen[["frame_id", *REGION_COLUMNS]].drop_duplicates().sort_values("frame_id")
    boxes = rows[list(REGION_COLUMNS)].to_numpy(np.int64).tolist()
    return tuple(
        (str(frame), x0, y0, x1, y1)
        for frame, (x0, y0, x1, y1) in zip(rows["frame_id"], boxes, strict=True)
    )


def find_unseen_crops(
    crops: pd.DataFrame, manifest: pd.DataFrame, regions: Sequence[TrainingRegion]
) -> NDArray[np.bool_]:
    """Find the crops that overlap no region that a model was trained on, (N,).

    Overlap is measured in the mosaics, so that another frame of the same place counts.

    Parameters
    ----------
    crops
        `frame_id, x_px, y_px, size_px`.
    regions
        `ClassifierSettings.training_regions` of the model; a frame that the manifest
        no longer has overlaps nothing.
    """
    places = manifest.set_index("frame_id")
    known = [region for region in regions if region[0] in places.index]
    unseen = np.ones(len(crops), np.bool_)
    if not known:
        return unseen
    trained = places.loc[[frame for frame, *_ in known]]
    trained_boxes = place_boxes(trained, np.array([box for _, *box in known], np.float64))
    tested = places.loc[crops["frame_id"]]
    corner = crops[["x_px", "y_px"]].to_numpy(np.float64)
    size = crops[["size_px"]].to_numpy(np.float64)
    test_boxes = place_boxes(tested, np.hstack([corner, corner + size]))
    mosaics = trained["mosaic"].to_numpy()
    for at, (box, mosaic) in enumerate(zip(test_boxes, tested["mosaic"], strict=True)):
        near = trained_boxes[mosaics == mosaic]
        overlap = (near[:, :2] < box[2:] - _TOUCHING_PX) & (near[:, 2:] > box[:2] + _TOUCHING_PX)
        unseen[at] = not overlap.all(axis=1).any()
    return unseen


def compare_with_production(
    names: tuple[str, str],
    crop_set: CropSet,
    manifest: pd.DataFrame,
    predicted: NDArray[np.integer],
    production: SemClassifier,
    *,
    params: EvaluationParams,
    device: str,
) -> tuple[list[Comparison], list[str]]:
    """Compare with the production model on the test crops that it was not trained on.

    Parameters
    ----------
    names
        Of the candidate and of the production model.
    predicted
        (N,) class numbers by the candidate.

    Returns
    -------
    comparisons
        One, or none where the production model was trained on so much of the test regions that it
        cannot serve as a reference.
    notes
        What is to be said about it.

    Raises
    ------
    ModelError
        The frames are smaller than one of the production model's crops.
    """
    table, notes = crop_set.tables["test"], []
    unseen = np.ones(len(table), np.bool_)
    if production.settings.training_regions:
        unseen = find_unseen_crops(table, manifest, production.settings.training_regions)
    elif production.settings.split_hash != crop_set.split_hash:
        notes.append(
            "the production model does not record its training regions, and its split was another: "
            "it may have seen part of this test region, which favours it"
        )
    areas = table["area"].to_numpy(dtype=str)
    if not unseen.all():
        notes.append(
            f"the production model was trained on {(~unseen).sum()} of the {len(unseen)} test "
            "crops: it is compared on the others only"
        )
    if len(np.unique(areas[unseen])) < MIN_AREAS and not unseen.all():
        notes.append(
            "those are too few regions: the production model is no reference here; test it again "
            "on regions that it has not seen"
        )
        return [], notes
    reference = predict_on_test(crop_set, production, device=device)
    labels = crop_set.indices["test"].label
    parts = (values[unseen] for values in (labels, predicted, reference))
    return [
        compare_predictions(names, *parts, regions=areas[unseen].tolist(), params=params)
    ], notes


def predict_on_test(
    crop_set: CropSet, reference: SemClassifier, *, device: str
) -> NDArray[np.int64]:
    """Return the class numbers, (N,), that another classifier predicts for the test crops.

    The reference sees crops of its own physical size around the same centres; a class that the crop
    set does not have is the number after the last.

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
    number = {name: place for place, name in enumerate(crop_set.classes)}
    known = np.array([number.get(name, len(number)) for name in settings.classes], np.int64)
    return np.asarray(known[probabilities.argmax(axis=1)], np.int64)


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
