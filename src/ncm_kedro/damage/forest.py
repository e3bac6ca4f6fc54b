"""Random forests of small regression trees (Breiman 2001), for work that refits thousands of times.

Attributes are binned by their quantiles once, splits are found in histograms: a forest costs a
fraction of scikit-learn's (``benchmarks/damage_speed.py``), and its cost grows linearly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from ncm_kedro.damage.forest_kernels import LEAF, grow_trees, predict_trees
from ncm_kedro.errors import ModelError
from ncm_kedro.params.damage_attribution import DamageForestParams

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
    """Trees as arrays of nodes, (T, M) each; the answer is the mean over the trees.

    Attributes
    ----------
    feature
        Column that a node asks for; -1: the node is a leaf.
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
        """Return the arrays by name, to be kept in a file."""
        return dict(vars(self))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Forest:
        """Build a forest out of what `to_arrays` returned."""
        return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})

    @classmethod
    def from_scikit_learn(cls, forest: RandomForestRegressor) -> Forest:
        """Copy a fitted forest of scikit-learn, which compares values as float32."""
        trees = [each.tree_ for each in forest.estimators_]
        size = max(tree.node_count for tree in trees)

        def stack(parts: list[NDArray[Any]], fill: int) -> NDArray[Any]:
            padded = [np.pad(p, (0, size - len(p)), constant_values=fill) for p in parts]
            return np.array(padded)

        return cls(
            feature=stack([np.maximum(t.feature, LEAF) for t in trees], LEAF).astype(np.int32),
            threshold=stack([t.threshold for t in trees], 0),
            left=stack([t.children_left for t in trees], LEAF).astype(np.int32),
            right=stack([t.children_right for t in trees], LEAF).astype(np.int32),
            value=stack([t.value[:, 0, 0] for t in trees], 0),
            cover=stack([t.weighted_n_node_samples for t in trees], 0),
        )


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
    params
        Size of the forest.
    rng
        Source of the draws.
    """
    counts = np.array([len(edges) + 1 for edges in bins.edges], dtype=np.int64)
    feature, cut, left, right, value, cover = grow_trees(
        bins.bins_pn, np.ascontiguousarray(target), np.ascontiguousarray(rows), counts,
        params.trees, min(len(rows), params.max_draws), params.max_leaves,
        params.min_leaf, max(1, round(params.feature_share * len(counts))), rng,
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
