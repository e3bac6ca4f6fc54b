"""Exact SHAP values of forests, for attributes or for groups of attributes.

Own kernel, used for resampling and permutations alone: the values are those of
``shap.TreeExplainer`` (a test compares them) in a twelfth of its time for the small trees that are
resampled (``benchmarks/damage_speed.py --parts parts``), and shap has no groups.

The values are the path-dependent ones of Lundberg et al. (2020): what the forest would predict
without an attribute is taken along both branches of its splits, weighted by the particles that went
there in training. No background sample is needed, and correlated attributes share their SHAP values
by how the trees use them. A group is a single player of the game: its value is that of knowing all
of its attributes together (the quotient game of Owen 1977), and not the sum of theirs.

The values of a leaf are cached by which players take its path, after Yang (2021), arXiv:2109.09847.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ncm_kedro.damage.forest import Forest
from ncm_kedro.errors import SettingsError

MAX_PLAYERS = 30
"""More do not fit the bit mask of the players on a leaf's path."""

_MEMO = 10  # players of a leaf up to which all results are cached: 2**10 rows of 10 numbers


class Paths(NamedTuple):
    """What leads to the leaves of a forest.

    Attributes
    ----------
    slot_begin, step_begin
        (L + 1,), where the slots and the steps of each leaf begin.
    leaf_value
        (L,), value over the number of trees.
    slot_player, slot_share
        A slot is a player on a leaf's path, with the fraction of the particles that go the leaf's
        way at its splits.
    step_feature, step_slot, step_limits
        A step is a feature on the path: its column, its slot, the open lower and closed upper
        limit.
    """

    slot_begin: NDArray[Any]
    step_begin: NDArray[Any]
    leaf_value: NDArray[Any]
    slot_player: NDArray[Any]
    slot_share: NDArray[Any]
    step_feature: NDArray[Any]
    step_slot: NDArray[Any]
    step_limits: NDArray[Any]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def list_paths(  # noqa: PLR0917  (numba takes positions)
    feature: NDArray[Any],
    threshold: NDArray[Any],
    left: NDArray[Any],
    right: NDArray[Any],
    value: NDArray[Any],
    cover: NDArray[Any],
    player_of: NDArray[Any],
) -> Paths:
    """List what leads to every leaf of the trees, (T, M) nodes, for players by feature."""
    parent, leaves, steps = _find_parents(feature, left, right)
    paths = Paths(
        np.zeros(leaves + 1, dtype=np.int64), np.zeros(leaves + 1, dtype=np.int64),
        np.zeros(leaves), np.zeros(steps, dtype=np.int32), np.ones(steps),
        np.zeros(steps, dtype=np.int32), np.zeros(steps, dtype=np.int32), np.empty((steps, 2)),
    )  # fmt: skip
    leaf = 0
    for tree in range(len(feature)):
        for node in range(feature.shape[1]):
            if feature[tree, node] < 0 and (node == 0 or parent[tree, node] >= 0):
                paths.leaf_value[leaf] = value[tree, node] / len(feature)
                _climb(
                    paths, leaf, node, parent[tree], feature[tree], threshold[tree], left[tree],
                    cover[tree], player_of,
                )  # fmt: skip
                leaf += 1
    return paths


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def add_shapley(values_pn: NDArray[Any], paths: Paths, players: int) -> NDArray[np.float64]:
    """Return the Shapley values of the players for every row, (players, N)."""
    rows = values_pn.shape[1]
    answer = np.zeros((players, rows))
    memo = np.empty((_MEMO, 1 << _MEMO))
    made_for = np.full(1 << _MEMO, -1, dtype=np.int64)
    found, sums = np.empty(players), np.empty(players + 1)
    ways = np.empty(rows, dtype=np.int32)
    for leaf in range(len(paths.leaf_value)):
        first, last = paths.slot_begin[leaf], paths.slot_begin[leaf + 1]
        count, value, share = last - first, paths.leaf_value[leaf], paths.slot_share[first:last]
        _mark_ways(values_pn, paths, leaf, ways)
        if count > _MEMO:
            for row in range(rows):
                _compute_leaf_shap(share, ways[row], value, sums, found)
                for slot in range(count):
                    answer[paths.slot_player[first + slot], row] += found[slot]
            continue
        for way in ways:
            if made_for[way] != leaf:
                made_for[way] = leaf
                _compute_leaf_shap(share, way, value, sums, found)
                memo[:count, way] = found[:count]
        for slot in range(count):
            worth, player = memo[slot], answer[paths.slot_player[first + slot]]
            for row in range(rows):
                player[row] += worth[ways[row]]
    return answer


@njit(cache=True, nogil=True)
def _find_parents(feature, left, right):  # type: ignore[no-untyped-def]
    """Parent of each node, number of leaves, sum of their depths."""
    parent = np.full(feature.shape, -1, dtype=np.int32)
    leaves, steps = 0, 0
    for tree in range(len(feature)):
        for node in range(feature.shape[1]):
            if feature[tree, node] >= 0:
                parent[tree, left[tree, node]] = node
                parent[tree, right[tree, node]] = node
        for node in range(feature.shape[1]):
            if feature[tree, node] < 0 and (node == 0 or parent[tree, node] >= 0):
                leaves += 1
                walk = parent[tree, node]
                while walk >= 0:
                    steps += 1
                    walk = parent[tree, walk]
    return parent, leaves, steps


