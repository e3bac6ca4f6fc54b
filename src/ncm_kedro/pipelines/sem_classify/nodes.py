"""Unseen frames to a table and a sheet to look at."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.learning.models.classifier import SemClassifier
from ncm_kedro.params.sem_classify import ClassifyParams
from ncm_kedro.params.sem_ingest import ReadingParams
from ncm_kedro.sem.io.frames import RawFrames


def classify_sem_frames(
    raw: RawFrames, classifier: SemClassifier, reading: ReadingParams, params: ClassifyParams
) -> tuple[pd.DataFrame, Figure]:
    """Classify every frame of a folder; one that cannot be read gets a reason, the others go on."""
    from ncm_kedro.plotting.sem.classify import plot_overlay_sheet
    from ncm_kedro.sem.inference.classify import classify_folder

    table, shown = classify_folder(raw, classifier, reading, params)
    return table, plot_overlay_sheet(shown, classifier.settings.classes)
