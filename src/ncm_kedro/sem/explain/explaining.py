"""Maps of chosen crops, and how much of them lies on particle boundaries."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.learning.explain.attention import (
    blur_to_cells,
    score_boundaries,
    score_other_maps,
    score_plainly,
)
from ncm_kedro.learning.explain.gradcam import GRAD_CAM, GUIDED, MAP_KINDS, AttributionMaps
from ncm_kedro.learning.explain.gradcam_check import CascadeStep, compare_cascade, shuffle_all
from ncm_kedro.learning.models.classifier import SemClassifier, build_network
from ncm_kedro.params.sem_explain import AttentionParams, SemExplainParams
from ncm_kedro.sem.explain.attention_report import MapScores, evaluate_cascade, pool_scores
from ncm_kedro.sem.explain.crops import BETWEEN, BOUNDARY, INSIDE, RANDOM, CropInputs

REGIONS = {"boundary": BOUNDARY, "inside": INSIDE, "between": BETWEEN}

_LOG = logging.getLogger(__name__)

PREFIXES = {GRAD_CAM: "cam", GUIDED: "guided"}


@dataclass(frozen=True)
class ExplainedCrops:
    """Chosen crops with their maps and scores.

    Attributes
    ----------
    table
        A row per explained crop; see `explain_chosen_crops`.
    inputs, maps
        The crops, and the maps of their targets.
    regions_nyx
        (N, P, P) particles, ground between them and boundaries; see `mark_regions`.
    report
        What the maps say about boundaries, ready for JSON.
    """

    table: pd.DataFrame
    inputs: CropInputs
    maps: AttributionMaps
    regions_nyx: NDArray[np.uint8]
    report: dict[str, Any]


def explain_chosen_crops(
    inputs: CropInputs, chosen: pd.DataFrame, classifier: SemClassifier, params: SemExplainParams
) -> ExplainedCrops:
    """Map chosen crops and score their maps on particle boundaries.

    Parameters
    ----------
    inputs, chosen
        Results of `load_inputs` and `choose_crops`.
    classifier
        What is explained.
    params
        Settings.

    Returns
    -------
    ExplainedCrops
        Its table adds to ``chosen``: `boundary_fraction` (of the crop's area) and, for Grad-CAM
        (`cam`) and guided Grad-CAM (`guided`), `<map>_ratio` (mean on boundaries over mean off),
        `<map>_control` (the same map placed at random), `<map>_p` (share of placements that lie on
        boundaries as much), `<map>_untrained` (ratio of the network with shuffled weights),
        `cam_ceiling` (ratio of the boundary itself at the map's resolution) and `<map>_boundary`,
        `<map>_inside`, `<map>_between` (mean in each region, in units of the crop's mean). Null
        where a map is empty or a crop has no such region.
    """
    network = build_network(classifier)
    maps = inputs.explain(network, params)
    untrained = inputs.explain(shuffle_all(network, seed=params.attention.seed), params)
    regions = inputs.mark_regions(params.boundary)
    table = chosen.assign(boundary_fraction=(regions == BOUNDARY).mean(axis=(1, 2)))
    report = _describe(table, inputs, params)
    for kind in MAP_KINDS:
        cell_px = maps.cell_px if kind == GRAD_CAM else 1.0
        scores = _score_kind(
            maps.list_strengths()[kind],
            untrained.list_strengths()[kind],
            regions,
            chosen,
            cell_px=cell_px,
            params=params.attention,
        )
        table = table.assign(**scores.list_columns(PREFIXES[kind]))
        pooled = pool_scores(scores, chosen, params.attention)
        report["maps"][kind] = pooled | {"cell_um": cell_px * inputs.pixel_size_um}
    return ExplainedCrops(table, inputs, maps, regions, report)


def check_maps(
    inputs: CropInputs, chosen: pd.DataFrame, classifier: SemClassifier, params: SemExplainParams
) -> tuple[list[CascadeStep], dict[str, Any]]:
    """Compare the maps of a few crops with those of a network that forgets layer by layer.

    Parameters
    ----------
    inputs, chosen
        Results of `load_inputs` and `choose_crops`.
    classifier
        What is explained.
    params
        Settings.

    Returns
    -------
    steps, report
        The cascade, and its verdict by kind of map, ready for JSON.
    """
    rows = np.flatnonzero((chosen["kind"] == RANDOM).to_numpy())
    picked = rows[np.unique(np.linspace(0, len(rows) - 1, params.check.crops).round().astype(int))]
    some = inputs.select(picked)
    steps = compare_cascade(
        build_network(classifier),
        lambda network: some.explain(network, params).list_strengths(),
        seed=params.attention.seed,
    )
    report = evaluate_cascade(steps, params.check.max_correlation)
    for kind, found in report["maps"].items():
        if found["warning"]:
            _LOG.warning("%s: %s", kind, found["warning"])
    return steps, report | {"crops": len(picked)}


def _score_kind(
    strength_nyx: NDArray[np.float32],
    untrained_nyx: NDArray[np.float32],
    regions_nyx: NDArray[np.uint8],
    chosen: pd.DataFrame,
    *,
    cell_px: float,
    params: AttentionParams,
) -> MapScores:
    masks = regions_nyx == BOUNDARY
    drawn = (chosen["kind"] == RANDOM).to_numpy()
    areas = chosen["area"].tolist()
    plain = {"untrained": score_plainly(untrained_nyx, masks)}
    if cell_px > 1.0:
        plain["ceiling"] = score_plainly(blur_to_cells(masks, cell_px), masks)
    return MapScores(
        placed=score_boundaries(strength_nyx, masks, areas, params),
        plain=plain,
        other_crops=score_other_maps(
            strength_nyx[drawn], masks[drawn], chosen["area"][drawn].tolist()
        ),
        regions={
            name: score_plainly(strength_nyx, regions_nyx == region)[0]
            for name, region in REGIONS.items()
        },
    )


def _describe(table: pd.DataFrame, inputs: CropInputs, params: SemExplainParams) -> dict[str, Any]:
    drawn = table[table["kind"] == RANDOM]
    return {
        "crops": len(drawn),
        "areas": int(drawn["area"].nunique()),
        "boundary_fraction": float(drawn["boundary_fraction"].mean()),
        "without_boundary": int((drawn["boundary_fraction"] == 0.0).sum()),
        "band_um": params.boundary.band_um,
        "pixel_size_um": inputs.pixel_size_um,
        "weighting": params.weighting,
        "confidence": params.attention.confidence,
        "crops_by_kind": {str(k): int(n) for k, n in table["kind"].value_counts().items()},
        "maps": {},
    }
