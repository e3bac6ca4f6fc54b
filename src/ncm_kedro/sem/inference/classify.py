"""Classification of whole frames: tile, predict, aggregate."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ncm_kedro.errors import FrameError
from ncm_kedro.learning.data.crop_index import CropIndex
from ncm_kedro.learning.data.frame_bank import build_frame_bank
from ncm_kedro.learning.evaluation.conformal import choose_sets, name_sets
from ncm_kedro.learning.models.classifier import CropPredictions, SemClassifier
from ncm_kedro.learning.models.predict import build_network, predict_crops
from ncm_kedro.params.sem_classify import ClassifyParams
from ncm_kedro.params.sem_ingest import ReadingParams
from ncm_kedro.sem.audit.exclusion import reject_unusable
from ncm_kedro.sem.io.frames import NO_FRAMES, FrameRecord, RawFrames, to_frame_error
from ncm_kedro.sem.io.grey_range import GreyRange
from ncm_kedro.sem.io.reading import find_ranges, read_micrograph

UNCERTAINTY_TYPES = {
    "prediction_set": "str",
    "set_size": "Int64",
    "unknown": "boolean",
    "ood_p_value": "float64",
    "energy": "float64",
    "feature_distance": "float64",
}
UNCERTAINTY_COLUMNS = tuple(UNCERTAINTY_TYPES)
_LOG = logging.getLogger(__name__)
_SHEET_WIDTH_PX = 480


def describe_tiles(tiles: CropPredictions, classes: Sequence[str]) -> dict[str, Any]:
    """Return `UNCERTAINTY_COLUMNS` of N tiles or crops, (N,) each; None what is not predicted."""
    columns: dict[str, Any] = dict.fromkeys(UNCERTAINTY_COLUMNS)
    if tiles.sets is not None:
        columns["prediction_set"] = name_sets(tiles.sets, classes)
        columns["set_size"] = tiles.sets.sum(axis=1)
    if tiles.ood_score is not None:
        columns["unknown"] = tiles.ood_score.unknown
        columns["ood_p_value"] = tiles.ood_score.p
        columns["energy"] = tiles.ood_score.energy
        columns["feature_distance"] = tiles.ood_score.feature_distance
    return columns


def describe_uncertainty(
    classifier: SemClassifier, probabilities: NDArray[np.floating], tiles: CropPredictions
) -> dict[str, Any]:
    """Return `UNCERTAINTY_COLUMNS` of a frame from its tiles; null what is not predicted."""
    row: dict[str, Any] = dict.fromkeys(UNCERTAINTY_COLUMNS)
    settings, detector = classifier.settings, classifier.detector
    if settings.frame_sets is not None:
        members = choose_sets(probabilities[np.newaxis], settings.frame_sets)
        row["prediction_set"] = name_sets(members, settings.classes)[0]
        row["set_size"] = int(members.sum())
    if detector is not None and tiles.ood_score is not None:
        if detector.is_reliable:
            median = float(np.median(tiles.ood_score.score))
            row["unknown"] = median > detector.frame_threshold
            row["ood_p_value"] = float(detector.frame_ranks.measure_p(np.array(median)))
        row["energy"] = float(np.median(tiles.ood_score.energy))
        row["feature_distance"] = float(np.median(tiles.ood_score.feature_distance))
    return row


@dataclass(frozen=True)
class FramePrediction:
    """Prediction of a frame.

    Attributes
    ----------
    probabilities
        (K,) mean over the tiles.
    tile_xy_px
        (T, 2) top-left corners of the tiles in the frame as it was given.
    tile_px
        Side of a tile in the frame as it was given.
    tiles
        Predictions of the tiles.
    """

    probabilities: NDArray[np.float64]
    tile_xy_px: NDArray[np.float64]
    tile_px: float
    tiles: CropPredictions


@dataclass(frozen=True)
class FrameClassifier:
    """A classifier with its network built, ready for frames."""

    classifier: SemClassifier
    network: torch.nn.Module
    params: ClassifyParams

    def classify_frame(
        self, image_yx: NDArray[np.uint8], pixel_size_um: float, where: str
    ) -> FramePrediction:
        """Tile a frame, predict every tile and average.

        Parameters
        ----------
        image_yx
            Grey values without banner, (H, W).
        pixel_size_um
            Edge of a pixel; a frame at another size than the model's is resampled to it.

        Raises
        ------
        FrameError
            The frame is smaller than one crop, or beyond `max_scale` or `max_tiles`.
        """
        settings = self.classifier.settings
        scale = pixel_size_um / settings.pixel_size_um
        if abs(scale - 1.0) <= self.params.pixel_size_tolerance:
            scale = 1.0
        _check_effort(image_yx.shape, scale, settings.crop_px, self.params, where)
        resampled = resample_frame(image_yx, scale)
        _check_fits(image_yx, resampled, settings.crop_px, pixel_size_um, where)
        corners = plan_tiles(
            resampled.shape[0], resampled.shape[1], settings.crop_px, self.params.overlap
        )
        count = len(corners)
        crops = CropIndex(
            frame=np.zeros(count, np.int64),
            x_px=corners[:, 0],
            y_px=corners[:, 1],
            size_px=np.full(count, settings.crop_px, np.int64),
            label=np.zeros(count, np.int64),
        )
        bank = build_frame_bank({"frame": resampled})
        tiles = predict_crops(
            self.classifier,
            self.network,
            bank,
            crops,
            device=self.params.device,
            threads=self.params.threads,
        )
        return FramePrediction(
            tiles.probabilities.mean(axis=0), corners / scale, settings.crop_px / scale, tiles
        )


def build_frame_classifier(
    classifier: SemClassifier, params: ClassifyParams | None = None
) -> FrameClassifier:
    """Build the network of a classifier once, for many frames."""
    params = ClassifyParams() if params is None else params
    if classifier.settings.frame_sets is None or classifier.detector is None:
        _LOG.warning(
            "this classifier knows no prediction sets and no OOD flag of frames: those columns "
            "stay empty. Train it again with `kedro run --pipelines tune_train`"
        )
    elif not classifier.detector.is_reliable:
        _LOG.warning(classifier.detector.notes[0])
    return FrameClassifier(classifier, build_network(classifier), params)


def resample_frame(image_yx: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Resample a frame by a factor; area average down, cubic up.

    Parameters
    ----------
    image_yx
        Grey values, (H, W).
    scale
        Size of the result over size of the input.
    """
    if scale == 1.0:
        return image_yx
    height, width = (max(1, round(side * scale)) for side in image_yx.shape)
    method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_CUBIC
    return cast("NDArray[np.uint8]", cv2.resize(image_yx, (width, height), interpolation=method))


