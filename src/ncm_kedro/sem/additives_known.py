"""Test crops of the training set, to set new electrodes beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.learning.classifier import SemClassifier, build_network, classify_crops
from ncm_kedro.learning.frame_bank import build_frame_bank
from ncm_kedro.sem.additives import describe_known
from ncm_kedro.sem.crop_set import hash_split, index_crops

_CHECKED_CROPS = 8
_TOLERANCE = 0.02


@dataclass(frozen=True)
class KnownCrops:
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


def match_known(
    classifier: SemClassifier,
    frames: Mapping[str, NDArray[np.uint8]] | None,
    crops: pd.DataFrame | None,
    predictions: pd.DataFrame | None,
    device: str,
) -> tuple[KnownCrops | None, str | None]:
    """Take the test predictions if they are this classifier's own.

    A few of them are predicted again; another model's numbers would differ.

    Parameters
    ----------
    classifier
        What is judged.
    frames, crops, predictions
        What training left behind; any of them may be missing.
    device
        Where the network runs.

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
    again = classify_crops(classifier, build_network(classifier), bank, index, device=device)
    if np.abs(again - some[columns].to_numpy(np.float64)).max() > _TOLERANCE:
        return None, "the test predictions at hand are those of another model"
    known = KnownCrops(describe_known(predictions, settings), crops, frames)
    return known, None
