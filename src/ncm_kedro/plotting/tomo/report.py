"""The report page of the tomography pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.params.tomo_segment import TomoReviewParams
from ncm_kedro.plotting.report import list_rows, render_page
from ncm_kedro.plotting.style import LabelArray
from ncm_kedro.plotting.tomo.cuts import (
    LabelSolid,
    SectionCut,
    coarsen_labels,
    cut_orthogonal,
)
from ncm_kedro.plotting.tomo.scores import TRUTH, plot_segmentation_scores
from ncm_kedro.plotting.tomo.sections import (
    plot_methods,
    plot_orthogonal,
    plot_sizes,
    plot_solids,
    weighted_median,
)
from ncm_kedro.tomo.instances.merging import DEBRIS_MAX
from ncm_kedro.tomo.review.review import rank_suspects
from ncm_kedro.tomo.volumes.volume import CUBES, PARTICLE_UM, Volume

Comparison = tuple[SectionCut, Mapping[str, LabelArray]]

_CORNER = 0.5
_SUSPECT_COLUMNS = (
    "rank", "particle_id", "reasons", "doubt", "disagreement", "probability",
    "equivalent_diameter_um", "z_um", "y_um", "x_um",
)  # fmt: skip


@dataclass(frozen=True)
class SampleView:
    """What the page shows of a sample, read out of its volumes.

    Attributes
    ----------
    sample
        Name.
    facts
        Metadata of the sample and its run: ``shape_zyx``, ``voxel_size_um``, ``dtype``
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
    """Read what the page shows of a sample; coarse levels and planes alone."""
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


def draw_samples(samples: Sequence[SampleView]) -> dict[str, Figure]:
    """Draw the sections and the solids of every sample, and the size distributions.

    Returns
    -------
    dict
        ``<sample>_sections.png`` and ``<sample>_solids.png``, and ``sizes.png`` unless there is no
        sample.
    """
    figures: dict[str, Figure] = {}
    for view in samples:
        border = view.particles.loc[view.particles["touches_border"], "particle_id"]
        figures[f"{view.sample}_sections.png"] = plot_orthogonal(
            view.cuts, title=view.sample, border_ids=border.astype(int).tolist()
        )
        figures[f"{view.sample}_solids.png"] = plot_solids(
            view.solid, title=f"{view.sample}: {len(view.particles)} particles", cut=_CORNER
        )
    if samples:
        figures["sizes.png"] = plot_sizes({view.sample: view.particles for view in samples})
    return figures


def render_tomo_report(
    *,
    samples: Sequence[SampleView],
    figures: Mapping[str, Figure],
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
    figures
        What `draw_samples` made of them.
    detector
        Metadata of the detector; shown as it is. ``name`` and ``fingerprint`` are expected;
        ``trained_on`` (text), ``phantoms_only`` (bool), ``particle_px``, ``diameter_range_px``
        (smallest and largest diameter that it was trained on) add to the caveats.
    rejected
        ``file, reason`` of each input that was rejected; may be empty.
    scores
        A row per sample and method against ground-truth labels, where there are any.
    comparisons
        Sections of a sample with the labels of several methods; the method ``truth`` is overlaid
        over the others.
    review
        Limits of what is suspect.
    """
    limits = review or TomoReviewParams()
    known = scores if scores is not None else pd.DataFrame()
    return render_page(
        "tomo.html.j2",
        samples=[
            {
                **_describe_sample(view, limits, detector.get("diameter_range_px")),
                "sections": figures[f"{view.sample}_sections.png"],
                "solids": figures[f"{view.sample}_solids.png"],
            }
            for view in samples
        ],
        detector=detector,
        rejected=rejected,
        scores=list_rows(known),
        score_heads=[str(name).replace("_", " ") for name in known],
        scores_figure=plot_segmentation_scores(known) if len(known) else None,
        limits=limits,
        plausible_um=PARTICLE_UM,
        sizes=figures.get("sizes.png"),
        comparisons={
            name: {"truth": TRUTH in rows[0][1], "image": plot_methods(rows, truth=TRUTH)}
            for name, rows in (comparisons or {}).items()
            if rows
        },
    )  # fmt: skip


def _describe_sample(
    view: SampleView, limits: TomoReviewParams, range_px: Sequence[float] | None
) -> dict[str, Any]:
    """Gather what the page states of a sample."""
    particles, facts = view.particles, view.facts
    border = particles["touches_border"].to_numpy(dtype=bool)
    diameter_um = particles["equivalent_diameter_um"].to_numpy(dtype=np.float64)[~border]
    volume_um3 = particles["volume_um3"].to_numpy(dtype=np.float64)
    edge_um = facts.get("detection_voxel_um")
    range_um = None if range_px is None or edge_um is None else np.array(range_px) * edge_um
    outside = None
    if range_um is not None and len(diameter_um):
        outside = np.mean((diameter_um < range_um[0]) | (diameter_um > range_um[1]))
    median_um = (
        weighted_median(diameter_um, np.ones_like(diameter_um)) if len(diameter_um) else None
    )
    all_um = particles["equivalent_diameter_um"].to_numpy(dtype=np.float64)
    typical_um = float(np.median(all_um)) if len(all_um) else None
    low_um, high_um = PARTICLE_UM
    imaged_um3 = float(np.prod(facts["shape_zyx"], dtype=np.float64))
    imaged_um3 *= float(np.prod(facts["voxel_size_um"]))
    imaged_um3 *= float(facts.get("field_of_view_fraction") or 1.0)
    some, debris = len(particles) > 0, facts.get("debris", 0)
    return {
        "name": view.sample,
        "facts": facts,
        "n_particles": len(particles),
        "unsure": debris > DEBRIS_MAX * (debris + len(particles)),
        "n_complete": int((~border).sum()),
        "border_fraction": border.mean() if some else 0.0,
        "border_volume_fraction": volume_um3[border].sum() / volume_um3.sum() if some else 0.0,
        "disagreement": np.average(particles["disagreement"], weights=volume_um3) if some else 0.0,
        "range_um": range_um,
        "out_of_range": outside,
        "median_diameter_um": median_um,
        "typical_diameter_um": typical_um,
        "implausible": typical_um is not None and not low_um <= typical_um <= high_um,
        "assumed_cubes": CUBES in str(facts.get("voxel_size_source")),
        "volume_fraction": volume_um3.sum() / max(imaged_um3, 1e-12),
        "suspects": rank_suspects(particles, limits)[list(_SUSPECT_COLUMNS)],
    }
