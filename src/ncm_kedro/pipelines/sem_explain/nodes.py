"""Choosing test crops, mapping the evidence for their classes, checking the maps."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.datasets.frames.store import FrameStore
from ncm_kedro.learning.models.classifier import SemClassifier
from ncm_kedro.params.sem_explain import SemExplainParams


def choose_sem_crops(predictions: pd.DataFrame, params: SemExplainParams) -> pd.DataFrame:
    """Choose the test crops to explain."""
    from ncm_kedro.sem.explain.crops import choose_crops

    return choose_crops(predictions, params.choice)


def explain_sem_crops(
    *,
    frames: FrameStore,
    crops: pd.DataFrame,
    predictions: pd.DataFrame,
    chosen: pd.DataFrame,
    classifier: SemClassifier,
    params: SemExplainParams,
) -> tuple[pd.DataFrame, dict[str, Any], dict[str, Any], dict[str, Figure]]:
    """Map the chosen crops and score their maps on particle boundaries."""
    from ncm_kedro.plotting.sem.attention import plot_boundaries
    from ncm_kedro.plotting.sem.explain import plot_class_maps, plot_error_maps, plot_kind_maps
    from ncm_kedro.sem.explain.attention import explain_chosen_crops, list_attention_metrics
    from ncm_kedro.sem.explain.crops import load_inputs

    inputs = load_inputs(frames, crops, classifier, chosen)
    explained = explain_chosen_crops(inputs, chosen, classifier, params)
    figures = {
        "classes.png": plot_class_maps(explained, classifier.settings),
        "kinds.png": plot_kind_maps(explained),
        "errors.png": plot_error_maps(explained, classifier.settings, predictions),
        "boundaries.png": plot_boundaries(explained),
    }
    return explained.table, explained.report, list_attention_metrics(explained.report), figures


def check_sem_maps(
    frames: FrameStore,
    crops: pd.DataFrame,
    chosen: pd.DataFrame,
    classifier: SemClassifier,
    params: SemExplainParams,
) -> tuple[dict[str, Any], dict[str, Figure]]:
    """Check that the maps change when the network forgets what it has learnt."""
    from ncm_kedro.plotting.sem.attention import plot_cascade
    from ncm_kedro.sem.explain.attention import check_maps
    from ncm_kedro.sem.explain.crops import load_inputs

    inputs = load_inputs(frames, crops, classifier, chosen)
    steps, report = check_maps(inputs, chosen, classifier, params)
    return report, {"sanity.png": plot_cascade(steps, report)}
