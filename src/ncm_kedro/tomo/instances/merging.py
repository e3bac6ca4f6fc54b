"""Which basins of the watershed are one particle.

Decided on their table alone (`watershed_graph`): by the saddle, the neck, and the compactness of
what would be joined, its volume over that of the ellipsoid of the same second moments (1 for an
ellipsoid, 0.82 for two equal balls that touch, the same in voxels of any shape).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.tomo.instances.watershed_graph import BasinTable

_COMPACT = 0.85  # a part from here on is a particle, not one part of several of a cracked one
_SOLID = 0.7  # the same beside matter without a seed
_ROUND = 0.9  # what is more compact than this is not two particles
_DROP = 0.04  # loss of compactness from which another part does not belong to a particle
_WHOLE, _ROUGHNESS = 0.85, 0.01  # compactness with a fragment, at least, and the loss it may cost
_BRIDGE = 0.4  # probability between a particle and its fragment, at least (0 to 1)
_BODY = 0.235  # mean probability (0 to 1) of a particle, at least; debris has a peak but no body
NO_SEED, DEBRIS = -1, -2
"""Owners of basins that are no particle: without a seed, and with one but without a body."""
DEBRIS_MAX = 0.25
"""Debris over all that has a seed, from which the detector is called unsure."""
_SECOND = np.triu_indices(3)
_MAX_PROBABILITY = 255


def merge_basins(
    table: BasinTable,
    *,
    seed: int,
    saddle_fraction: float,
    neck_fraction: float,
    absorb_fraction: float,
    check_shape: bool,
) -> NDArray[np.int64]:
    """Decide which basins are one particle, the highest saddle first.

    A basin without a seed goes to the neighbour that it is best connected to, if the probability
    along their contact reaches the given share of its peak; else it is debris. Two with seeds
    become one if the probability along their contact reaches the seed level and the given share of
    the lower peak, and if the neck is no narrower than the given share of the smaller inner radius.

    With ``check_shape`` nothing is joined to a compact particle that makes it clearly less compact;
    a fragment behind a lower saddle is joined if the two together are as compact as the larger is
    alone; and what has a peak but no body (a low mean probability) is debris.

    Parameters
    ----------
    seed
        Probability that makes a seed (0 to 255).
    saddle_fraction, neck_fraction, absorb_fraction
        Shares, 0 to 1.

    Returns
    -------
    ndarray of int64, (n,)
        The lowest basin of the particle that each belongs to; `NO_SEED` or `DEBRIS` where none.
    """
    forest = _Forest(table)

    def is_wide(a: int, b: int, neck: int) -> bool:
        return neck >= neck_fraction * min(forest.inner[a], forest.inner[b])

    while forest.heap:
        contact = forest.pop()
        if contact is None:
            continue
        a, b, saddle, neck = contact
        peak, higher = sorted((forest.peak[a], forest.peak[b]))
        if peak < seed:
            same = saddle >= absorb_fraction * peak
        else:
            same = saddle >= max(seed, saddle_fraction * peak) and is_wide(a, b, neck)
        if same and check_shape and higher >= seed:
            larger, both = forest.compare_shapes(a, b)
            least = _SOLID if peak < seed else _COMPACT
            same = larger < least or both >= min(_ROUND, larger - _DROP)
        if same:
            forest.union_sets(a, b)

    def is_fragment(a: int, b: int) -> float | None:
        """Return the compactness of both where one is a fragment of the other."""
        saddle, neck = forest.near[a][b]
        if saddle < _BRIDGE * _MAX_PROBABILITY or not is_wide(a, b, neck):
            return None
        larger, both = forest.compare_shapes(a, b)
        return both if both >= max(_WHOLE, larger - _ROUGHNESS) else None

    if check_shape:
        forest.join_best(is_fragment, seed)
    owner = np.array([forest.find(at) for at in range(len(table.peak))], dtype=np.int64)
    if not len(owner):
        return owner
    peaks = np.array(forest.peak, dtype=np.int64)
    none = np.where(peaks >= seed, 0, NO_SEED)
    if check_shape:
        mean = np.array(forest.sums)[:, 1] / np.maximum(np.array(forest.sums)[:, 0], 1)
        none[(peaks >= seed) & (mean < _BODY * _MAX_PROBABILITY)] = DEBRIS
    return np.where(none[owner] < 0, none[owner], owner)


def measure_compactness(sums: NDArray[np.float64]) -> float:
    """Volume over that of the ellipsoid of the same second moments; 1 for an ellipsoid.

    Parameters
    ----------
    sums
        As in ``BasinTable``, (11,). A voxel is a cube, not a point: 1/12 is added to its variance.
    """
    mean = sums[2:5] / sums[0]
    covariance = np.empty((3, 3))
    covariance[_SECOND] = sums[5:] / sums[0]
    covariance.T[_SECOND] = covariance[_SECOND]
    covariance += np.eye(3) / 12 - np.outer(mean, mean)
    ellipsoid = 4 / 3 * np.pi * np.sqrt(np.linalg.det(5 * covariance))
    return float(sums[0] / ellipsoid)


class _Forest:
    """Particles as they grow together; contacts between the same two are one contact."""

    def __init__(self, table: BasinTable) -> None:
        self.peak: list[int] = table.peak.tolist()
        self.inner: list[int] = table.inner.tolist()
        self.sums = list(table.sums)
        self._parent = list(range(len(self.peak)))
        self.near: list[dict[int, tuple[int, int]]] = [{} for _ in self.peak]
        rows = zip(table.pair.tolist(), table.saddle.tolist(), table.neck.tolist(), strict=True)
        for (a, b), saddle, neck in rows:
            self.near[a][b] = self.near[b][a] = (saddle, neck)
        self.heap = [
            (-saddle, -neck, a, b)
            for a, near in enumerate(self.near)
            for b, (saddle, neck) in near.items()
            if a < b
        ]
        heapq.heapify(self.heap)

    def find(self, at: int) -> int:
        while self._parent[at] != at:
            self._parent[at] = self._parent[self._parent[at]]
            at = self._parent[at]
        return at

    def pop(self) -> tuple[int, int, int, int] | None:
        """Take the highest saddle; None if it has been overtaken by a merge."""
        saddle, neck, a, b = heapq.heappop(self.heap)
        if self.near[a].get(b) != (-saddle, -neck):
            return None
        return a, b, -saddle, -neck

    def compare_shapes(self, a: int, b: int) -> tuple[float, float]:
        """Compactness of the larger of two, and of both together."""
        larger = max(self.sums[a], self.sums[b], key=lambda sums: float(sums[0]))
        return measure_compactness(larger), measure_compactness(self.sums[a] + self.sums[b])

    def join_best(self, rate: Callable[[int, int], float | None], seed: int) -> None:
        """Join neighbours with seeds, the best rated first, until none is rated any more."""
        heap: list[tuple[float, int, int, float]] = []

        def push(a: int, b: int) -> None:
            if min(self.peak[a], self.peak[b]) >= seed and (rating := rate(a, b)) is not None:
                size = float(self.sums[a][0] + self.sums[b][0])
                heapq.heappush(heap, (-rating, min(a, b), max(a, b), size))

        for a, near in enumerate(self.near):
            for b in near:
                if a < b:
                    push(a, b)
        while heap:
            _, a, b, size = heapq.heappop(heap)
            if b not in self.near[a] or size != self.sums[a][0] + self.sums[b][0]:
                continue  # one of them has grown since
            self.union_sets(a, b)
            for c in self.near[a]:
                push(a, c)

    def union_sets(self, a: int, b: int) -> None:
        keep, gone = min(a, b), max(a, b)
        self._parent[gone] = keep
        self.peak[keep] = max(self.peak[keep], self.peak[gone])
        self.inner[keep] = max(self.inner[keep], self.inner[gone])
        self.sums[keep] = self.sums[keep] + self.sums[gone]
        del self.near[keep][gone]
        for other, (saddle, neck) in self.near[gone].items():
            if other == keep:
                continue
            del self.near[other][gone]
            known = self.near[keep].get(other, (0, 0))
            joined = (max(saddle, known[0]), max(neck, known[1]))
            if joined != known:  # a rejected contact stays rejected until it changes
                self.near[keep][other] = self.near[other][keep] = joined
                low, high = min(keep, other), max(keep, other)
                heapq.heappush(self.heap, (-joined[0], -joined[1], low, high))
        self.near[gone] = {}
