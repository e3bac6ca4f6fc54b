"""Pearson correlations, and those of attributes with damage (Fig. S11 of Li et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from ncm_kedro.damage.grouping import take_values
from ncm_kedro.errors import SettingsError, TableError
from ncm_kedro.params.damage_attribution import DamageCorrelationParams
from ncm_kedro.particles.statistics import adjust_discoveries

FloatArray = NDArray[np.float64]

SAMPLE_COLUMNS = ("sample", "attribute", "particles", "draw_size", "r", "r_mean", "r_sd")
DIFFERENCE_COLUMNS = (
    "sample_a", "sample_b", "attribute", "difference_mean", "difference_sd", "difference",
    "difference_low", "difference_high", "p_value", "q_value",
)  # fmt: skip

INDEPENDENCE_CAVEAT = (
    "The p-values take particles as independent of each other, which neighbours are not; the "
    "intervals draw whole blocks of neighbours. Subsamples of one sample share most of their "
    "particles: their deviation is that of the drawing, not that of another electrode."
)

_MIN_BLOCKS = 5
_MIN_PARTICLES = 10


@dataclass(frozen=True)
class DamageCorrelations:
    """Correlations of attributes with damage.

    Attributes
    ----------
    by_sample
        `SAMPLE_COLUMNS`, a row per sample and attribute: ``r`` of all particles, mean and standard
        deviation over the subsamples.
    differences
        `DIFFERENCE_COLUMNS`, a row per two consecutive samples and attribute (b minus a): mean and
        standard deviation over pairs of subsamples; the difference of all particles with its
        interval from blocks; p-value and false-discovery rate over the attributes of the pair.
        ``attrs["caveat"]`` holds `INDEPENDENCE_CAVEAT`.
    """

    by_sample: pd.DataFrame
    differences: pd.DataFrame


def correlate_columns(values_nk: FloatArray) -> FloatArray:
    """Return Pearson's r between every two columns, (K, K); NaN where a column does not vary.

    Parameters
    ----------
    values_nk
        (N, K).
    """
    if len(values_nk) < 2:
        return np.full((values_nk.shape[1],) * 2, np.nan)
    centred = values_nk - values_nk.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    flat = length <= 1e-9 * np.sqrt(len(values_nk)) * np.abs(values_nk).max(axis=0)
    length[flat] = np.nan
    unit = centred / length
    r: FloatArray = np.clip(unit.T @ unit, -1.0, 1.0)
    return r


def find_p_values(r: FloatArray, count: int) -> FloatArray:
    """Return the two-sided p-value of Pearson's r against 0, by Student's t; NaN stays.

    Parameters
    ----------
    r
        Correlations, any shape.
    count
        Independent rows that each was taken over; fewer than 4 have no p-value.
    """
    if count < 4:
        return np.full(np.shape(r), np.nan)
    with np.errstate(divide="ignore"):
        t = np.abs(r) * np.sqrt((count - 2) / (1.0 - r**2))
    p_value: FloatArray = 2.0 * stats.t.sf(t, count - 2)
    return p_value


def correlate_damage(
    rows: pd.DataFrame,
    names: Sequence[str],
    params: DamageCorrelationParams,
    *,
    target: str = "damage",
) -> DamageCorrelations:
    """Correlate every attribute with damage in each sample, and compare consecutive samples.

    Each subsample draws ``draw_size`` particles without replacement, or
    ``subsample_fraction`` of the
    particles where there are fewer. Intervals of differences come from drawing blocks with
    replacement; the p-value compares two correlations after Fisher's transformation (1921).

    Parameters
    ----------
    rows
        A row per particle: ``sample, block``, target and attributes; samples in the order in
        which they follow each other. Blocks are spatial, their labels unique within a sample.

    Raises
    ------
    SettingsError
        If the target is among the attributes.
    TableError
        If a column cannot be computed with, there is no ``block``, or a sample has fewer than 10
        particles.
    """
    if target in names:
        raise SettingsError(
            "names",
            found=f"the target {target!r} among the attributes",
            expected="other attributes alone",
            action="remove it",
        )
    values = take_values(rows, [target, *names])
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    groups = _group_samples(rows)
    draws = {
        sample: _draw_correlations(values[places], params, number)
        for number, (sample, places) in enumerate(groups.items())
    }
    by_sample = [
        _describe_sample(sample, names, values[places], draws[sample], params)
        for sample, places in groups.items()
    ]
    blocks = rows["block"].to_numpy()
    resampled = {
        sample: _resample_blocks(values[places], blocks[places], params, number)
        for number, (sample, places) in enumerate(groups.items())
    }
    differences = [
        _describe_difference(
            pair, names, {sample: values[groups[sample]] for sample in pair}, draws, resampled,
            confidence=params.confidence,
        )
        for pair in pairwise(groups)
    ]  # fmt: skip
    compared = (
        pd.concat(differences, ignore_index=True)
        if differences
        else pd.DataFrame(columns=list(DIFFERENCE_COLUMNS))
    )
    compared.attrs["caveat"] = INDEPENDENCE_CAVEAT
    return DamageCorrelations(pd.concat(by_sample, ignore_index=True), compared)


def _group_samples(rows: pd.DataFrame) -> dict[str, NDArray[np.intp]]:
    if "block" not in rows.columns or rows["block"].isna().any():
        raise TableError(
            "particle table",
            found="particles without a block",
            expected="a column `block` with the spatial block of every particle",
            action="assign blocks before correlations are compared",
        )
    samples = rows["sample"].to_numpy()
    groups = {str(sample): np.flatnonzero(samples == sample) for sample in pd.unique(samples)}
    for sample, places in groups.items():
        if len(places) < _MIN_PARTICLES:
            raise TableError(
                f"sample {sample}",
                found=f"{len(places)} usable particles",
                expected=f"at least {_MIN_PARTICLES}",
                action="leave the sample out, or give more particles",
            )
    return groups


def _correlate_first(values: FloatArray) -> FloatArray:
    """Correlation of the first column with each other one."""
    return correlate_columns(values)[0, 1:]


def _find_draw_size(count: int, params: DamageCorrelationParams) -> int:
    return min(params.draw_size, int(params.subsample_fraction * count))


def _draw_correlations(
    values: FloatArray, params: DamageCorrelationParams, number: int
) -> FloatArray:
    """Correlations of each subsample, (draws, K)."""
    rng = np.random.default_rng([params.seed, number, 0])
    size = _find_draw_size(len(values), params)
    return np.stack(
        [
            _correlate_first(values[rng.choice(len(values), size, replace=False)])
            for _ in range(params.draws)
        ]
    )


def _resample_blocks(
    values: FloatArray, blocks: NDArray[np.generic], params: DamageCorrelationParams, number: int
) -> FloatArray:
    """Correlations of particles whose blocks were drawn with replacement, (resamples, K).

    They follow from the blocks' sums, so that the cost does not grow with the particles.
    """
    labels, places = np.unique(blocks, return_inverse=True)
    if len(labels) < _MIN_BLOCKS:
        return np.full((params.resamples, values.shape[1] - 1), np.nan)
    y, x = values[:, :1], values[:, 1:]
    terms = np.concatenate([np.ones_like(y), y, y**2, x, x**2, x * y], axis=1)
    sums = np.zeros((len(labels), terms.shape[1]))
    np.add.at(sums, places, terms)
    rng = np.random.default_rng([params.seed, number, 1])
    share = np.full(len(labels), 1.0 / len(labels))
    total = rng.multinomial(len(labels), share, size=params.resamples) @ sums
    means = total[:, 1:] / total[:, :1]
    y1, y2 = means[:, :1], means[:, 1:2]
    x1, x2, xy = np.split(means[:, 2:], 3, axis=1)
    spread = (y2 - y1**2) * (x2 - x1**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, (xy - x1 * y1) / np.sqrt(spread), np.nan)


def _describe_sample(
    sample: str,
    names: Sequence[str],
    values: FloatArray,
    draws: FloatArray,
    params: DamageCorrelationParams,
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sample": sample, "attribute": list(names), "particles": len(values),
            "draw_size": _find_draw_size(len(values), params), "r": _correlate_first(values),
            "r_mean": draws.mean(axis=0), "r_sd": draws.std(axis=0, ddof=1),
        }
    )  # fmt: skip


def _describe_difference(
    pair: tuple[str, str],
    names: Sequence[str],
    values: Mapping[str, FloatArray],
    draws: Mapping[str, FloatArray],
    resampled: Mapping[str, FloatArray],
    *,
    confidence: float,
) -> pd.DataFrame:
    a, b = pair
    drawn = draws[b] - draws[a]
    first, second = _correlate_first(values[a]), _correlate_first(values[b])
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(resampled[b] - resampled[a], [tail, 1.0 - tail], axis=0)
    p_values = _compare_fisher(first, second, len(values[a]), len(values[b]))
    return pd.DataFrame(
        {
            "sample_a": a, "sample_b": b, "attribute": list(names),
            "difference_mean": drawn.mean(axis=0), "difference_sd": drawn.std(axis=0, ddof=1),
            "difference": second - first, "difference_low": low, "difference_high": high,
            "p_value": p_values, "q_value": adjust_discoveries(p_values),
        }
    )  # fmt: skip


def _compare_fisher(first: FloatArray, second: FloatArray, n_a: int, n_b: int) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.arctanh(second) - np.arctanh(first)
    p_value: FloatArray = 2.0 * special.ndtr(
        -np.abs(shift) / np.sqrt(1 / (n_a - 3) + 1 / (n_b - 3))
    )
    return p_value
