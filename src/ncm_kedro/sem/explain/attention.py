"""Attribution maps of chosen crops, and how much of them lies on particle boundaries."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.learning.evaluation.metrics import bound_draws, note_few_areas
from ncm_kedro.learning.explain.gradcam import compare_cascade, shuffle_all
from ncm_kedro.learning.explain.maps import (
    GRAD_CAM,
    GUIDED,
    MAP_KINDS,
    AttributionMaps,
    BoundaryScores,
    CascadeStep,
    blur_to_cells,
    divide,
    draw_ratios,
    pool_p_value,
    resample_ratio,
    score_boundaries,
    score_other_maps,
    score_plainly,
)
from ncm_kedro.learning.models.classifier import SemClassifier
from ncm_kedro.learning.models.predict import build_network
from ncm_kedro.params.sem_explain import AttentionParams, SemExplainParams
from ncm_kedro.sem.explain.crops import BETWEEN, BOUNDARY, INSIDE, RANDOM, CropInputs

REGIONS = {"boundary": BOUNDARY, "inside": INSIDE, "between": BETWEEN}
_LOG = logging.getLogger(__name__)
PREFIXES = {GRAD_CAM: "cam", GUIDED: "guided"}
OnOff = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Mean attribution on the boundary and off it, (N,) each, in units of the crop's mean."""


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
        (N, P, P) particles, background between them and boundaries; see `mark_regions`.
    report
        Attention to boundaries, ready for JSON.
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

    Returns
    -------
    ExplainedCrops
        Its table adds to ``chosen``: `boundary_fraction` (of the crop's area) and, for Grad-CAM
        (`cam`) and guided Grad-CAM (`guided`), `<map>_ratio` (mean on boundaries over mean off),
        `<map>_control` (the same map placed at random), `<map>_p` (fraction of placements that
        lie on boundaries as much), `<map>_untrained` (ratio of the network with shuffled weights),
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
    """Compare the maps of a few crops with those of a network that forgets layer by layer."""
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
        "notes": note_few_areas(drawn["area"].nunique()),
        "crops_by_kind": {str(k): int(n) for k, n in table["kind"].value_counts().items()},
        "maps": {},
    }


@dataclass(frozen=True)
class MapScores:
    """Scores of one kind of map on N crops.

    Attributes
    ----------
    placed
        The maps as they are and placed at random.
    plain
        Maps that are shown beside, by name: those of the `untrained` network and, for coarse maps,
        the `ceiling`, which is the boundary itself at the map's resolution.
    other_crops
        The maps of other areas' crops, on the crops drawn at random only.
    regions
        (N,) mean attribution in each region, in units of the crop's mean, by name.
    """

    placed: BoundaryScores
    plain: Mapping[str, OnOff]
    other_crops: OnOff
    regions: Mapping[str, NDArray[np.float64]]

    def list_columns(self, prefix: str) -> dict[str, NDArray[np.float64]]:
        """Return what the table shows, (N,) each, by column."""
        return {
            f"{prefix}_ratio": self.placed.ratio,
            f"{prefix}_control": self.placed.control,
            f"{prefix}_p": self.placed.p_value,
            **{f"{prefix}_{name}": divide(on, off) for name, (on, off) in self.plain.items()},
            **{f"{prefix}_{name}": values for name, values in self.regions.items()},
        }


