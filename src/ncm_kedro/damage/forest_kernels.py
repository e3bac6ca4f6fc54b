"""The compiled growing and asking of regression trees on binned attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

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
    """Return the mean answer of the trees for each row, (N,)."""
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
