"""Which basins touch, how deep the saddle between them is, and which are one particle.

What is known of a basin or of a contact is a sum or a maximum over voxels, hence additive over
blocks. Merging is decided on that table alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numba import njit
from numpy.typing import NDArray

from ncm_kedro.tomo.instances.watershed import map_identities
from ncm_kedro.tomo.volumes.blocks import Block


@dataclass(frozen=True)
class BasinTable:
    """Basins and their contacts.

    Attributes
    ----------
    peak, inner
        Highest probability and distance in each basin (0 to 255), (n,); basins count from 0.
    pair
        Basins that share voxel faces, (m, 2), first < second, ascending.
    saddle, neck
        Highest probability and distance along each contact, each face counting with the lower of
        its two voxels, (m,).
    """

    peak: NDArray[np.int64]
    inner: NDArray[np.int64]
    pair: NDArray[np.int64]
    saddle: NDArray[np.int64]
    neck: NDArray[np.int64]


@dataclass(frozen=True)
class GraphTask:
    """Collect what a block knows of its basins and of their contacts.

    Attributes
    ----------
    probability, distance
        Fused maps, uint8 (Z, Y, X).
    terminals
        Ends of chains, uint64 (Z, Y, X).
    keys, basins
        Table from ends of chains to basins, which count from 1.
    """

    probability: zarr.Array
    distance: zarr.Array
    terminals: zarr.Array
    keys: NDArray[np.uint64]
    basins: NDArray[np.uint32]

    def __call__(self, block: Block) -> dict[str, NDArray[np.generic]]:
        """Return rows ``basin, peak, inner`` and ``first, second, saddle, neck``."""
        stop = tuple(min(b + 1, n) for b, n in zip(block.stop, self.terminals.shape, strict=True))
        region = Block(block.index, block.start, (stop[0], stop[1], stop[2])).region
        labels = map_identities(np.asarray(self.terminals[region]), self.keys, self.basins)
        probability = np.asarray(self.probability[region])
        distance = np.asarray(self.distance[region])
        core = tuple(slice(0, n) for n in block.shape)
        return {
            "basin": _measure_basins(labels[core], probability[core], distance[core]),
            "contact": measure_contacts(labels, probability, distance, block.shape),
        }


def measure_contacts(
    labels_zyx: NDArray[np.uint32],
    probability_zyx: NDArray[np.uint8],
    distance_zyx: NDArray[np.uint8],
    core_shape: tuple[int, int, int],
) -> NDArray[np.int64]:
    """List the contacts between labels.

    Parameters
    ----------
    labels_zyx, probability_zyx, distance_zyx
        Equal shapes (Z, Y, X).
    core_shape
        Faces count whose first voxel lies within this many voxels along each axis.

    Returns
    -------
    ndarray of int64, (m, 5)
        Columns ``first, second, saddle, neck, faces``, a row per pair, ascending.
    """
    rows = _list_faces(labels_zyx, probability_zyx, distance_zyx, np.array(core_shape))
    return _reduce_rows(rows, keys=2, sums=1)


def build_table(parts: Sequence[Mapping[str, NDArray[np.generic]]], count: int) -> BasinTable:
    """Join what the blocks know."""
    basins = _stack([part["basin"] for part in parts], 3)
    contacts = reduce_contacts([part["contact"] for part in parts])
    peak, inner = np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.maximum.at(peak, basins[:, 0] - 1, basins[:, 1])
    np.maximum.at(inner, basins[:, 0] - 1, basins[:, 2])
    return BasinTable(peak, inner, contacts[:, :2] - 1, contacts[:, 2], contacts[:, 3])


def reduce_contacts(parts: Sequence[NDArray[np.generic]]) -> NDArray[np.int64]:
    """Join the contacts that blocks found.

    Parameters
    ----------
    parts
        Tables as of ``measure_contacts``.

    Returns
    -------
    ndarray of int64, (m, 5)
        As of ``measure_contacts``.
    """
    return _reduce_rows(_stack(parts, 5), keys=2, sums=1)


def merge_basins(
    table: BasinTable,
    *,
    seed: int,
    saddle_fraction: float,
    neck_fraction: float,
    absorb_fraction: float,
) -> NDArray[np.int64]:
    """Decide which basins are one particle, the highest saddle first.

    A basin without a seed goes to the neighbour that it is best connected to, if the probability
    along their contact reaches the given share of its peak; else it is debris. Two with seeds
    become one if the probability along their contact reaches the seed level and the given share of
    the lower peak, and if the neck is no narrower than the given share of the smaller inner radius.

    Parameters
    ----------
    seed
        Probability that makes a seed (0 to 255).
    saddle_fraction, neck_fraction, absorb_fraction
        Shares, 0 to 1.

    Returns
    -------
    ndarray of int64, (n,)
        The lowest basin of the particle that each belongs to; -1 where no seed is reached.
    """
    forest = _Forest(table)
    while forest.heap:
        contact = forest.pop()
        if contact is None:
            continue
        a, b, saddle, neck = contact
        peak, inner = min(forest.peak[a], forest.peak[b]), min(forest.inner[a], forest.inner[b])
        if peak < seed:
            same = saddle >= absorb_fraction * peak
        else:
            same = saddle >= max(seed, saddle_fraction * peak) and neck >= neck_fraction * inner
        if same:
            forest.union_sets(a, b)
    owner = np.array([forest.find(at) for at in range(len(table.peak))], dtype=np.int64)
    peaks = np.array(forest.peak, dtype=np.int64)
    return np.where(peaks[owner] >= seed, owner, -1) if len(owner) else owner


class _Forest:
    """Particles as they grow together; contacts between the same two are one contact."""

    def __init__(self, table: BasinTable) -> None:
        self.peak: list[int] = table.peak.tolist()
        self.inner: list[int] = table.inner.tolist()
        self._parent = list(range(len(self.peak)))
        self._near: list[dict[int, tuple[int, int]]] = [{} for _ in self.peak]
        rows = zip(table.pair.tolist(), table.saddle.tolist(), table.neck.tolist(), strict=True)
        for (a, b), saddle, neck in rows:
            self._near[a][b] = self._near[b][a] = (saddle, neck)
        self.heap = [
            (-saddle, -neck, a, b)
            for a, near in enumerate(self._near)
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
        if self._near[a].get(b) != (-saddle, -neck):
            return None
        return a, b, -saddle, -neck

    def union_sets(self, a: int, b: int) -> None:
        keep, gone = min(a, b), max(a, b)
        self._parent[gone] = keep
        self.peak[keep] = max(self.peak[keep], self.peak[gone])
        self.inner[keep] = max(self.inner[keep], self.inner[gone])
        del self._near[keep][gone]
        for other, (saddle, neck) in self._near[gone].items():
            if other == keep:
                continue
            del self._near[other][gone]
            known = self._near[keep].get(other, (0, 0))
            joined = (max(saddle, known[0]), max(neck, known[1]))
            if joined != known:  # a rejected contact stays rejected until it changes
                self._near[keep][other] = self._near[other][keep] = joined
                low, high = min(keep, other), max(keep, other)
                heapq.heappush(self.heap, (-joined[0], -joined[1], low, high))
        self._near[gone] = {}


def _measure_basins(
    labels: NDArray[np.uint32], probability: NDArray[np.uint8], distance: NDArray[np.uint8]
) -> NDArray[np.int64]:
    present, local = np.unique(labels, return_inverse=True)
    peak = np.zeros(len(present), np.uint8)
    inner = np.zeros(len(present), np.uint8)
    _raise_peaks(local.ravel(), probability.ravel(), distance.ravel(), peak, inner)
    rows = np.stack([present.astype(np.int64), peak, inner], axis=1)
    return rows[present > 0]


def _stack(parts: Sequence[NDArray[np.generic]], columns: int) -> NDArray[np.int64]:
    rows = [part.astype(np.int64).reshape(-1, columns) for part in parts]
    return np.concatenate([np.empty((0, columns), np.int64), *rows])


def _reduce_rows(rows: NDArray[np.int64], *, keys: int, sums: int) -> NDArray[np.int64]:
    """One row per key: maxima, and sums of the last columns."""
    if not len(rows):
        return rows
    rows = rows[np.lexsort(rows[:, :keys].T[::-1])]
    changed = (rows[1:, :keys] != rows[:-1, :keys]).any(axis=1)
    start = np.flatnonzero(np.r_[True, changed])
    reduced = np.maximum.reduceat(rows, start, axis=0)
    reduced[:, -sums:] = np.add.reduceat(rows[:, -sums:], start, axis=0)
    return reduced


@njit(cache=True, nogil=True)
def _raise_peaks(
    local: NDArray[Any],
    probability: NDArray[Any],
    distance: NDArray[Any],
    peak: NDArray[Any],
    inner: NDArray[Any],
) -> None:
    for at in range(local.size):
        label = local[at]
        peak[label] = max(peak[label], probability[at])
        inner[label] = max(inner[label], distance[at])


@njit(cache=True, nogil=True)
def _list_faces(
    labels: NDArray[Any], probability: NDArray[Any], distance: NDArray[Any], core: NDArray[Any]
) -> NDArray[np.int64]:
    """Rows ``first, second, saddle, neck, faces``; runs of the same pair are one row."""
    depth, rows, columns = labels.shape
    out = np.empty((1024, 5), dtype=np.int64)
    count = 0
    for axis in range(3):
        dz, dy, dx = int(axis == 0), int(axis == 1), int(axis == 2)
        for z in range(min(core[0], depth - dz)):
            for y in range(min(core[1], rows - dy)):
                for x in range(min(core[2], columns - dx)):
                    a, b = labels[z, y, x], labels[z + dz, y + dy, x + dx]
                    if a == b or min(a, b) == 0:
                        continue
                    low, high = min(a, b), max(a, b)
                    saddle = min(probability[z, y, x], probability[z + dz, y + dy, x + dx])
                    neck = min(distance[z, y, x], distance[z + dz, y + dy, x + dx])
                    if count and out[count - 1, 0] == low and out[count - 1, 1] == high:
                        out[count - 1, 2] = max(out[count - 1, 2], saddle)
                        out[count - 1, 3] = max(out[count - 1, 3], neck)
                        out[count - 1, 4] += 1
                        continue
                    if count == len(out):
                        longer = np.empty((2 * count, 5), dtype=np.int64)
                        longer[:count] = out
                        out = longer
                    out[count, 0], out[count, 1] = low, high
                    out[count, 2], out[count, 3], out[count, 4] = saddle, neck, 1
                    count += 1
    return out[:count]
