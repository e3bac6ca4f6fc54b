"""A folder of unseen frames, one by one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from ncm_kedro.errors import FrameError
from ncm_kedro.learning.models.classifier import SemClassifier
from ncm_kedro.params.sem_classify import ClassifyParams
from ncm_kedro.params.sem_ingest import ReadingParams
from ncm_kedro.sem.inference.classify import (
    FrameClassifier,
    FramePrediction,
    build_frame_classifier,
    describe_prediction,
    describe_problem,
    resample_frame,
)
from ncm_kedro.sem.io.frames import FrameRecord, RawFrames
from ncm_kedro.sem.io.reading import read_micrograph

_LOG = logging.getLogger(__name__)
_SHEET_WIDTH_PX = 480
_NULLABLE = {
    "prediction_set": "str",
    "set_size": "Int64",
    "unknown": "boolean",
    "ood_p_value": "float64",
    "energy": "float64",
    "feature_distance": "float64",
}


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
    answer
        What the classifier says.
    row
        The same as a row of the table.
    """

    file: str
    small_yx: NDArray[np.uint8]
    scale: float
    answer: FramePrediction
    row: dict[str, Any]


def classify_folder(
    raw: RawFrames, classifier: SemClassifier, reading: ReadingParams, params: ClassifyParams
) -> tuple[pd.DataFrame, list[ShownFrame]]:
    """Classify all frames of a folder.

    Parameters
    ----------
    raw
        Listing of the folder; class folders mean nothing here.
    classifier
        The classifier.
    reading
        How a file becomes a frame.
    params
        Tiling, device, number of frames to draw.

    Returns
    -------
    table
        A row per file, sorted: class, composition, state, set of classes, unknown or not,
        ``p_<class>``, or the problem.
    shown
        Unknown frames, then those with the least certain answers, at most
        ``params.sheet_frames``.

    Raises
    ------
    FrameError
        Not one frame could be classified.
    """
    frame_classifier = build_frame_classifier(classifier, params)
    rows: list[dict[str, Any]] = []
    shown: list[ShownFrame] = []
    for record in tqdm(raw.records, "frames", disable=None):
        try:
            frame, pixel_size_um = _prediction_record(record, frame_classifier, reading)
        except FrameError as error:
            _LOG.warning("set aside: %s", error)
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
    table = pd.DataFrame(rows).astype(_NULLABLE)
    return table.sort_values("file", ignore_index=True), shown


def _prediction_record(
    record: FrameRecord, frame_classifier: FrameClassifier, reading: ReadingParams
) -> tuple[ShownFrame, float]:
    frame = read_micrograph(
        record.read_image(), reading, where=record.file, sidecar_data=record.read_sidecar()
    )
    answer = frame_classifier.classify_frame(frame.image_yx, frame.pixel_size.value_um, record.file)
    scale = min(1.0, _SHEET_WIDTH_PX / frame.image_yx.shape[1])
    small_yx = resample_frame(frame.image_yx, scale)
    row = describe_prediction(frame_classifier.classifier, answer)
    return ShownFrame(record.file, small_yx, scale, answer, row), frame.pixel_size.value_um


def _keep_least_certain(frames: list[ShownFrame], count: int) -> list[ShownFrame]:
    ordered = sorted(
        frames,
        key=lambda frame: (not frame.row["unknown"], frame.row["probability"], frame.file),
    )
    return ordered[:count]
