"""From raw tomograms to labelled particles, their scores and the report."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.datasets.tomograms.phantoms import TomogramTruth
from ncm_kedro.datasets.tomograms.raw import RawTomograms
from ncm_kedro.params.tomo_segment import (
    TomoComputeParams,
    TomoFusionParams,
    TomoInstanceParams,
    TomoReviewParams,
    TomoScoringParams,
    TomoVolumeParams,
)
from ncm_kedro.tomo.detector.detector import Detector
from ncm_kedro.tomo.volumes.volume import PlanMaker, VolumePlan, Volumes

if TYPE_CHECKING:
    from ncm_kedro.errors import Rejections
    from ncm_kedro.plotting.tomo.report import SampleView


def ingest_tomograms(
    raw: RawTomograms, reconstructed: Volumes, volumes: TomoVolumeParams, compute: TomoComputeParams
) -> dict[str, PlanMaker]:
    """Plan the copy of every tomogram, the user's and those from scans, into OME-Zarr volumes."""
    from ncm_kedro.datasets.tomograms.raw import add_reconstructed
    from ncm_kedro.tomo.volumes.ingest import plan_tomogram

    every = add_reconstructed(raw, reconstructed)
    return {name: partial(plan_tomogram, every[name], volumes, compute) for name in every}


def tabulate_samples(raw: RawTomograms, reconstructed: Volumes, tomograms: Volumes) -> pd.DataFrame:
    """List the samples of this run, also those that were rejected."""
    from ncm_kedro.datasets.tomograms.raw import add_reconstructed
    from ncm_kedro.tomo.volumes.volume import tabulate_tomograms

    every = add_reconstructed(raw, reconstructed)
    return tabulate_tomograms(every, tomograms, every.rejected)


def fuse_directions(
    tomograms: Volumes,
    table: pd.DataFrame,
    detector: Detector,
    fusion: TomoFusionParams,
    compute: TomoComputeParams,
) -> dict[str, PlanMaker]:
    """Plan each sample's particle probability, fused from sections in three directions."""
    from ncm_kedro.tomo.fusion.fusion import plan_probability
    from ncm_kedro.tomo.volumes.volume import list_samples

    def plan(name: str) -> VolumePlan:
        return plan_probability(tomograms.take(name), detector, fusion, compute)

    return {name: partial(plan, name) for name in list_samples(table)}


def label_particles(
    tomograms: Volumes,
    table: pd.DataFrame,
    probability: Volumes,
    instances: TomoInstanceParams,
    compute: TomoComputeParams,
) -> dict[str, PlanMaker]:
    """Plan each sample's labels."""
    from ncm_kedro.tomo.instances.instances import plan_labels
    from ncm_kedro.tomo.volumes.volume import list_samples

    def plan(name: str) -> VolumePlan:
        return plan_labels(tomograms.take(name), probability.take(name), instances, compute)

    return {name: partial(plan, name) for name in list_samples(table)}


def list_labelled_particles(
    tomograms: Volumes,
    table: pd.DataFrame,
    probability: Volumes,
    labels: Volumes,
    compute: TomoComputeParams,
) -> pd.DataFrame:
    """List the particles of all samples; the table's ``attrs`` say what each was made from."""
    from ncm_kedro.errors import Rejections
    from ncm_kedro.tomo.instances.particle_list import list_particles
    from ncm_kedro.tomo.volumes.identity import MADE_FROM
    from ncm_kedro.tomo.volumes.volume import list_samples

    tables, rejections = {}, Rejections()
    names = list_samples(table, labels)
    for name in names:
        with rejections.catch(name, labels[name].path):
            made = list_particles(labels[name], tomograms[name], probability[name], compute)
            tables[name] = made.assign(sample=name)
    rejections.check_left(len(names))
    joined = pd.concat(tables.values(), ignore_index=True)
    joined.attrs[MADE_FROM] = {name: labels[name].fingerprint for name in tables}
    joined.attrs["rejections"] = rejections.reasons
    return joined[["sample", *joined.columns.drop("sample")]]


def label_by_baselines(
    *,
    tomograms: Volumes,
    table: pd.DataFrame,
    probability: Volumes,
    labels: Volumes,
    truth: TomogramTruth,
    detector: Detector,
    instances: TomoInstanceParams,
    scoring: TomoScoringParams,
    compute: TomoComputeParams,
) -> list[VolumePlan]:
    """Plan what other methods make of the samples whose truth is known."""
    from ncm_kedro.tomo.scoring.methods import plan_baseline_methods
    from ncm_kedro.tomo.volumes.volume import list_samples

    return [
        plan
        for name in list_samples(table, labels, truth)
        for plan in plan_baseline_methods(
            tomograms[name],
            probability[name],
            detector,
            instances=instances,
            scoring=scoring,
            compute=compute,
        )
    ]


