"""Crops to the transfer study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.params.sem_studies import HoldOutKind, SemTransferParams
from ncm_kedro.sem.crops.crop_set import CropSet

HoldOuts = dict[str, Any]


def make_hold_outs(kind: HoldOutKind) -> Callable[..., HoldOuts]:
    """Return the node function of one kind of hold-out."""

    def hold_out(
        *, crop_set: CropSet, manifest: pd.DataFrame, folder: Path, params: SemTransferParams
    ) -> HoldOuts:
        """Hold each group out in turn; finished trainings are cached."""
        from ncm_kedro.sem.experiments.hold_outs import list_crops
        from ncm_kedro.sem.experiments.transfer import TransferContext, run_hold_outs

        work = TransferContext(crop_set, list_crops(crop_set, manifest), params, folder)
        return run_hold_outs(work, kind)

    return hold_out


def report_sem_transfer(
    crop_report: dict[str, Any], params: SemTransferParams, **hold_outs: HoldOuts
) -> tuple[pd.DataFrame, dict[str, Any], dict[str, Any], dict[str, Figure]]:
    """Set what was held out beside what was not."""
    from ncm_kedro.plotting.sem.additives import plot_transfer
    from ncm_kedro.sem.experiments.transfer import list_transfer_metrics, report_transfer

    parts = [hold_outs[kind] for kind in params.kinds]
    table, report = report_transfer(parts, params, leaking=crop_report["leaking"])
    figures = {"scores.png": plot_transfer(report)}
    return table, report, list_transfer_metrics(report), figures
