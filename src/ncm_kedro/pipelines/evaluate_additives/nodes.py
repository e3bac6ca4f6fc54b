"""New electrodes to predictions, scores and maps."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.datasets.frames.store import FrameStore
from ncm_kedro.learning.models.classifier import SemClassifier
from ncm_kedro.params.sem_classify import SemAdditivesParams
from ncm_kedro.sem.io.frames import RawFrames


def require_additive_classes(manifest: pd.DataFrame, rejected: pd.DataFrame) -> None:
    """End the run if a condition has lost all its frames."""
    from ncm_kedro.sem.audit.usage import describe_usage, require_classes

    require_classes(describe_usage(manifest, rejected))


def predict_additives(
    *,
    raw: RawFrames,
    frames: FrameStore,
    manifest: pd.DataFrame,
    rejected: pd.DataFrame,
    classifier: SemClassifier,
    params: SemAdditivesParams,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predict every crop of the new electrodes; a frame that cannot be used gets a reason."""
    from ncm_kedro.sem.inference.additives import name_conditions, predict_new_electrodes

    predictions, aside = predict_new_electrodes(
        frames, manifest, name_conditions(raw), classifier, params
    )
    columns = ["file", "reason"]
    return predictions, pd.concat([rejected[columns], aside[columns]], ignore_index=True)


def report_additives(
    *,
    predictions: pd.DataFrame,
    rejections: pd.DataFrame,
    frames: FrameStore,
    classifier: SemClassifier,
    reference_frames: FrameStore | None,
    reference_crops: pd.DataFrame | None,
    reference_predictions: pd.DataFrame | None,
    params: SemAdditivesParams,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Figure]]:
    """Score every condition beside what is known without it, and show where the network looks."""
    from ncm_kedro.plotting.sem.additives import (
        plot_additive_accuracy,
        plot_additive_maps,
        plot_probability_profiles,
    )
    from ncm_kedro.sem.inference.additive_scores import (
        list_additive_metrics,
        map_pairs,
        report_conditions,
    )
    from ncm_kedro.sem.inference.additives import match_reference

    known, problem = match_reference(
        classifier, reference_frames, reference_crops, reference_predictions, params.device
    )
    report = report_conditions(
        predictions,
        rejections,
        None if known is None else known.predictions,
        classifier.settings,
        params,
    ) | {"reference_problem": problem}
    figures = {
        "accuracy.png": plot_additive_accuracy(report),
        "profiles.png": plot_probability_profiles(report),
        "maps.png": plot_additive_maps(map_pairs(predictions, frames, known, classifier, params)),
    }
    return report, list_additive_metrics(report), figures
