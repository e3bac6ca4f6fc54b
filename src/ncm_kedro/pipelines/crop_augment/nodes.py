"""From the manifest to the crop table, and to the crops in memory."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.datasets.frames.store import FrameStore
from ncm_kedro.params.crop_augment import CropParams
from ncm_kedro.sem.crops.crop_set import CropSet


def plan_sem_crops(
    manifest: pd.DataFrame, audit: dict[str, Any], params: CropParams
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Place crops and share them out among the splits, unless a class has lost all its frames."""
    from ncm_kedro.sem.audit.usage import require_classes
    from ncm_kedro.sem.crops.crops import plan_crops

    require_classes(audit)
    return plan_crops(manifest, params)


def draw_sem_crops(manifest: pd.DataFrame, crops: pd.DataFrame) -> dict[str, Figure]:
    """Draw where the crops of each split lie in the mosaics."""
    from ncm_kedro.plotting.sem.audit import plot_mosaic_splits

    return {"splits.png": plot_mosaic_splits(manifest, crops)}


def join_sem_crops(frames: FrameStore, crops: pd.DataFrame, manifest: pd.DataFrame) -> CropSet:
    """Join frames and crops, with the classes, areas and splits of the crops."""
    from ncm_kedro.sem.crops.crop_set import build_crop_set

    return build_crop_set(frames, crops, manifest)
