"""From the manifest to the crop table."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.params.crop_augment import CropParams


def plan_sem_crops(
    manifest: pd.DataFrame, params: CropParams
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Place crops and share them out among the splits."""
    from ncm_kedro.sem.crops.crops import plan_crops

    return plan_crops(manifest, params)


def draw_sem_crops(manifest: pd.DataFrame, crops: pd.DataFrame) -> Figure:
    """Draw where the crops of each split lie in the mosaics."""
    from ncm_kedro.plotting.sem.audit import plot_mosaic_splits

    return plot_mosaic_splits(manifest, crops)
