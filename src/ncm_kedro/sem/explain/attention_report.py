"""What maps of many crops say together, ready for JSON and MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.learning.explain.attention import (
    BoundaryScores,
    divide,
    draw_ratios,
    find_interval,
    pool_p_value,
    resample_ratio,
)
from ncm_kedro.learning.explain.gradcam_check import CascadeStep
from ncm_kedro.params.sem_explain import AttentionParams
from ncm_kedro.sem.explain.crops import RANDOM

OnOff = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Mean attribution on the boundary and off it, (N,) each, in units of the crop's mean."""


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

    Parameters
    ----------
    scores
        Scores of N crops.
    chosen
        The N crops.
    params
        Resamples, confidence, seed.

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
    steps
        Result of `compare_cascade`.
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
    """Return the pooled numbers of a report for MLflow; what is not defined is left out."""
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
    draws = [draw_ratios(*pairs[name], areas, params) for name in ("ratio", "control")]
    return {
        "value": pooled["ratio"]["value"] / pooled["control"]["value"],
        **find_interval(divide(*draws), params),
    }


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