def plan_tiles(height_px: int, width_px: int, tile_px: int, overlap: float) -> NDArray[np.int64]:
    """Place the fewest evenly spaced square tiles that cover a frame.

    Parameters
    ----------
    height_px, width_px, tile_px
        Frame and tile, px.
    overlap
        Minimum overlap of neighbours, as a fraction of a tile.

    Returns
    -------
    ndarray, (T, 2)
        Top-left corners x, y.
    """
    step_px = tile_px * (1.0 - overlap)
    starts = []
    for side_px in (width_px, height_px):
        count = 1 + math.ceil(max(0, side_px - tile_px) / step_px)
        starts.append(np.rint(np.linspace(0, side_px - tile_px, count)).astype(np.int64))
    return np.array([(x, y) for y in starts[1] for x in starts[0]], dtype=np.int64)


def describe_prediction(classifier: SemClassifier, prediction: FramePrediction) -> dict[str, Any]:
    """Return a flat row: class, composition, state, probability, tiles, uncertainty, ``p_<class>``.

    An out-of-distribution frame keeps its probabilities; ``unknown`` flags them as unreliable.
    Composition and state are the most probable ones by summed probability, so that they need not
    be those of the most probable class.
    """
    settings = classifier.settings
    probabilities = prediction.probabilities
    best = int(probabilities.argmax())
    return {
        "predicted": settings.classes[best],
        "composition": _most_probable(settings.compositions, probabilities),
        "state": _most_probable(settings.states, probabilities),
        "probability": float(probabilities[best]),
        "n_tiles": len(prediction.tile_xy_px),
        **describe_uncertainty(classifier, probabilities, prediction.tiles),
        "problem": None,
        **{f"p_{name}": float(p) for name, p in zip(settings.classes, probabilities, strict=True)},
    }


def describe_problem(classifier: SemClassifier, problem: str) -> dict[str, Any]:
    """Return the row of a frame that could not be classified."""
    known = ("predicted", "composition", "state", "probability", "n_tiles", *UNCERTAINTY_COLUMNS)
    shares = (f"p_{name}" for name in classifier.settings.classes)
    return dict.fromkeys((*known, "problem", *shares)) | {"n_tiles": 0, "problem": problem}


def encode_png(image_yx: NDArray[np.uint8]) -> bytes:
    """Return a frame, (H, W), as the content of a PNG file."""
    return bytes(cv2.imencode(".png", image_yx)[1].tobytes())


def _check_effort(
    shape_yx: tuple[int, ...], scale: float, crop_px: int, params: ClassifyParams, where: str
) -> None:
    """Reject a frame before memory and time go into it."""
    if not 1.0 / params.max_scale <= scale <= params.max_scale:
        raise FrameError(
            where,
            found=f"a frame to be resampled by a factor of {scale:.4g}",
            expected=f"a pixel size within a factor of {params.max_scale:g} of the model's",
            action="correct the pixel size, or take a model trained at that magnification",
        )
    height_px, width_px = (max(crop_px, round(side * scale)) for side in shape_yx)
    n_tiles = len(plan_tiles(height_px, width_px, crop_px, params.overlap))
    if n_tiles > params.max_tiles:
        raise FrameError(
            where,
            found=f"a frame of {shape_yx[1]} x {shape_yx[0]} px, that is {n_tiles} tiles",
            expected=f"at most {params.max_tiles} tiles of {crop_px} px at the model's pixel size",
            action="cut the frame into parts, or correct its pixel size",
        )


