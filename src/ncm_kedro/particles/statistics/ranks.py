"""Statistics of two samples of numbers that need no shape of their distribution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

FloatArray = NDArray[np.float64]

_EFFECTS = ((0.147, "negligible"), (0.33, "small"), (0.474, "medium"))
_EXACT_PAIRS = 400


def compare_ranks(a: FloatArray, b: FloatArray) -> float:
    """Return the two-sided p-value of the Mann-Whitney U test.

    Exact for small samples without ties, by the normal approximation otherwise.

    Parameters
    ----------
    a, b
        Values of the two samples, neither empty.
    """
    both = np.concatenate([a, b])
    distinct = len(np.unique(both))
    if distinct == 1:
        return 1.0
    exact = distinct == len(both) and len(a) * len(b) <= _EXACT_PAIRS
    method = "exact" if exact else "asymptotic"
    return float(stats.mannwhitneyu(a, b, method=method).pvalue)


def bootstrap_median(
    values: FloatArray, resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw medians of resamples with replacement.

    The middle order statistic of N draws from 0..N-1 is drawn directly: that of N uniform numbers
    is beta distributed, and its follower is one more beta away. This is the bootstrap's own
    distribution at a cost that does not grow with N.

    Parameters
    ----------
    values
        (N,), N at least 1.
    resamples
        How many medians.
    rng
        Source of the draws.
    """
    ordered, count = np.sort(values), len(values)
    lower = (count + 1) // 2
    first = rng.beta(lower, count - lower + 1, resamples)
    index = np.minimum((first * count).astype(np.int64), count - 1)
    if count % 2:
        return ordered[index]
    second = first + (1.0 - first) * rng.beta(1, count - lower, resamples)
    follower = np.minimum((second * count).astype(np.int64), count - 1)
    return 0.5 * (ordered[index] + ordered[follower])


def estimate_cliffs_delta(
    a: FloatArray, b: FloatArray, confidence: float
) -> tuple[float, float, float]:
    """Return Cliff's delta, P(b > a) - P(b < a), and its confidence interval.

    The variance is the unbiased one of Cliff (1993), the interval the asymmetric one of Feng and
    Cliff (2004), which stays within [-1, 1].

    Parameters
    ----------
    a, b
        Values of the two samples, (N,) and (M,), neither empty.
    confidence
        Level of the interval.
    """
    n, m = len(a), len(b)
    below_a, above_a = _rank_among(np.sort(b), a)
    below_b, above_b = _rank_among(np.sort(a), b)
    rows, columns = (above_a - below_a) / m, (below_b - above_b) / n
    delta = float(rows.mean())
    if min(n, m) < 2:
        return delta, np.nan, np.nan
    z = float(special.ndtri(0.5 + confidence / 2))
    if abs(delta) == 1.0:
        bound = (min(n, m) - z**2) / (min(n, m) + z**2)
        return (delta, bound, 1.0) if delta > 0 else (delta, -1.0, -bound)
    untied = float((above_a + below_a).sum())
    spread = m**2 * ((rows - delta) ** 2).sum() + n**2 * ((columns - delta) ** 2).sum()
    variance = (spread - (untied - n * m * delta**2)) / (n * m * (n - 1.0) * (m - 1.0))
    variance = max(variance, (1.0 - delta**2) / (n * m - 1.0))
    root = z * np.sqrt(variance) * np.sqrt((1.0 - delta**2) ** 2 + z**2 * variance)
    scale = 1.0 - delta**2 + z**2 * variance
    return (
        delta,
        float((delta - delta**3 - root) / scale),
        float((delta - delta**3 + root) / scale),
    )


def adjust_holm(p_values: FloatArray) -> FloatArray:
    """Return p-values adjusted for their number after Holm (1979); NaN stays and does not count.

    Parameters
    ----------
    p_values
        (N,).
    """
    adjusted = np.full(len(p_values), np.nan)
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return adjusted


def adjust_discoveries(p_values: FloatArray) -> FloatArray:
    """Return p-values adjusted for the false discovery rate; NaN stays and does not count.

    After Benjamini and Hochberg (1995), J. R. Stat. Soc. B 57, 289.

    Parameters
    ----------
    p_values
        (N,).
    """
    adjusted = np.full(len(p_values), np.nan)
    known = np.isfinite(p_values)
    if known.any():
        adjusted[known] = stats.false_discovery_control(p_values[known], method="bh")
    return adjusted


def name_effect(delta: float) -> str:
    """Return a word for the size of Cliff's delta after Romano et al. (2006); '' for NaN.

    Parameters
    ----------
    delta
        In [-1, 1].
    """
    if np.isnan(delta):
        return ""
    return next((word for limit, word in _EFFECTS if abs(delta) < limit), "large")


def _rank_among(ordered: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """How many of `ordered` lie below and above each value."""
    below = np.searchsorted(ordered, values, side="left")
    above = len(ordered) - np.searchsorted(ordered, values, side="right")
    return below.astype(np.float64), above.astype(np.float64)
