"""Summary of the repeats: importance with intervals, ranks, p-values; differences; scores."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ncm_kedro.damage.explaining import Explained
from ncm_kedro.damage.resampling import AttributionProblem, Repeated
from ncm_kedro.params.damage_attribution import AttributionParams
from ncm_kedro.particles.statistics import adjust_discoveries

FloatArray = NDArray[np.float64]

NOISE = "pure noise"
IMPORTANCE_COLUMNS = (
    "sample", "group", "members", "kind", "mean_abs_shap", "explained", "explained_low",
    "explained_high", "rank", "rank_low", "rank_high", "p_value", "q_value", "direction",
    "significant",
)  # fmt: skip


def tabulate_importance(
    problem: AttributionProblem,
    found: Repeated,
    labels: Sequence[str],
    members: Sequence[str],
    params: AttributionParams,
) -> pd.DataFrame:
    """Tabulate what each group of attributes of a sample explains, largest first.

    Parameters
    ----------
    members
        Attributes of each group, with commas.
    params
        Level of intervals and of false discovery.

    Returns
    -------
    DataFrame
        `IMPORTANCE_COLUMNS`. ``explained``: part of the out-of-sample R2, mean over the repeats;
        its interval is that of the block bootstrap, moved onto that mean (forests on drawn blocks
        see fewer particles). ``mean_abs_shap``: mean absolute SHAP value in units of damage.
        ``rank_low, rank_high``: interval of the rank among the groups. ``p_value``: the larger
        of two fractions, this one counted: of permutations of damage whose part is at least as
        large, and of bootstraps (as moved) whose part is not above 0. Permutations alone would
        mistake noise for a finding where other groups explain damage, as forests then leave
        noise alone and its part is nearer to 0 than in forests that have nothing else. ``q_value``:
        after Benjamini and Hochberg (1995). ``direction``: rank correlation of the SHAP values of
        the group's first attribute with its values. The row of kind ``noise`` is a column of pure
        noise that every forest was given.
    """
    worth = _mean([each.share_r2() for each in found.repeats])
    sizes = _mean([np.abs(each.shap[0]).mean(axis=0) for each in found.repeats])
    draws = centre_draws(found.bootstrap_bg, worth)
    low, high = find_interval(draws, params.confidence)
    ranks = _rank(draws[:, :-1])
    rank_low, rank_high = find_interval(ranks, params.confidence, "nearest")
    p_values = np.maximum(_count_share(found.permuted_pg >= worth), _count_share(draws <= 0))
    table = pd.DataFrame(
        {
            "sample": problem.sample,
            "group": [*labels, NOISE],
            "members": [*members, ""],
            "kind": [*["group"] * len(labels), "noise"],
            "mean_abs_shap": sizes,
            "explained": worth, "explained_low": low, "explained_high": high,
            "rank": [*_rank(worth[None, :-1])[0], np.nan],
            "rank_low": [*rank_low, np.nan], "rank_high": [*rank_high, np.nan],
            "p_value": p_values,
            "q_value": [*adjust_discoveries(p_values[:-1]), np.nan],
            "direction": [*(_find_direction(problem, found, group[0]) for group in problem.groups),
                          np.nan],
        }
    )  # fmt: skip
    table["significant"] = table["q_value"] <= params.false_discovery
    ordered = table.sort_values(["kind", "rank"], kind="stable", ignore_index=True)
    return ordered[list(IMPORTANCE_COLUMNS)]


def tabulate_attributes_alone(
    problem: AttributionProblem, found: Repeated, names: Sequence[str]
) -> pd.DataFrame:
    """Tabulate what each attribute explains when it is a player of its own.

    Returns
    -------
    DataFrame
        ``sample, attribute, mean_abs_shap, explained, direction``, in the order of ``names``.
    """
    worth = _mean([each.share_r2(1) for each in found.repeats])[:-1]
    sizes = _mean([np.abs(each.shap[1]).mean(axis=0) for each in found.repeats])[:-1]
    direction = [_find_direction(problem, found, column) for column in range(len(names))]
    return pd.DataFrame(
        {
            "sample": problem.sample, "attribute": list(names), "mean_abs_shap": sizes,
            "explained": worth, "direction": direction,
        }
    )  # fmt: skip


def tabulate_ranks(
    problem: AttributionProblem, found: Repeated, labels: Sequence[str]
) -> pd.DataFrame:
    """Tabulate the groups' ranks with attributes moved within their uncertainty.

    Returns
    -------
    DataFrame
        ``sample, group, draw, rank, explained``; empty where no uncertainty is known.
    """
    parts = found.perturbed_ug[:, :-1]
    if not problem.uncertainty_np.any():
        parts = parts[:0]
    draws, groups = parts.shape
    return pd.DataFrame(
        {
            "sample": pd.Series([problem.sample] * parts.size, dtype="str"),
            "group": pd.Series(list(labels) * draws, dtype="str"),
            "draw": np.repeat(np.arange(draws), groups),
            "rank": _rank(parts).ravel(),
            "explained": parts.ravel(),
        }
    )


def compare_importance(
    found: Sequence[tuple[str, Repeated]], labels: Sequence[str], params: AttributionParams
) -> pd.DataFrame:
    """Compare what groups explain between each two consecutive samples.

    Parameters
    ----------
    found
        Repeats by sample, in the order of cycles.

    Returns
    -------
    DataFrame
        ``sample_a, sample_b, group, difference, low, high, p_value, q_value``: b minus a in parts
        of R2, interval and two-sided p-value by the block bootstraps of both.
    """
    parts = []
    for (first, a), (second, b) in pairwise(found):
        worth_a, worth_b = (_mean([e.share_r2() for e in each.repeats]) for each in (a, b))
        draws = centre_draws(b.bootstrap_bg, worth_b) - centre_draws(a.bootstrap_bg, worth_a)
        low, high = find_interval(draws, params.confidence)
        beyond = np.minimum((draws <= 0).sum(axis=0), (draws >= 0).sum(axis=0))
        p_values = np.minimum(2.0 * (1.0 + beyond) / (1.0 + len(draws)), 1.0)[:-1]
        parts.append(
            pd.DataFrame(
                {
                    "sample_a": first, "sample_b": second, "group": list(labels),
                    "difference": (worth_b - worth_a)[:-1], "low": low[:-1], "high": high[:-1],
                    "p_value": p_values, "q_value": adjust_discoveries(p_values),
                }
            )
        )  # fmt: skip
    columns = ["sample_a", "sample_b", "group", "difference", "low", "high", "p_value", "q_value"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def tabulate_scores(
    problem: AttributionProblem,
    found: Repeated,
    params: AttributionParams,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Score the forest beside a linear model and the mean, out of sample.

    Parameters
    ----------
    params
        Level and number of the bootstraps.
    rng
        Source of the bootstraps of blocks.

    Returns
    -------
    DataFrame
        ``sample, model, r2, r2_low, r2_high, mae, mae_low, mae_high, p_value, explains``: R2
        against the mean of the training particles, mean absolute error in units of damage, with
        the interval over drawn blocks; ``p_value`` of the forest's R2 by permuted damage;
        ``explains``: the forest's interval lies above 0 and its p-value is small.
    """
    base = _mean([each.base for each in found.repeats])
    answers = {
        "forest": np.array([each.prediction for each in found.repeats]),
        "linear": found.linear_rn,
        "mean": base[None, :],
    }
    blocks, inverse = np.unique(problem.blocks, return_inverse=True)
    drawn = rng.integers(0, len(blocks), (params.bootstraps, len(blocks)))
    missed = np.abs(problem.damage - base)
    rows = []
    for model, answer in answers.items():
        error = np.abs(problem.damage - answer)
        sums = np.array(
            [
                np.bincount(inverse, each)
                for each in ((error**2).mean(axis=0), missed**2, error.mean(axis=0),
                             np.ones_like(missed))
            ]
        )  # fmt: skip
        mine = _score(sums.sum(axis=1)[:, None])
        low, high = find_interval(_score(sums[:, drawn].sum(axis=2)).T, params.confidence)
        rows.append(
            {
                "sample": problem.sample, "model": model,
                "r2": mine[0, 0], "r2_low": low[0], "r2_high": high[0],
                "mae": mine[1, 0], "mae_low": low[1], "mae_high": high[1],
                "p_value": np.nan, "explains": False,
            }
        )  # fmt: skip
    beaten = int((found.permuted_r2 >= rows[0]["r2"]).sum())
    rows[0]["p_value"] = (1.0 + beaten) / (1.0 + len(found.permuted_r2))
    rows[0]["explains"] = bool(
        rows[0]["r2_low"] > 0 and rows[0]["p_value"] <= params.false_discovery
    )
    return pd.DataFrame(rows)