def _check_fits(
    given: NDArray[np.uint8],
    resampled: NDArray[np.uint8],
    crop_px: int,
    pixel_size_um: float,
    where: str,
) -> None:
    if min(resampled.shape) < crop_px:
        raise FrameError(
            where,
            found=f"a frame of {given.shape[1]} x {given.shape[0]} px at {pixel_size_um:.4g} um/px",
            expected=f"at least one crop of {crop_px} px at the model's pixel size, that is "
            f"{resampled.shape[1]} x {resampled.shape[0]} px after resampling is too small",
            action="take the frame at a lower magnification or larger",
        )


def _most_probable(names: tuple[str, ...], probabilities: NDArray[np.float64]) -> str:
    totals: Mapping[str, float] = {
        name: float(sum(p for n, p in zip(names, probabilities, strict=True) if n == name))
        for name in dict.fromkeys(names)
    }
    return max(totals, key=lambda name: totals[name])


@dataclass(frozen=True)
class ShownFrame:
    """A classified frame as it is drawn on the overlay sheet.

    Attributes
    ----------
    file
        Path relative to the folder.
    small_yx
        The frame reduced to a few hundred pixels, (h, w).
    scale
        Size of ``small_yx`` over that of the frame.
    prediction
        The prediction.
    row
        The same as a row of the table.
    """

    file: str
    small_yx: NDArray[np.uint8]
    scale: float
    prediction: FramePrediction
    row: dict[str, Any]


def classify_folder(
    raw: RawFrames, classifier: SemClassifier, reading: ReadingParams, params: ClassifyParams
) -> tuple[pd.DataFrame, list[ShownFrame]]:
    """Classify all frames of a folder.

    Returns
    -------
    table
        A row per file, sorted: class, composition, state, prediction set, OOD or not,
        ``p_<class>``, or the problem.
    shown
        OOD frames, then those of lowest confidence, at most
        ``params.sheet_frames``.

    Raises
    ------
    FrameError
        Not one frame could be classified.
    """
    frame_classifier = build_frame_classifier(classifier, params)
    rows: list[dict[str, Any]] = [
        {"file": entry.file, **describe_problem(classifier, entry.reason)}
        for entry in raw.rejections
        if entry.kind not in NO_FRAMES
    ]
    shown: list[ShownFrame] = []
    ranges = find_ranges(raw.records, reading)
    for record in tqdm(raw.records, "frames", disable=None):
        try:
            frame, pixel_size_um = _prediction_record(record, frame_classifier, reading, ranges)
        except Exception as raised:  # noqa: BLE001  (one file, whatever is in it, costs itself)
            error = to_frame_error(raised, record.file)
            _LOG.warning("rejected: %s", error)
            rows.append({"file": record.file, **describe_problem(classifier, str(error))})
            continue
        rows.append({"file": record.file, **frame.row, "pixel_size_um": pixel_size_um})
        shown = _keep_least_certain([*shown, frame], params.sheet_frames)
    if not shown:
        raise FrameError(
            raw.root,
            found=f"{len(raw.records)} files, none of which could be classified; the first: "
            f"{rows[0]['problem'] if rows else 'no image'}",
            expected="at least one SEM frame that is larger than one crop",
            action="put frames into this folder",
        )
    table = pd.DataFrame(rows).astype(UNCERTAINTY_TYPES)
    return table.sort_values("file", ignore_index=True), shown


def _prediction_record(
    record: FrameRecord,
    frame_classifier: FrameClassifier,
    reading: ReadingParams,
    ranges: Mapping[str, GreyRange],
) -> tuple[ShownFrame, float]:
    pixel_size_um, magnification = (
        float(record.settings[key]) if key in record.settings else None
        for key in ("pixel_size_um", "magnification")
    )
    frame = read_micrograph(
        record.read_image(),
        reading,
        where=record.file,
        sidecar_data=record.read_sidecar(),
        pixel_size_um=pixel_size_um,
        magnification=magnification,
        ranges=ranges,
    )
    reject_unusable(frame.flags, record.file)
    prediction = frame_classifier.classify_frame(
        frame.image_yx, frame.pixel_size.value_um, record.file
    )
    scale = min(1.0, _SHEET_WIDTH_PX / frame.image_yx.shape[1])
    small_yx = resample_frame(frame.image_yx, scale)
    row = describe_prediction(frame_classifier.classifier, prediction)
    return ShownFrame(record.file, small_yx, scale, prediction, row), frame.pixel_size.value_um


def _keep_least_certain(frames: list[ShownFrame], count: int) -> list[ShownFrame]:
    def rank(frame: ShownFrame) -> tuple[bool, float, str]:
        return not frame.row["unknown"], frame.row["probability"], frame.file

    return sorted(frames, key=rank)[:count]
