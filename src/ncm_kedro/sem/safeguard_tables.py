"""Prediction sets and unknown-sample flag in tables, and their scores from there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.classifier import CropAnswers, SemClassifier
from ncm_kedro.learning.conformal import choose_sets, name_sets
from ncm_kedro.learning.safeguard_scores import MeasuredCrops, score_flag, score_sets
from ncm_kedro.params.tune_train import EvaluationParams


def describe_crops(answers: CropAnswers, classes: Sequence[str]) -> dict[str, Any]:
    """Return the columns of a table of crops that say what is not known.

    Parameters
    ----------
    answers
        Of a calibrated classifier, for N crops.
    classes
        (K,) names.

    Returns
    -------
    dict
        Columns of length N: ``prediction_set``, ``set_size``, ``unknown``, ``unknown_p``,
        ``energy``, ``feature_distance``.

    Raises
    ------
    ModelError
        The classifier was never calibrated.
    """
    if answers.sets is None or answers.strangeness is None:
        raise _refuse_uncalibrated()
    return {
        "prediction_set": name_sets(answers.sets, classes),
        "set_size": answers.sets.sum(axis=1),
        "unknown": answers.strangeness.unknown,
        "unknown_p": answers.strangeness.p,
        "energy": answers.strangeness.energy,
        "feature_distance": answers.strangeness.feature_distance,
    }


def score_safeguards(
    predictions: pd.DataFrame,
    foreign: pd.DataFrame,
    classifier: SemClassifier,
    params: EvaluationParams,
) -> dict[str, Any]:
    """Score prediction sets and unknown-sample flag.

    Parameters
    ----------
    predictions
        The test split, with ``p_<class>`` columns.
    foreign
        Tiles of another material, may be empty.
    classifier
        What predicted both.
    params
        Resamples, confidence, seed.

    Returns
    -------
    dict
        Parts ``sets`` and ``flag`` of the test report.

    Raises
    ------
    ModelError
        The classifier was never calibrated.
    """
    settings = classifier.settings
    if settings.sets is None or classifier.detector is None:
        raise _refuse_uncalibrated()
    number = {name: place for place, name in enumerate(settings.classes)}
    labels = predictions["class"].map(number).to_numpy(np.int64)
    members = choose_sets(
        predictions[[f"p_{name}" for name in settings.classes]].to_numpy(), settings.sets
    )
    flag = score_flag(_measure(predictions), labels, _measure(foreign), classifier.detector, params)
    frames = foreign.groupby("frame_id")["frame_unknown"].first()
    return {
        "sets": score_sets(
            members,
            labels,
            predictions["area"].tolist(),
            classes=settings.classes,
            sets=settings.sets,
            params=params,
        ),
        "flag": {
            **flag,
            "foreign_frames": len(frames),
            "foreign_frames_flagged": int(frames.sum()),
        },
    }


def _measure(table: pd.DataFrame) -> MeasuredCrops:
    return MeasuredCrops(
        feature_distance=table["feature_distance"].to_numpy(np.float64),
        energy=table["energy"].to_numpy(np.float64),
        unknown=table["unknown"].to_numpy(np.bool_),
        areas=table["area"].tolist(),
    )


def _refuse_uncalibrated() -> ModelError:
    return ModelError(
        "classifier",
        found="neither prediction sets nor an unknown-sample flag",
        expected="a calibrated classifier",
        action="run the node calibrate_sem_classifier again",
    )
