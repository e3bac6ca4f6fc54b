"""The report page of the tomography pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ncm_kedro.params.tomo_segment import TomoReviewParams
from ncm_kedro.plotting.report import Section, render_report
from ncm_kedro.plotting.style import LabelArray
from ncm_kedro.plotting.tomo.caveats import list_caveats
from ncm_kedro.plotting.tomo.cuts import (
    LabelSolid,
    SectionCut,
    coarsen_labels,
    cut_orthogonal,
)
from ncm_kedro.plotting.tomo.scores import plot_segmentation_scores
from ncm_kedro.plotting.tomo.sections import (
    plot_methods,
    plot_orthogonal,
    plot_sizes,
    plot_solids,
    weighted_median,
)
from ncm_kedro.tomo.review.review import rank_suspects
from ncm_kedro.tomo.volumes.volume import Volume

Comparison = tuple[SectionCut, Mapping[str, LabelArray]]

_CORNER = 0.5
_SUSPECT_SHOWN = 12
_SUSPECT_COLUMNS = (
    "rank", "particle_id", "reasons", "doubt", "disagreement", "probability",
    "equivalent_diameter_um", "z_um", "y_um", "x_um",
)  # fmt: skip
_SCORE_CAPTION = (
    "Scores against the known labels. AP = TP / (TP + FP + FN) at an intersection over union of "
    "0.5, 0.7 and 0.9; panoptic quality at 0.5; distances between matched surfaces"
)


@dataclass(frozen=True)
class SampleView:
    """What the page shows of a sample, read out of its volumes.

    Attributes
    ----------
    sample
        Name.
    facts
        What is known about the sample and its run: ``shape_zyx``, ``voxel_size_um``, ``dtype``
        and the attributes of its volumes.
    cuts
        Sections through the centre.
    solid
        Coarse labels.
    particles
        Particle list.
    """

    sample: str
    facts: Mapping[str, Any]
    cuts: tuple[SectionCut, ...]
    solid: LabelSolid
    particles: pd.DataFrame


def view_sample(
    image: Volume, probability: Volume, labels: Volume, particles: pd.DataFrame
) -> SampleView:
    """Read what the page shows of a sample; coarse levels and planes alone.

    Parameters
    ----------
    image, probability, labels
        Volumes of the sample.
    particles
        Its particle list.
    """
    facts = {
        **image.attributes,
        **probability.attributes,
        **labels.attributes,
        "shape_zyx": image.shape_zyx,
        "voxel_size_um": image.voxel_size_um,
        "dtype": str(image.array.dtype),
    }
    return SampleView(
        sample=image.name,
        facts=facts,
        cuts=cut_orthogonal(image, labels=labels, probability=probability),
        solid=coarsen_labels(labels, cut=_CORNER),
        particles=particles,
    )


def render_tomo_report(
    *,
    samples: Sequence[SampleView],
    detector: Mapping[str, Any],
    rejected: pd.DataFrame,
    scores: pd.DataFrame | None = None,
    comparisons: Mapping[str, Sequence[Comparison]] | None = None,
    review: TomoReviewParams | None = None,
) -> str:
    """Render what the tomography pipeline found as one self-contained HTML page.

    Parameters
    ----------
    samples
        What `view_sample` returned for each sample.
    detector
        What is known of the detector; shown as it is. ``name`` and ``fingerprint`` are expected;
        ``trained_on`` (text), ``phantoms_only`` (bool), ``particle_px``, ``diameter_range_px``
        (smallest and largest diameter that it was trained on) add to the caveats.
    rejected
        ``file, reason`` of each input that was set aside; may be empty.
    scores
        A row per sample and method against known labels, where there are any.
    comparisons
        Sections of a sample with the labels of several methods; the method ``truth`` is laid
        over the others.
    review
        Limits of what is suspect.
    """
    total = sum(len(view.particles) for view in samples)
    whole = sum(int((~view.particles["touches_border"]).sum()) for view in samples)
    summary = (
        f"{len(samples)} tomogram{'s' * (len(samples) != 1)} with {total} particles, {whole} of "
        f"them whole; {len(rejected)} input{'s' * (len(rejected) != 1)} set aside. Detector: "
        f"{detector.get('name', 'unknown')} ({detector.get('fingerprint', 'no fingerprint')})."
    )
    limits = review or TomoReviewParams()
    return render_report(
        "From a stack to labelled particles",
        summary,
        [
            _describe_run(samples, detector, rejected),
            *([] if scores is None or scores.empty else [_describe_scores(scores)]),
            *(_describe_sample(view, limits) for view in samples),
            *([_describe_sizes(samples)] if samples else []),
            *(_describe_methods(name, rows) for name, rows in (comparisons or {}).items() if rows),
            _describe_next_steps(samples),
        ],
    )


def _describe_run(
    samples: Sequence[SampleView], detector: Mapping[str, Any], rejected: pd.DataFrame
) -> Section:
    rows = [_tabulate_sample(view) for view in samples]
    facts = pd.DataFrame(
        [{"detector": key, "value": _say(value)} for key, value in detector.items()]
    )
    tables = [("Samples", pd.DataFrame(rows)), ("The detector that was used", facts)]
    if len(rejected):
        tables.append(("Inputs that were set aside, and why", rejected))
    warnings = [
        f"{view.sample}: {caveat}"
        for view in samples
        for caveat in list_caveats(view.facts, view.particles, detector)
    ]
    if detector.get("phantoms_only"):
        warnings.insert(
            0,
            "The detector was trained on synthetic sections alone. It has seen no real tomogram: "
            "look at the outlines below before you use a number, and train it further on sections "
            "of your own (tomo_train) where they are wrong.",
        )
    return Section(
        "What was run",
        warnings=warnings,
        tables=[(caption, table) for caption, table in tables if not table.empty],
    )


def _tabulate_sample(view: SampleView) -> dict[str, Any]:
    particles, facts = view.particles, view.facts
    border = particles["touches_border"].to_numpy(dtype=bool)
    size = particles["equivalent_diameter_um"].to_numpy(dtype=np.float64)[~border]
    diameter = weighted_median(size, np.ones_like(size)) if len(size) else None
    edge = facts.get("detection_voxel_um")
    return {
        "sample": view.sample,
        "voxels (z, y, x)": " x ".join(str(n) for n in facts["shape_zyx"]),
        "voxel / µm (z, y, x)": " x ".join(f"{size:.4g}" for size in facts["voxel_size_um"]),
        "type": facts["dtype"],
        "working voxel / µm": None if edge is None else f"{edge:.4g}",
        "cycles": facts.get("cycles"),
        "C-rate": facts.get("c_rate"),
        "particles": len(particles),
        "whole": int((~border).sum()),
        "cut by the border": int(border.sum()),
        "median diameter / µm (whole)": diameter,
        "share of volume": _fill_share(view),
    }


def _fill_share(view: SampleView) -> float:
    voxels = float(np.prod(view.facts["shape_zyx"], dtype=np.float64))
    whole_um3 = voxels * float(np.prod(view.facts["voxel_size_um"]))
    inside = float(view.facts.get("field_of_view_fraction") or 1.0)
    return float(view.particles["volume_um3"].sum()) / max(whole_um3 * inside, 1e-12)


def _describe_scores(scores: pd.DataFrame) -> Section:
    return Section(
        "Scores against the known labels",
        text=[
            "These samples come with known labels. A score on phantoms says how well the method "
            "works on phantoms; on your material it can be lower."
        ],
        tables=[(_SCORE_CAPTION, scores.rename(columns=lambda name: name.replace("_", " ")))],
        figures=[("Methods beside each other", plot_segmentation_scores(scores))],
    )


def _describe_sample(view: SampleView, limits: TomoReviewParams) -> Section:
    particles = view.particles
    border = particles.loc[particles["touches_border"].astype(bool), "particle_id"]
    suspect = rank_suspects(particles, limits)
    shown = suspect.head(_SUSPECT_SHOWN)[list(_SUSPECT_COLUMNS)]
    text = [
        f"{len(particles)} particles, {len(border)} cut by the border of the volume or of the "
        f"field of view, {len(suspect)} suspect (limits: disagreement from "
        f"{limits.max_disagreement:g}, probability below {limits.min_probability:g}, diameter "
        f"{limits.max_size_factor:g} times the median or its inverse)."
    ]
    return Section(
        f"Sample {view.sample}",
        text=text,
        tables=[("The most suspect particles; tomo_review lists all", shown)]
        if len(shown)
        else [],
        figures=[
            (
                "Sections through the centre. Left: grey values. Middle: outlines of the labels, "
                "dashed where the border cuts the particle, cracks and voids red. Right: fused "
                "probability",
                plot_orthogonal(
                    view.cuts, title=view.sample, border_ids=[int(number) for number in border]
                ),
            ),
            (
                "The particles in 3D at a coarse resolution, a corner cut away; cracks and voids "
                "dark red. Colours tell particles apart and mean nothing else",
                plot_solids(view.solid, title=f"{view.sample}: {len(particles)} particles",
                            cut=_CORNER),
            ),
        ],
    )  # fmt: skip


def _describe_sizes(samples: Sequence[SampleView]) -> Section:
    return Section(
        "Particle sizes",
        text=[
            "Diameter of the ball of the same volume, cracks and voids filled. Particles that the "
            "border cuts are shown hatched; they are smaller than they were, and large particles "
            "are cut more often, so that whole particles alone make the median too small."
        ],
        figures=[
            (
                "Size distribution by number (left) and by volume (right)",
                plot_sizes({view.sample: view.particles for view in samples}),
            )
        ],
    )


def _describe_methods(sample: str, rows: Sequence[Comparison]) -> Section:
    truth = "truth" if "truth" in rows[0][1] else None
    over = "; the truth is laid over in white" if truth else ""
    return Section(
        f"Methods on the same sections: {sample}",
        figures=[
            (f"Outlines and number of particles by method{over}", plot_methods(rows, truth=truth))
        ],
    )


def _describe_next_steps(samples: Sequence[SampleView]) -> Section:
    name = samples[0].sample if samples else "<sample>"
    return Section(
        "How to go on",
        text=[
            "Correct labels by hand: kedro run --pipeline tomo_review writes a project for each "
            f"sample; start it with python data/08_reporting/tomo/review/{name}/"
            "open_in_napari.py, save, and run the pipeline again to take the edits back.",
            "Teach the detector your material: put sections with their masks under data/01_raw/ "
            "and run kedro run --pipeline tomo_train.",
            "Measure the particles: kedro run --pipeline particle_features.",
        ],
    )


def _say(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_say(part) for part in value)
    return str(value)
