"""Projects for napari, and the edits that come back."""

from __future__ import annotations

import pandas as pd

from ncm_kedro.params.tomo_segment import TomoComputeParams, TomoReviewParams
from ncm_kedro.tomo.review.edits import EditedLabels
from ncm_kedro.tomo.review.review import ReviewProject
from ncm_kedro.tomo.volumes.volume import VolumePlan, Volumes


def import_edits(
    labels: Volumes,
    table: pd.DataFrame,
    edits: dict[str, EditedLabels],
    compute: TomoComputeParams,
) -> tuple[list[VolumePlan], pd.DataFrame]:
    """Plan a new version of every sample's labels that was edited, and log the changes."""
    from ncm_kedro.contracts.tomo import ReviewLog
    from ncm_kedro.tomo.review.edits import apply_edits
    from ncm_kedro.tomo.volumes.volume import list_samples

    changed = [
        apply_edits(labels[name], edits[name], compute)
        for name in list_samples(table)
        if name in edits
    ]
    logs = [log for _, log in changed if len(log)]
    log = pd.concat(logs, ignore_index=True) if logs else ReviewLog.empty()
    return [plan for plan, _ in changed], log


def plan_projects(
    *,
    tomograms: Volumes,
    table: pd.DataFrame,
    probability: Volumes,
    labels: Volumes,
    particles: pd.DataFrame,
    review: TomoReviewParams,
) -> list[ReviewProject]:
    """Choose what a person shall look at in each sample."""
    from ncm_kedro.tomo.review.review import plan_review
    from ncm_kedro.tomo.volumes.volume import list_samples

    return [
        plan_review(
            tomograms[name],
            probability[name],
            labels[name],
            particles[particles["sample"] == name].reset_index(drop=True),
            review,
        )
        for name in list_samples(table)
    ]
