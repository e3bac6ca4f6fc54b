"""Statistics of values on a graph of neighbours: Moran's I, differences of pairs, permutations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats
from scipy.spatial import cKDTree

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

DAMAGE = "damage"
RESIDUAL = "residual"
PERMUTATIONS = 999
"""Random permutations of the values over the particles."""

_PairStatistic = Callable[[FloatArray, IntArray], FloatArray]

_NEAREST = 6
_MAX_GATHERED = 2_000_000  # gathered values held at a time
_ROUNDING = 1e-9


def list_contacts(particle_ids: IntArray, contacts: pd.DataFrame | None) -> IntArray:
    """List the pairs of particles in contact.

    Parameters
    ----------
    particle_ids
        (N,); contacts with others do not count.
    contacts
        ``particle_id, neighbour_id``, in one direction or both. None: there are none.

    Returns
    -------
    ndarray
        (E, 2), places in `particle_ids`; each pair once, the lower place first.
    """
    if contacts is None:
        return np.zeros((0, 2), dtype=np.int64)
    index = pd.Index(particle_ids)
    ends = [index.get_indexer(pd.Index(contacts[name])) for name in ("particle_id", "neighbour_id")]
    pairs = np.stack(ends, axis=1)
    return _make_unique(pairs[(pairs >= 0).all(axis=1)])


def list_nearest(centres_n3: FloatArray) -> IntArray:
    """List the pairs of particles of which one is among the other's six nearest.

    Parameters
    ----------
    centres_n3
        (N, 3), in um.

    Returns
    -------
    ndarray
        (E, 2), rows of `centres_n3`; each pair once, the lower row first.
    """
    reach = min(_NEAREST, len(centres_n3) - 1)
    _, near = cKDTree(centres_n3).query(centres_n3, k=np.arange(1, reach + 2))
    here = np.repeat(np.arange(len(centres_n3)), reach + 1)
    return _make_unique(np.stack([here, near.ravel()], axis=1))


def measure_moran(values_n: FloatArray, pairs_e2: IntArray) -> float:
    r"""Compute Moran's I with binary symmetric weights (Moran 1950; Cliff and Ord 1981, ch. 1).

    :math:`I = \frac{N}{E} \sum_{(i,j)} z_i z_j / \sum_i z_i^2` over the E pairs of neighbours, z
    the deviations from the mean of all N values.

    Parameters
    ----------
    values_n
        (N,).
    pairs_e2
        (E, 2), each pair once.

    Returns
    -------
    float
        -1 / (N - 1) on average if values lie at random; NaN without pairs or without differences.
    """
    if np.ptp(values_n) == 0:
        return np.nan
    deviations = values_n - values_n.mean()
    return _divide(_average_product(deviations, pairs_e2), (deviations**2).mean())


def measure_pair_difference(values_n: FloatArray, pairs_e2: IntArray) -> float:
    """Compute the mean absolute difference between neighbours over that of all pairs.

    Parameters
    ----------
    values_n
        (N,).
    pairs_e2
        (E, 2), each pair once.

    Returns
    -------
    float
        1 on average if values lie at random; NaN without pairs or without differences.
    """
    count = len(values_n)
    weights_n = 2.0 * np.arange(count) - (count - 1)
    anyone = 2 * (weights_n @ np.sort(values_n)) / (count * (count - 1.0))
    return _divide(_average_difference(values_n, pairs_e2), anyone)


def describe_field(fields: Mapping[str, FloatArray], pairs_e2: IntArray) -> dict[str, float]:
    """Compute how damage lies among neighbours, and how widely it is spread.

    Parameters
    ----------
    fields
        `DAMAGE`, and `RESIDUAL` where there is one, (N,) each.
    pairs_e2
        (E, 2), each pair once.

    Returns
    -------
    dict
        By quantity; NaN where it is not defined.
    """
    damage = fields[DAMAGE]
    found = {name: measure_moran(z, pairs_e2) for name, z in _layer(fields).items()}
    lower, upper = special.logit(np.quantile(damage, [0.25, 0.75]))
    defined = np.isfinite(lower) and np.isfinite(upper)
    spread = float(np.std(damage, ddof=1))
    return found | {
        "pair_difference": measure_pair_difference(damage, pairs_e2),
        "spread": spread,
        "spread_relative": _divide(spread, damage.mean()),
        "spread_logit": float(upper - lower) if defined else np.nan,
    }


def permute_field(
    fields: Mapping[str, FloatArray], pairs_e2: IntArray, rng: np.random.Generator
) -> dict[str, float]:
    """Compare the values of neighbours with values dealt out to the particles at random.

    Parameters
    ----------
    fields
        `DAMAGE`, and `RESIDUAL` where there is one, (N,) each.
    pairs_e2
        (E, 2), each pair once.
    rng
        Source of the `PERMUTATIONS`.

    Returns
    -------
    dict
        Two-sided p-value by quantity of `describe_field` that has a null distribution: twice the
        smaller tail, the value itself counted in (Phipson and Smyth 2010, Statistical Applications
        in Genetics and Molecular Biology 9, 39). NaN without pairs or without differences.
    """
    tested: dict[str, tuple[_PairStatistic, FloatArray]] = {
        name: (_average_product, values - values.mean()) for name, values in _layer(fields).items()
    }
    tested["pair_difference"] = (_average_difference, fields[DAMAGE])
    count = len(fields[DAMAGE])
    step = max(1, _MAX_GATHERED // max(count, len(pairs_e2)))
    drawn: dict[str, list[FloatArray]] = {name: [] for name in tested}
    for start in range(0, PERMUTATIONS, step):
        orders_kn = np.tile(np.arange(count), (min(step, PERMUTATIONS - start), 1))
        orders_nk = np.ascontiguousarray(rng.permuted(orders_kn, axis=1).T)
        for name, (average, values) in tested.items():
            drawn[name].append(average(values[orders_nk], pairs_e2))
    return {
        name: _count_tails(average(values, pairs_e2), np.concatenate(drawn[name]))
        if len(pairs_e2) and np.ptp(values) > 0
        else np.nan
        for name, (average, values) in tested.items()
    }


def _layer(fields: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Return the values that Moran's I is taken of, by quantity."""
    ranks_n = stats.rankdata(fields[DAMAGE])
    layers = {"morans_i": fields[DAMAGE], "morans_i_ranks": ranks_n}
    return layers | {f"morans_i_{name}": fields[name] for name in (RESIDUAL,) if name in fields}


