"""Frames to the requested studies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.datasets.frames.store import FrameStore
from ncm_kedro.params.crop_augment import CropParams
from ncm_kedro.params.sem_studies import SemStudiesParams, StudyName

Reports = dict[str, dict[str, Any]]
Study = tuple[dict[str, pd.DataFrame], Reports, dict[str, Figure]]


def make_study(name: StudyName) -> Callable[..., Study]:
    """Return the node function of one study; its results are none where it is not requested."""

    def run(
        *,
        frames: FrameStore,
        manifest: pd.DataFrame,
        folder: Path,
        study: str,
        crops: CropParams,
        params: SemStudiesParams,
    ) -> Study:
        """Train and score its points, finished ones are cached, and log it."""
        from ncm_kedro.pipelines.sem_studies.tracking import log_study
        from ncm_kedro.plotting.sem.studies import plot_study
        from ncm_kedro.sem.experiments.fits import StudyContext
        from ncm_kedro.sem.experiments.studies import choose_studies, plan_study
        from ncm_kedro.sem.experiments.study_crops import StudyFrames
        from ncm_kedro.sem.experiments.study_scores import run_study

        if name not in choose_studies(study):
            return {}, {}, {}
        work = StudyContext(StudyFrames(frames, manifest), crops, params, folder)
        table, report = run_study(work, plan_study(name, manifest, crops, params))
        figure = plot_study(report)
        log_study(report, table, figure)
        return {name: table}, {name: report}, {name: figure}

    return run


def gather_sem_studies(**studies: Reports) -> Reports:
    """Join the reports of this run; those of earlier runs stay where they are."""
    return {name: report for found in studies.values() for name, report in found.items()}
