"""Frames of another material, set aside on ingest: a ready test of the unknown-sample flag."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.errors import FrameError, ModelError
from ncm_kedro.learning.classifier import SemClassifier
from ncm_kedro.params.sem_classify import ClassifyParams
from ncm_kedro.sem.classify import FrameClassifier, build_frame_classifier
from ncm_kedro.sem.exclusion import QUARANTINED
from ncm_kedro.sem.frame_votes import find_frame_p

_LOG = logging.getLogger(__name__)
_TYPES = {
    "frame_id": "str",
    "area": "str",
    "predicted": "str",
    "probability": "float64",
    "unknown": "bool",
    "frame_unknown": "bool",
    "unknown_p": "float64",
    "energy": "float64",
    "feature_distance": "float64",
}


def find_foreign(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the manifest's rows of frames that were excluded as another material."""
    quarantined = manifest["flags"].str.split(";").map(lambda flags: QUARANTINED in flags)
    return manifest[quarantined & manifest["excluded"]].sort_values("frame_id")


def classify_foreign(
    frames: Mapping[str, NDArray[np.uint8]],
    manifest: pd.DataFrame,
    classifier: SemClassifier,
    params: ClassifyParams,
) -> pd.DataFrame:
    """Classify frames of another material, tile by tile.

    Parameters
    ----------
    frames
        Grey frames by ``frame_id``, excluded ones too.
    manifest
        The frame table.
    classifier
        A calibrated classifier, which knows nothing of these frames.
    params
        Tiling and device.

    Returns
    -------
    DataFrame
        A row per tile, empty where there is no such frame; ``area`` is the frame's mosaic.

    Raises
    ------
    ModelError
        The classifier has no unknown-sample flag.
    """
    frame_classifier = build_frame_classifier(classifier, params)
    tables = []
    for row in find_foreign(manifest).to_dict("records"):
        frame_id = str(row["frame_id"])
        try:
            table = _classify_tiles(
                frame_classifier, frames[frame_id], float(row["pixel_size_um"]), frame_id
            )
        except FrameError as error:
            _LOG.warning("left out of the test of the unknown-sample flag: %s", error)
            continue
        tables.append(table.assign(frame_id=frame_id, area=str(row["mosaic"])))
    empty = pd.DataFrame(columns=list(_TYPES))
    joined = pd.concat(tables, ignore_index=True) if tables else empty
    return joined[list(_TYPES)].astype(_TYPES)


def _classify_tiles(
    frame_classifier: FrameClassifier,
    image_yx: NDArray[np.uint8],
    pixel_size_um: float,
    frame_id: str,
) -> pd.DataFrame:
    tiles = frame_classifier.classify_frame(image_yx, pixel_size_um, frame_id).tiles
    classifier = frame_classifier.classifier
    if tiles.strangeness is None or classifier.detector is None:
        raise ModelError(
            "classifier",
            found="no unknown-sample flag",
            expected="a calibrated classifier",
            action="run the node calibrate_sem_classifier again",
        )
    frame_p = np.asarray(find_frame_p(tiles.strangeness.p))
    return pd.DataFrame(
        {
            "predicted": np.array(classifier.settings.classes)[tiles.probabilities.argmax(axis=1)],
            "probability": tiles.probabilities.max(axis=1),
            "unknown": tiles.strangeness.unknown,
            "frame_unknown": bool(classifier.detector.flag(frame_p)),
            "unknown_p": tiles.strangeness.p,
            "energy": tiles.strangeness.energy,
            "feature_distance": tiles.strangeness.feature_distance,
        }
    )
