"""What differs between samples, and between what was measured and what is known.

Every attribute of every pair of samples is compared by the difference of the medians, by the
Mann-Whitney U test and by Cliff's delta. The unit of these statistics is a particle; the particles
of one electrode are no replicates of the electrode, see `REPLICATE_CAVEAT`.

Whether what differs between particles is more than the segmentation could have moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats
from scipy.spatial import cKDTree

from ncm_kedro.params.particle_features import ParticleFigureParams
from ncm_kedro.particles.columns import (
    ANGLES,
    ATTRIBUTES,
    POSITIONS,
    find_unit,
    order_samples,
    select_values,
)

FloatArray = NDArray[np.float64]

REPLICATE_CAVEAT = (
    "Particles of one electrode are no replicates: they share its making, its cell and its scan, "
    "and neighbours resemble each other. A small p-value shows that these two volumes differ, not "
    "that cycling made them differ; with one electrode per stage no statistic can show that. The "
    "intervals are those of this volume's particles, not of another electrode."
)

_EFFECTS = ((0.147, "negligible"), (0.33, "small"), (0.474, "medium"))
_EXACT_PAIRS = 400

COMPARISON_COLUMNS = (
    "sample_a", "sample_b", "attribute", "unit", "n_a", "n_b", "median_a", "median_b",
    "difference", "difference_low", "difference_high", "p_value", "p_holm",
    "cliffs_delta", "delta_low", "delta_high", "effect", "note",
)  # fmt: skip

_NOTES = {
    **dict.fromkeys(ANGLES, "angles of axes wrap round and have no order: not tested"),
    **dict.fromkeys(POSITIONS, "depends on where the volume was cut out"),
    "electron_density": "depends on the grey scale of the scan",
    "homogeneity": "depends on the grey scale of the scan",
}
_TRUTH_PAIRS = {
    "equivalent_diameter_um": "diameter_um",
    "touching_particles": "contact_neighbours",
    "damage": "damage",
    "elongation": "elongation",
    "z_um": "z_um", "y_um": "y_um", "x_um": "x_um",
}  # fmt: skip


def compare_samples(
    attributes: Mapping[str, pd.DataFrame], table: pd.DataFrame, params: ParticleFigureParams
) -> pd.DataFrame:
    """Compare every attribute between every two samples.

    Particles that touch the border are excluded from every row, positions included.

    Parameters
    ----------
    table
        Tomogram table: ``sample, cycles``; ``a`` is the sample of fewer cycles.

    Returns
    -------
    DataFrame
        `COMPARISON_COLUMNS`, a row per pair and attribute: ``n`` complete particles with
        a value; medians; ``difference`` of the medians (b minus a) with its bootstrap interval;
        Mann-Whitney U, two-sided, as it is and after Holm (1979) over the attributes of the pair;
        Cliff's delta (positive: larger in b) with its interval, and a word for its size after
        Romano et al. (2006). Null where a sample has no value, or the attribute has no order.
        ``attrs["caveat"]`` holds `REPLICATE_CAVEAT`.
    """
    rng = np.random.default_rng(params.seed)
    parts = []
    for first, second in combinations(order_samples(attributes, table), 2):
        rows = [
            {
                "sample_a": first, "sample_b": second,
                "attribute": attribute.name, "unit": find_unit(attribute.name, attributes),
                **_compare_values(
                    select_values(attributes[first], attribute.name),
                    select_values(attributes[second], attribute.name),
                    ordered=attribute.name not in ANGLES, params=params, rng=rng,
                ),
                "note": _NOTES.get(attribute.name, ""),
            }
            for attribute in ATTRIBUTES
        ]  # fmt: skip
        part = pd.DataFrame(rows)
        parts.append(part.assign(p_holm=adjust_holm(part["p_value"].to_numpy(dtype=np.float64))))
    result = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    result = result.reindex(columns=list(COMPARISON_COLUMNS))
    result.attrs["caveat"] = REPLICATE_CAVEAT
    return result


def pair_with_truth(
    attributes: pd.DataFrame,
    details: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    same_labels: bool,
    voxel_size_um: tuple[float, float, float] | None = None,
) -> pd.DataFrame:
    """Set what was measured beside what is known of the same particle.

    Parameters
    ----------
    truth
        Known particles: ``particle_id, x_um, y_um, z_um, diameter_um, elongation,
        contact_neighbours, damage, voxel_count, touches_border``.
    same_labels
        Whether the true labels were measured, so that a particle has the same number in both;
        otherwise two particles belong together if each is the other's nearest and their centres
        are no further apart than half the true diameter.
    voxel_size_um
        Edges along z, y, x. With it the true volume is that of the voxels, and the true centres
        are moved by half a voxel: phantoms count from the centre of the first voxel, attributes
        from the volume's corner. Without it the volume is that of the ball of the true diameter.

    Returns
    -------
    DataFrame
        A row per pair: ``particle_id, truth_id, distance_um`` between the centres,
        ``touches_border`` in either, and ``<name>_true, <name>_measured`` for ``volume_um3,
        equivalent_diameter_um, touching_particles, damage, elongation, z_um, y_um, x_um``.
    """
    measured = attributes.merge(
        details.drop(columns="sample", errors="ignore"), on="particle_id", validate="1:1"
    )
    known = _know_particles(truth, voxel_size_um)
    here, there = (
        _match_numbers(measured, known) if same_labels else _match_centres(measured, known)
    )
    measured, known = measured.iloc[here], known.iloc[there]
    columns: dict[str, Any] = {
        "particle_id": measured["particle_id"].to_numpy(),
        "truth_id": known["particle_id"].to_numpy(),
        "distance_um": np.linalg.norm(_take_centres(measured) - _take_centres(known), axis=1),
        "touches_border": measured["touches_border"].to_numpy(dtype=bool)
        | known["touches_border"].to_numpy(dtype=bool),
    }
    for name, true_name in {"volume_um3": "volume_um3", **_TRUTH_PAIRS}.items():
        columns[f"{name}_true"] = known[true_name].to_numpy(dtype=np.float64)
        columns[f"{name}_measured"] = measured[name].to_numpy(dtype=np.float64, na_value=np.nan)
    return pd.DataFrame(columns)


def _compare_values(
    a: FloatArray,
    b: FloatArray,
    *,
    ordered: bool,
    params: ParticleFigureParams,
    rng: np.random.Generator,
) -> dict[str, Any]:
    found: dict[str, Any] = {"n_a": len(a), "n_b": len(b), "effect": ""}
    numbers = COMPARISON_COLUMNS[6:16]
    found |= dict.fromkeys(numbers, np.nan)
    if not ordered or not len(a) or not len(b):
        return found
    tail = (1.0 - params.confidence) / 2
    drawn = bootstrap_median(b, params.resamples, rng) - bootstrap_median(a, params.resamples, rng)
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    delta, delta_low, delta_high = estimate_cliffs_delta(a, b, params.confidence)
    median_a, median_b = float(np.median(a)), float(np.median(b))
    values = (
        median_a, median_b, median_b - median_a, float(low), float(high), compare_ranks(a, b),
        np.nan, delta, delta_low, delta_high,
    )  # fmt: skip
    return found | dict(zip(numbers, values, strict=True)) | {"effect": name_effect(delta)}


def _know_particles(
    truth: pd.DataFrame, voxel_size_um: tuple[float, float, float] | None
) -> pd.DataFrame:
    if voxel_size_um is None:
        diameter = truth["diameter_um"].to_numpy(dtype=np.float64)
        return truth.assign(volume_um3=np.pi / 6 * diameter**3)
    moved = {
        f"{axis}_um": truth[f"{axis}_um"] + edge / 2
        for axis, edge in zip("zyx", voxel_size_um, strict=True)
    }
    volume = truth["voxel_count"].to_numpy(dtype=np.float64) * float(np.prod(voxel_size_um))
    return truth.assign(volume_um3=volume, **moved)


def _match_numbers(
    measured: pd.DataFrame, known: pd.DataFrame
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    _, here, there = np.intersect1d(
        measured["particle_id"], known["particle_id"], assume_unique=True, return_indices=True
    )
    return here, there


def _match_centres(
    measured: pd.DataFrame, known: pd.DataFrame
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    nobody = np.zeros(0, dtype=np.int64)
    if measured.empty or known.empty:
        return nobody, nobody
    mine, theirs = _take_centres(measured), _take_centres(known)
    distance, there = cKDTree(theirs).query(mine)
    _, back = cKDTree(mine).query(theirs)
    reach = known["diameter_um"].to_numpy(dtype=np.float64)[there] / 2
    here = np.flatnonzero((back[there] == np.arange(len(mine))) & (distance <= reach))
    return here, there[here]


def _take_centres(table: pd.DataFrame) -> FloatArray:
    return table[["z_um", "y_um", "x_um"]].to_numpy(dtype=np.float64)


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