@njit(cache=True, nogil=True)
def _climb(paths, leaf, node, parent, feature, threshold, left, cover, player_of):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Write the slots and steps of a leaf."""
    slots, used = paths.slot_begin[leaf], paths.step_begin[leaf]
    while parent[node] >= 0:
        above = parent[node]
        asked = feature[above]
        slot = paths.slot_begin[leaf]
        while slot < slots and paths.slot_player[slot] != player_of[asked]:
            slot += 1
        if slot == slots:
            paths.slot_player[slot] = player_of[asked]
            slots += 1
        paths.slot_share[slot] *= cover[node] / cover[above]
        step = paths.step_begin[leaf]
        while step < used and paths.step_feature[step] != asked:
            step += 1
        limits = paths.step_limits[step]
        if step == used:
            paths.step_feature[step] = asked
            paths.step_slot[step] = slot - paths.slot_begin[leaf]
            limits[0], limits[1] = -np.inf, np.inf
            used += 1
        if node == left[above]:
            limits[1] = min(limits[1], threshold[above])
        else:
            limits[0] = max(limits[0], threshold[above])
        node = above
    paths.slot_begin[leaf + 1], paths.step_begin[leaf + 1] = slots, used


@njit(cache=True, nogil=True)
def _mark_ways(values_pn, paths, leaf, ways):  # type: ignore[no-untyped-def]
    """Set the bit of every slot that goes the leaf's way, row by row."""
    ways[:] = (1 << (paths.slot_begin[leaf + 1] - paths.slot_begin[leaf])) - 1
    for step in range(paths.step_begin[leaf], paths.step_begin[leaf + 1]):
        column = values_pn[paths.step_feature[step]]
        low, high = paths.step_limits[step]
        stays = np.int32(~(np.int32(1) << paths.step_slot[step]))
        for row in range(len(ways)):
            inside = (column[row] > low) & (column[row] <= high)
            ways[row] &= np.int32(-1) if inside else stays


@njit(cache=True, nogil=True)
def _compute_leaf_shap(share, goes, value, sums, found):  # type: ignore[no-untyped-def]
    """Shapley values of one leaf.

    The leaf is worth ``value`` times the product of 1 or 0 over the players of a coalition, as
    they go its way or not, and of their shares over the others. The elementary sums of the product
    over (share + goes t), less one player, weigh the coalitions by their size.
    """
    count = len(share)
    sums[: count + 1] = 0.0
    sums[0] = 1.0
    for slot in range(count):
        one = 1.0 if (goes >> slot) & 1 else 0.0
        for size in range(slot + 1, 0, -1):
            sums[size] = share[slot] * sums[size] + one * sums[size - 1]
        sums[0] *= share[slot]
    for slot in range(count):
        weight, total = 1.0 / count, 0.0
        if (goes >> slot) & 1:  # divide by (share + t), from the highest power
            term = sums[count]
            for size in range(count - 1, -1, -1):
                total += term * weight  # size! (count - 1 - size)! / count!, the same from above
                term = sums[size] - share[slot] * term
                weight *= (count - size) / size if size > 0 else 1.0
            found[slot] = value * (1.0 - share[slot]) * total
        else:
            for size in range(count):
                total += sums[size] / share[slot] * weight
                weight *= (size + 1.0) / (count - 1.0 - size) if size < count - 1 else 1.0
            found[slot] = -value * share[slot] * total


FloatArray = NDArray[np.float64]

_CHUNK = 2048  # rows at a time, so that their columns stay in the processor's cache


def explain_forest(
    forest: Forest, values_np: FloatArray, players: Sequence[Sequence[int]]
) -> tuple[FloatArray, float]:
    """Compute the SHAP values of the players for each prediction of a forest.

    Parameters
    ----------
    values_np
        (N, P), rows of attributes.
    players
        Columns of each player; every column belongs to one.

    Returns
    -------
    (N, players) array, float
        SHAP values in the unit of the predictions, and the expected prediction. Both
        together sum to the prediction.

    Raises
    ------
    SettingsError
        If there are more players than bits to mark them.
    """
    if len(players) > MAX_PLAYERS:
        raise SettingsError(
            "explain_forest",
            found=f"{len(players)} attributes or groups",
            expected=f"at most {MAX_PLAYERS}",
            action="exclude attributes, or explain them in groups",
        )
    player_of = np.zeros(values_np.shape[1], dtype=np.int32)
    for number, columns in enumerate(players):
        player_of[list(columns)] = number
    paths = list_paths(
        forest.feature, forest.threshold, forest.left, forest.right, forest.value, forest.cover,
        player_of,
    )  # fmt: skip
    values_pn = np.ascontiguousarray(values_np.T, dtype=np.float64)
    worth = [
        add_shapley(np.ascontiguousarray(values_pn[:, start : start + _CHUNK]), paths, len(players))
        for start in range(0, values_pn.shape[1], _CHUNK)
    ]
    return np.concatenate(worth, axis=1).T, float(forest.value[:, 0].mean())