def _average_product(values: FloatArray, pairs_e2: IntArray) -> FloatArray:
    return _average(values[pairs_e2[:, 0]] * values[pairs_e2[:, 1]])


def _average_difference(values: FloatArray, pairs_e2: IntArray) -> FloatArray:
    return _average(np.abs(values[pairs_e2[:, 0]] - values[pairs_e2[:, 1]]))


def _average(values: FloatArray) -> FloatArray:
    """Average over the first axis; NaN of nothing."""
    return np.asarray(values.mean(axis=0) if len(values) else np.full(values.shape[1:], np.nan))


def _count_tails(value: FloatArray, drawn_k: FloatArray) -> float:
    tie = _ROUNDING * float(np.abs(drawn_k).max())
    above = 1 + int((drawn_k >= value - tie).sum())
    below = 1 + int((drawn_k <= value + tie).sum())
    return min(1.0, 2.0 * min(above, below) / (len(drawn_k) + 1))


def _divide(part: Any, whole: Any) -> float:
    return float(part / whole) if whole > 0 else np.nan


def _make_unique(pairs_e2: IntArray) -> IntArray:
    ordered = np.sort(pairs_e2[pairs_e2[:, 0] != pairs_e2[:, 1]], axis=1)
    return np.unique(ordered, axis=0).astype(np.int64)