def pool_scores(scores: MapScores, chosen: pd.DataFrame, params: AttentionParams) -> dict[str, Any]:
    """Pool the scores of one kind of map over the crops that were drawn at random.

    The other crops are extremes of their class: they only get a ratio per kind.

    Returns
    -------
    dict
        `ratio`, `control` (random placements), `other_crops`, `untrained`, `ceiling` (coarse maps
        only) and `excess` (ratio over control), each with `value`, `low`, `high`; the same for each
        of `regions`, `by_class` and `by_kind`; `p`; `empty_maps` (a count).
    """
    mine = (chosen["kind"] == RANDOM).to_numpy()
    areas = chosen["area"][mine].tolist()
    drawn = scores.placed.select(mine)
    pairs: dict[str, OnOff] = {
        "ratio": (drawn.on, drawn.off),
        "control": (drawn.placed_on.mean(axis=1), drawn.placed_off.mean(axis=1)),
        "other_crops": scores.other_crops,
        **{name: (on[mine], off[mine]) for name, (on, off) in scores.plain.items()},
    }
    pooled: dict[str, Any] = {
        name: resample_ratio(on, off, areas, params) for name, (on, off) in pairs.items()
    }
    pooled["excess"] = _compare(pooled, pairs, areas, params)
    pooled["p"] = pool_p_value(drawn)
    pooled["empty_maps"] = int(np.isnan(drawn.on).sum())
    pooled["regions"] = {
        name: resample_ratio(values[mine], np.ones(len(areas)), areas, params)
        for name, values in scores.regions.items()
    }
    pooled["by_class"] = _pool_groups(scores.placed, chosen, "class", mine, params)
    first = (chosen["target_rank"] == 1).to_numpy()
    pooled["by_kind"] = _pool_groups(scores.placed, chosen, "kind", first, params)
    return pooled


def evaluate_cascade(steps: list[CascadeStep], max_correlation: float) -> dict[str, Any]:
    """Return mean correlations step by step, and a warning for maps that hardly change.

    Parameters
    ----------
    max_correlation
        Mean correlation after the last step from which a map counts as unchanged.
    """
    report: dict[str, Any] = {
        "layers": [step.layer for step in steps],
        "max_correlation": max_correlation,
        "maps": {},
    }
    for kind in steps[-1].correlations:
        means = [_mean_or_none(step.correlations[kind]) for step in steps]
        last = steps[-1].correlations[kind]
        changed = means[-1] is None or means[-1] < max_correlation
        report["maps"][kind] = {
            "correlations": means,
            "empty_fraction": float(np.isnan(last).mean()),
            "changed": changed,
            "warning": None
            if changed
            else f"with all weights shuffled the map still correlates by {means[-1]:.2f} with the "
            "trained network's: it shows the image more than what was learnt",
        }
    return report


def list_attention_metrics(report: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return the pooled numbers of a report for MLflow; undefined ones are omitted."""
    metrics = {}
    for kind, found in report["maps"].items():
        for name in ("ratio", "control", "excess", "untrained"):
            metrics[f"{kind}.{name}"] = found[name]["value"]
            metrics[f"{kind}.{name}.low"] = found[name]["low"]
            metrics[f"{kind}.{name}.high"] = found[name]["high"]
        metrics[f"{kind}.p"] = found["p"]
    return {k: {"value": v, "step": 0} for k, v in metrics.items() if v is not None}


def _compare(
    pooled: Mapping[str, Any],
    pairs: Mapping[str, OnOff],
    areas: list[str],
    params: AttentionParams,
) -> dict[str, float | None]:
    """Ratio over control; both see the same resamples."""
    if pooled["ratio"]["value"] is None:
        return {"value": None, "low": None, "high": None}
    drawn = [draw_ratios(*pairs[name], areas, params) for name in ("ratio", "control")]
    (ratios, n_areas), (controls, _) = drawn
    low, high = bound_draws(divide(ratios, controls), n_areas, params.resampling)
    value = pooled["ratio"]["value"] / pooled["control"]["value"]
    return {"value": value, "low": low, "high": high}


def _pool_groups(
    placed: BoundaryScores,
    chosen: pd.DataFrame,
    column: str,
    kept: NDArray[np.bool_],
    params: AttentionParams,
) -> dict[str, dict[str, float | None]]:
    groups = {}
    for name in chosen[column][kept].unique():
        rows = kept & (chosen[column] == name).to_numpy()
        areas = chosen["area"][rows].tolist()
        groups[str(name)] = resample_ratio(placed.on[rows], placed.off[rows], areas, params)
    return groups


def _mean_or_none(values: NDArray[np.float64]) -> float | None:
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else None
