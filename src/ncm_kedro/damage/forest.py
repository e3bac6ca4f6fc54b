"""Random forests of small regression trees (Breiman 2001), for work that refits thousands of times.

Own kernel, used for resampling and permutations alone: attributes are binned by their quantiles
once and splits are found in histograms. On 1412 particles scikit-learn took 8.9 times as long to
grow a forest, and shap 12 times as long to explain it
(``benchmarks/damage_speed.py --parts parts``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ncm_kedro.errors import ModelError
from ncm_kedro.params.damage_attribution import DamageForestParams

LEAF = -1
"""What stands for the feature where a node is a leaf."""


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def grow_trees(  # noqa: PLR0917  (numba takes positions)
    bins_pn: NDArray[Any],
    target: NDArray[Any],
    rows: NDArray[Any],
    counts: NDArray[Any],
    trees: int,
    draws: int,
    max_leaves: int,
    min_leaf: int,
    tried: int,
    rng: np.random.Generator,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Grow trees, each on ``draws`` of the rows with replacement, leaf of the largest gain first.

    Returns feature, bin, left, right, mean and count of each node, (trees, 2 max_leaves - 1).
    """
    nodes = 2 * max_leaves - 1
    feature = np.full((trees, nodes), LEAF, dtype=np.int32)
    cut = np.zeros((trees, nodes), dtype=np.int32)
    left = np.full((trees, nodes), LEAF, dtype=np.int32)
    right = np.full((trees, nodes), LEAF, dtype=np.int32)
    value = np.zeros((trees, nodes))
    cover = np.zeros((trees, nodes))
    drawn = np.empty(draws, dtype=np.int64)
    spare = np.empty(draws, dtype=np.int64)
    columns = np.arange(len(bins_pn))
    sums = np.empty(256)
    sizes = np.empty(256, dtype=np.int64)
    begin = np.empty(nodes, dtype=np.int64)
    end = np.empty(nodes, dtype=np.int64)
    gain = np.empty(nodes)
    for tree in range(trees):
        for draw in range(draws):
            drawn[draw] = rows[rng.integers(0, len(rows))]
        used = 1
        begin[0], end[0] = 0, draws
        _open_node(tree, 0, drawn, target, begin, end, value, cover)
        gain[0], feature[tree, 0], cut[tree, 0] = _find_split(
            bins_pn, target, drawn[0:draws], counts, min_leaf, tried, columns, sums, sizes, rng
        )
        for _ in range(max_leaves - 1):
            best = -1
            for node in range(used):
                if left[tree, node] == LEAF and gain[node] > 0:
                    if best < 0 or gain[node] > gain[best]:
                        best = node
            if best < 0:
                break
            middle = _part(
                bins_pn[feature[tree, best]], cut[tree, best], drawn, spare, begin[best], end[best]
            )
            left[tree, best], right[tree, best] = used, used + 1
            begin[used], end[used] = begin[best], middle
            begin[used + 1], end[used + 1] = middle, end[best]
            for node in (used, used + 1):
                _open_node(tree, node, drawn, target, begin, end, value, cover)
                gain[node], feature[tree, node], cut[tree, node] = _find_split(
                    bins_pn, target, drawn[begin[node] : end[node]], counts, min_leaf, tried,
                    columns, sums, sizes, rng,
                )  # fmt: skip
            used += 2
        for node in range(used):
            if left[tree, node] == LEAF:
                feature[tree, node] = LEAF
    return feature, cut, left, right, value, cover


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def predict_trees(  # noqa: PLR0917  (numba takes positions)
    values_np: NDArray[Any],
    feature: NDArray[Any],
    threshold: NDArray[Any],
    left: NDArray[Any],
    right: NDArray[Any],
    value: NDArray[Any],
) -> NDArray[np.float64]:
    """Return the mean prediction of the trees for each row, (N,)."""
    answer = np.zeros(len(values_np))
    for row in range(len(values_np)):
        for tree in range(len(feature)):
            node = 0
            while feature[tree, node] != LEAF:
                below = values_np[row, feature[tree, node]] <= threshold[tree, node]
                node = left[tree, node] if below else right[tree, node]
            answer[row] += value[tree, node]
    return answer / len(feature)


@njit(cache=True, nogil=True)
def _open_node(tree, node, drawn, target, begin, end, value, cover):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    total = 0.0
    for place in range(begin[node], end[node]):
        total += target[drawn[place]]
    cover[tree, node] = end[node] - begin[node]
    value[tree, node] = total / cover[tree, node]


@njit(cache=True, nogil=True)
def _find_split(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    bins_pn, target, drawn, counts, min_leaf, tried, columns, sums, sizes, rng
):
    """Best gain, feature and bin among ``tried`` features, or more until one can be split."""
    size = len(drawn)
    best, best_feature, best_cut = 0.0, LEAF, 0
    if size < 2 * min_leaf:
        return best, best_feature, best_cut
    total = 0.0
    for row in drawn:
        total += target[row]
    split = False
    for step in range(len(columns)):
        if step >= tried and split:
            break
        swap = rng.integers(step, len(columns))
        columns[step], columns[swap] = columns[swap], columns[step]
        column = columns[step]
        number = counts[column]
        sums[:number] = 0.0
        sizes[:number] = 0
        binned = bins_pn[column]
        for row in drawn:
            sums[binned[row]] += target[row]
            sizes[binned[row]] += 1
        below, below_sum = 0, 0.0
        for cut in range(number - 1):
            below += sizes[cut]
            below_sum += sums[cut]
            above = size - below
            if above < min_leaf:
                break
            if below < min_leaf or sizes[cut] == 0:
                continue
            split = True
            above_sum = total - below_sum
            gain = below_sum**2 / below + above_sum**2 / above - total**2 / size
            if gain > best * (1 + 1e-12):
                best, best_feature, best_cut = gain, column, cut
    return best, best_feature, best_cut


