"""Frames to the studies that were asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.datasets.frames.store import FrameStore
from ncm_kedro.params.crop_augment import CropParams
from ncm_kedro.params.sem_studies import SemStudiesParams


def run_sem_studies(
    *,
    frames: FrameStore,
    manifest: pd.DataFrame,
    folder: Path,
    study: str,
    crops: CropParams,
    params: SemStudiesParams,
) -> tuple[dict[str, pd.DataFrame], dict[str, dict[str, Any]], dict[str, Figure]]:
    """Run studies one after the other; each is logged as soon as it is done."""
    from ncm_kedro.pipelines.sem_studies.tracking import log_study
    from ncm_kedro.plotting.sem.studies import plot_study
    from ncm_kedro.sem.experiments.fits import StudyContext
    from ncm_kedro.sem.experiments.studies import choose_studies, plan_study
    from ncm_kedro.sem.experiments.study_crops import StudyFrames
    from ncm_kedro.sem.experiments.study_scores import run_study

    names = choose_studies(study)
    work = StudyContext(StudyFrames(frames, manifest), crops, params, folder)
    tables: dict[str, pd.DataFrame] = {}
    reports: dict[str, dict[str, Any]] = {}
    figures: dict[str, Figure] = {}
    for name in names:
        plan = plan_study(name, manifest, crops, params)
        tables[name], reports[name] = run_study(work, plan)
        figures[name] = plot_study(reports[name])
        log_study(reports[name], tables[name], figures[name])
    return tables, reports, figures
