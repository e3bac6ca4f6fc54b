"""Projects for napari, and the edits that come back."""

from __future__ import annotations

from functools import partial

import pandas as pd

from ncm_kedro.params.tomo_segment import TomoComputeParams, TomoReviewParams
from ncm_kedro.tomo.review.edits import EditedLabels
from ncm_kedro.tomo.review.review import ReviewProject
from ncm_kedro.tomo.volumes.volume import PlanMaker, VolumePlan, Volumes


def import_edits(
    labels: Volumes,
    table: pd.DataFrame,
    edits: dict[str, EditedLabels],
    compute: TomoComputeParams,
) -> tuple[dict[str, VolumePlan | PlanMaker], pd.DataFrame]:
    """Plan a new version of every sample's labels that was edited, and log the changes."""
    from ncm_kedro.contracts.tomo import ReviewLog
    from ncm_kedro.errors import Rejections
    from ncm_kedro.tomo.review.edits import apply_edits
    from ncm_kedro.tomo.volumes.volume import list_samples

    changed, rejections = {}, Rejections()
    for name in list_samples(table, labels, edits):
        with rejections.catch(name, edits[name].path):
            changed[name] = apply_edits(labels[name], edits[name], compute)
    logs = [log for _, log in changed.values() if len(log)]
    log = pd.concat(logs, ignore_index=True) if logs else ReviewLog.empty()
    plans: dict[str, VolumePlan | PlanMaker] = {name: plan for name, (plan, _) in changed.items()}
    plans |= {name: partial(rejections.fail, name) for name in rejections}
    return plans, log


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
    from ncm_kedro.tomo.volumes.identity import MADE_FROM, check_belongs
    from ncm_kedro.tomo.volumes.volume import list_samples

    listed, failed = (particles.attrs.get(name, {}) for name in (MADE_FROM, "rejections"))
    projects = []
    for name in list_samples(table, labels):
        if name in failed:
            continue
        check_belongs("tomo_particles", {"labels": listed.get(name)}, labels=labels[name])
        rows = particles[particles["sample"] == name].reset_index(drop=True)
        projects.append(plan_review(tomograms[name], probability[name], labels[name], rows, review))
    return projects
