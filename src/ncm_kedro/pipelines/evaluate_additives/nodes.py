"""New electrodes to predictions, scores and maps."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.datasets.frames.store import FrameStore
from ncm_kedro.learning.models.classifier import SemClassifier
from ncm_kedro.params.sem_classify import SemAdditivesParams
from ncm_kedro.params.sem_ingest import MosaicParams
from ncm_kedro.sem.io.frames import RawFrames


def require_additive_classes(manifest: pd.DataFrame, rejected: pd.DataFrame) -> None:
    """End the run if a condition has lost all its frames."""
    from ncm_kedro.sem.audit.usage import describe_usage, require_classes

    require_classes(describe_usage(manifest, rejected))


def find_trained_regions(
    *,
    frames: FrameStore,
    manifest: pd.DataFrame,
    classifier: SemClassifier,
    reference_frames: FrameStore | None,
    reference_manifest: pd.DataFrame | None,
    reference_crops: pd.DataFrame | None,
    mosaic: MosaicParams,
) -> dict[str, Any]:
    """Find frames that show a region of the frames that the classifier was trained on."""
    from ncm_kedro.sem.inference.trained_regions import find_trained_regions

    return find_trained_regions(
        frames,
        manifest,
        classifier.settings,
        trained_frames=reference_frames,
        trained_manifest=reference_manifest,
        crops=reference_crops,
        params=mosaic,
    )


def predict_additives(
    *,
    raw: RawFrames,
    frames: FrameStore,
    manifest: pd.DataFrame,
    rejected: pd.DataFrame,
    trained_regions: dict[str, Any],
    classifier: SemClassifier,
    params: SemAdditivesParams,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predict every crop of the new electrodes; a frame that cannot be used gets a reason."""
    from ncm_kedro.sem.inference.additives import name_conditions, predict_new_electrodes

    trained = {view["frame_id"]: view["reason"] for view in trained_regions["views"]}
    predictions, aside = predict_new_electrodes(
        frames, manifest, name_conditions(raw), classifier, params, trained=trained
    )
    columns = ["file", "reason"]
    return predictions, pd.concat([rejected[columns], aside[columns]], ignore_index=True)


def report_additives(
    *,
    predictions: pd.DataFrame,
    rejections: pd.DataFrame,
    trained_regions: dict[str, Any],
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
        trained_regions=trained_regions,
    ) | {"reference_problem": problem}
    figures = {
        "accuracy.png": plot_additive_accuracy(report),
        "profiles.png": plot_probability_profiles(report),
        "maps.png": plot_additive_maps(map_pairs(predictions, frames, known, classifier, params)),
    }
    return report, list_additive_metrics(report), figures