@njit(cache=True, nogil=True)
def _part(binned, cut, drawn, spare, begin, end):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Put the rows at or below the cut first, in their order; where the others begin."""
    low, high = begin, 0
    for place in range(begin, end):
        row = drawn[place]
        if binned[row] <= cut:
            drawn[low] = row
            low += 1
        else:
            spare[high] = row
            high += 1
    for place in range(high):
        drawn[low + place] = spare[place]
    return low


FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MAX_BINS = 64
"""Quantile bins of an attribute."""


@dataclass(frozen=True)
class Bins:
    """Attributes cut at their quantiles.

    Attributes
    ----------
    bins_pn
        (P, N), number of the bin of each value.
    edges
        By attribute the upper edges of all bins but the last; a value on an edge is below it.
    """

    bins_pn: NDArray[np.uint8]
    edges: tuple[FloatArray, ...]


@dataclass(frozen=True)
class Forest:
    """Trees as arrays of nodes, (T, M) each; the prediction is the mean over the trees.

    Attributes
    ----------
    feature
        Column that a node splits on; -1: the node is a leaf.
    threshold
        A row goes left if its value is at most this.
    left, right
        Numbers of the nodes below.
    value
        Mean damage of the particles in a node.
    cover
        How many particles there were.
    """

    feature: NDArray[np.int32]
    threshold: FloatArray
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: FloatArray
    cover: FloatArray

    def predict(self, values_np: FloatArray) -> FloatArray:
        """Return the predicted damage, (N,), of rows of attributes, (N, P)."""
        return predict_trees(  # type: ignore[no-any-return]
            np.ascontiguousarray(values_np, dtype=np.float64),
            self.feature, self.threshold, self.left, self.right, self.value,
        )  # fmt: skip

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, to be stored in a file."""
        return dict(vars(self))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Forest:
        """Build a forest out of what `to_arrays` returned."""
        return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})


def bin_values(values_np: FloatArray) -> Bins:
    """Cut every attribute into at most `MAX_BINS` bins of equal count.

    Parameters
    ----------
    values_np
        (N, P), finite.

    Raises
    ------
    ModelError
        If a value is not finite.
    """
    if not np.isfinite(values_np).all():
        raise ModelError(
            f"forest, column {int(np.flatnonzero(~np.isfinite(values_np).all(axis=0))[0])}",
            found="values that are not finite",
            expected="numbers",
            action="leave particles without a value out before a forest is grown",
        )
    edges = tuple(_find_edges(column) for column in values_np.T)
    bins = [np.searchsorted(e, c, side="left") for e, c in zip(edges, values_np.T, strict=True)]
    return Bins(np.array(bins, dtype=np.uint8).reshape(values_np.shape[::-1]), edges)


def grow_forest(
    bins: Bins,
    target: FloatArray,
    rows: IntArray,
    params: DamageForestParams,
    rng: np.random.Generator,
) -> Forest:
    """Grow a forest on some of the rows.

    Parameters
    ----------
    bins
        Attributes of all N rows.
    target
        (N,), what is predicted.
    rows
        Rows to grow on; a row that is listed twice counts twice.
    """
    counts = np.array([len(edges) + 1 for edges in bins.edges], dtype=np.int64)
    feature, cut, left, right, value, cover = grow_trees(
        bins.bins_pn, np.ascontiguousarray(target), np.ascontiguousarray(rows), counts,
        params.trees, min(len(rows), params.max_draws), params.max_leaves,
        params.min_leaf, max(1, round(params.feature_fraction * len(counts))), rng,
    )  # fmt: skip
    table = np.zeros((len(counts), MAX_BINS))
    for number, edges in enumerate(bins.edges):
        table[number, : len(edges)] = edges
    threshold = np.where(feature == LEAF, 0.0, table[np.maximum(feature, 0), cut])
    return Forest(feature, threshold, left, right, value, cover)


def _find_edges(column: FloatArray) -> FloatArray:
    """Middles between the values beside the quantiles."""
    ordered = np.sort(column)
    steps = np.flatnonzero(np.diff(ordered) > 0)
    if len(steps) >= MAX_BINS:
        wanted = np.arange(1, MAX_BINS) * len(ordered) / MAX_BINS - 1
        steps = np.unique(steps[np.searchsorted(steps, wanted).clip(max=len(steps) - 1)])
    lower, upper = ordered[steps], ordered[steps + 1]
    middle = lower + (upper - lower) / 2
    edges: FloatArray = np.where(middle < upper, middle, lower)
    return edges