def centre_draws(draws_bg: FloatArray, worth: FloatArray) -> FloatArray:
    """Move draws, (B, G), so that their medians are the given values, (G,)."""
    return draws_bg + (worth - np.median(draws_bg, axis=0))


def find_interval(
    draws_bg: FloatArray, confidence: float, method: Any = "linear"
) -> tuple[FloatArray, FloatArray]:
    """Return the limits that hold the central fraction of the draws, (G,) each."""
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(draws_bg, [tail, 1.0 - tail], axis=0, method=method)
    return low, high


def _count_share(marks_bg: NDArray[np.bool_]) -> FloatArray:
    """Fraction of marks in each column, (G,), one more counted than there are."""
    shares: FloatArray = (1.0 + marks_bg.sum(axis=0)) / (1.0 + len(marks_bg))
    return shares


def _score(sums: FloatArray) -> FloatArray:
    """R2 and mean absolute error of sums of squared error, squared miss, error, particles."""
    return np.array([1.0 - sums[0] / np.maximum(sums[1], 1e-300), sums[2] / sums[3]])


def _mean(arrays: Sequence[FloatArray]) -> FloatArray:
    averaged: FloatArray = np.mean(arrays, axis=0)
    return averaged


def _rank(worth_bg: FloatArray) -> FloatArray:
    """1 for the largest of each row."""
    ranks: FloatArray = stats.rankdata(-worth_bg, axis=1, method="ordinal").astype(np.float64)
    return ranks


def _find_direction(problem: AttributionProblem, found: Repeated, column: int) -> float:
    values = problem.values_np[:, column]
    shap = average_shap(found.repeats, 1)[:, column]
    if np.ptp(values) == 0 or np.ptp(shap) == 0:
        return 0.0
    return float(stats.spearmanr(values, shap).statistic)


def average_shap(repeats: Sequence[Explained], players: int) -> FloatArray:
    """Return the mean SHAP values over repeats, (N, players)."""
    return _mean([each.shap[players] for each in repeats])