def score_methods(
    *,
    table: pd.DataFrame,
    labels: Volumes,
    baseline_labels: Volumes,
    truth: TomogramTruth,
    scoring: TomoScoringParams,
) -> tuple[pd.DataFrame, dict[str, dict[str, float]]]:
    """Score every method on the samples whose truth is known; a wrong truth costs itself alone."""
    from ncm_kedro.errors import Rejections
    from ncm_kedro.tomo.scoring.methods import score_samples
    from ncm_kedro.tomo.volumes.volume import list_samples

    parts, rejections = [], Rejections()
    for name in list_samples(table, labels, truth):
        with rejections.catch(name, f"known labels of {name}"):
            parts.append(score_samples([name], labels, baseline_labels, truth, scoring))
    none = score_samples([], labels, baseline_labels, truth, scoring)
    scores = pd.concat(parts, ignore_index=True) if parts else none
    scores.attrs["rejections"] = rejections.reasons
    metrics = {
        f"{row['sample']}.{row['method']}.{name}": {"value": float(row[name]), "step": 0}
        for row in scores.to_dict("records")
        for name in ("ap_50", "ap_70", "ap_90", "panoptic_quality")
        if pd.notna(row[name])
    }
    return scores, metrics


def write_tomo_report(
    *,
    tomograms: Volumes,
    table: pd.DataFrame,
    probability: Volumes,
    labels: Volumes,
    baseline_labels: Volumes,
    particles: pd.DataFrame,
    scores: pd.DataFrame,
    truth: TomogramTruth,
    detector: Detector,
    review: TomoReviewParams,
) -> tuple[dict[str, Figure], str]:
    """Draw every sample once, and write the page that a user opens first."""
    from ncm_kedro.plotting.tomo.report import draw_samples, render_tomo_report
    from ncm_kedro.plotting.tomo.scores import compare_sections
    from ncm_kedro.tomo.detector.detector import describe_detector
    from ncm_kedro.tomo.scoring.methods import select_methods
    from ncm_kedro.tomo.volumes.volume import list_rejections, list_samples

    views, unseen = _view_samples(tomograms, table, probability, labels, particles)
    later = [one.attrs.get("rejections", {}) for one in (particles, scores)]
    figures = draw_samples(views)
    page = render_tomo_report(
        samples=views,
        figures=figures,
        detector=describe_detector(detector),
        rejected=list_rejections(table, labels.rejections, *later, unseen.reasons),
        scores=scores,
        comparisons={
            name: compare_sections(
                tomograms[name], select_methods(name, labels, baseline_labels), truth[name]
            )
            for name in list_samples(table, labels, truth)
            if name in set(scores["sample"])
        },
        review=review,
    )
    return figures, page


def _view_samples(
    tomograms: Volumes,
    table: pd.DataFrame,
    probability: Volumes,
    labels: Volumes,
    particles: pd.DataFrame,
) -> tuple[list[SampleView], Rejections]:
    """Read what the page shows of the samples whose particles are listed."""
    from ncm_kedro.errors import Rejections
    from ncm_kedro.plotting.tomo.report import view_sample
    from ncm_kedro.tomo.volumes.identity import MADE_FROM, check_belongs
    from ncm_kedro.tomo.volumes.volume import list_samples

    views, rejections = [], Rejections()
    listed = particles.attrs.get(MADE_FROM, {})
    failed = particles.attrs.get("rejections", {})
    warnings = table.set_index("sample")["warnings"].dropna().to_dict()
    names = [name for name in list_samples(table, labels) if name not in failed]
    for name in names:
        with rejections.catch(name, labels[name].path):
            made_from = labels[name].attributes.get(MADE_FROM)
            check_belongs(labels[name].path, made_from,
                          tomogram=tomograms[name], probability=probability[name])  # fmt: skip
            check_belongs("tomo_particles", {"labels": listed.get(name)}, labels=labels[name])
            rows = particles[particles["sample"] == name].reset_index(drop=True)
            view = view_sample(tomograms[name], probability[name], labels[name], rows)
            views.append(replace(view, facts={**view.facts, "warnings": warnings.get(name)}))
    rejections.check_left(len(names))
    return views, rejections
