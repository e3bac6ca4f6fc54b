"""Crops to the transfer study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.datasets.frames.store import FrameStore
from ncm_kedro.params.sem_studies import SemTransferParams


def study_sem_transfer(
    *,
    frames: FrameStore,
    crops: pd.DataFrame,
    manifest: pd.DataFrame,
    crop_report: dict[str, Any],
    folder: Path,
    params: SemTransferParams,
) -> tuple[pd.DataFrame, dict[str, Any], dict[str, Any], Figure]:
    """Leave states, compositions and sessions out in turn; finished trainings are kept."""
    from ncm_kedro.plotting.sem.additives import plot_transfer
    from ncm_kedro.sem.crops.crop_set import build_crop_set
    from ncm_kedro.sem.experiments.transfer import (
        TransferContext,
        list_crops,
        list_transfer_metrics,
        run_transfer_study,
    )

    crop_set = build_crop_set(frames, crops, manifest)
    work = TransferContext(crop_set, list_crops(crop_set, manifest), params, folder)
    table, report = run_transfer_study(work, leaking=crop_report["leaking"])
    return table, report, list_transfer_metrics(report), plot_transfer(report)
