"""Which basins touch, how deep the saddle between them is, and which are one particle.

What is known of a basin or of a contact is a sum or a maximum over voxels, hence additive over
blocks. Merging is decided on that table alone: by the saddle, the neck, and the compactness of what
would be joined, its volume over that of the ellipsoid of the same second moments (1 for an
ellipsoid, 0.82 for two equal balls that touch, the same in voxels of any shape).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numba import njit
from numpy.typing import NDArray

from ncm_kedro.tomo.instances.watershed import map_identities
from ncm_kedro.tomo.volumes.blocks import Block
from ncm_kedro.tomo.volumes.volume import Triple

_COMPACT = 0.85  # a part from here on is a particle, not one part of several of a cracked one
_SOLID = 0.7  # the same beside matter without a seed
_ROUND = 0.9  # what is more compact than this is not two particles
_DROP = 0.04  # loss of compactness from which another part does not belong to a particle
_WHOLE, _ROUGHNESS = 0.85, 0.01  # compactness with a fragment, at least, and the loss it may cost
_BRIDGE = 0.4  # probability between a particle and its fragment, at least (0 to 1)
_BODY = 0.3  # mean probability over the peak; 0.43 in the median of particles, 0.25 of debris
_SECOND = np.triu_indices(3)
N_SUMS = 11
MAX_PROBABILITY = 255


@dataclass(frozen=True)
class BasinTable:
    """Basins and their contacts.

    Attributes
    ----------
    peak, inner
        Highest probability and distance in each basin (0 to 255), (n,); basins count from 0.
    sums
        Over the voxels of each basin: 1, probability, z, y, x, zz, zy, zx, yy, yx, xx, (n, 11).
    pair
        Basins that share voxel faces, (m, 2), first < second, ascending.
    saddle, neck
        Highest probability and distance along each contact, each face counting with the lower of
        its two voxels, (m,).
    """

    peak: NDArray[np.int64]
    inner: NDArray[np.int64]
    sums: NDArray[np.float64]
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
        """Return rows ``basin, peak, inner, sums`` and ``first, second, saddle, neck``."""
        stop = tuple(min(b + 1, n) for b, n in zip(block.stop, self.terminals.shape, strict=True))
        region = Block(block.index, block.start, (stop[0], stop[1], stop[2])).region
        labels = map_identities(np.asarray(self.terminals[region]), self.keys, self.basins)
        probability = np.asarray(self.probability[region])
        distance = np.asarray(self.distance[region])
        core = tuple(slice(0, n) for n in block.shape)
        return {
            "basin": _measure_basins(labels[core], probability[core], distance[core], block.start),
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
    basins = _stack([part["basin"] for part in parts], 3 + N_SUMS)
    contacts = reduce_contacts([part["contact"] for part in parts])
    peak, inner = np.zeros(count, np.int64), np.zeros(count, np.int64)
    sums = np.zeros((count, N_SUMS))
    np.maximum.at(peak, basins[:, 0] - 1, basins[:, 1])
    np.maximum.at(inner, basins[:, 0] - 1, basins[:, 2])
    np.add.at(sums, basins[:, 0] - 1, basins[:, 3:])
    return BasinTable(peak, inner, sums, contacts[:, :2] - 1, contacts[:, 2], contacts[:, 3])


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
    check_shape: bool,
) -> NDArray[np.int64]:
    """Decide which basins are one particle, the highest saddle first.

    A basin without a seed goes to the neighbour that it is best connected to, if the probability
    along their contact reaches the given share of its peak; else it is debris. Two with seeds
    become one if the probability along their contact reaches the seed level and the given share of
    the lower peak, and if the neck is no narrower than the given share of the smaller inner radius.

    With ``check_shape`` nothing is joined to a compact particle that makes it clearly less compact;
    a fragment behind a lower saddle is joined if the two together are as compact as the larger is
    alone; and what has a peak but no body (its mean probability is low beside its peak) is debris.

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
        if saddle < _BRIDGE * MAX_PROBABILITY or not is_wide(a, b, neck):
            return None
        larger, both = forest.compare_shapes(a, b)
        return both if both >= max(_WHOLE, larger - _ROUGHNESS) else None

    if check_shape:
        forest.join_best(is_fragment, seed)
    owner = np.array([forest.find(at) for at in range(len(table.peak))], dtype=np.int64)
    if not len(owner):
        return owner
    peaks = np.array(forest.peak, dtype=np.int64)
    seeded = peaks >= seed
    if check_shape:
        mean = np.array(forest.sums)[:, 1] / np.maximum(np.array(forest.sums)[:, 0], 1)
        seeded &= mean >= _BODY * peaks
    return np.where(seeded[owner], owner, -1)


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


def _measure_basins(
    labels: NDArray[np.uint32],
    probability: NDArray[np.uint8],
    distance: NDArray[np.uint8],
    start: Triple,
) -> NDArray[np.int64]:
    """Rows of basin, peak, inner and sums; of the block that starts there."""
    present, local = np.unique(labels, return_inverse=True)
    peak = np.zeros(len(present), np.uint8)
    inner = np.zeros(len(present), np.uint8)
    sums = np.zeros((len(present), N_SUMS), np.int64)
    _measure_voxels(
        local.reshape(labels.shape), probability, distance, np.array(start), peak, inner, sums
    )
    rows = np.column_stack([present.astype(np.int64), peak, inner, sums])
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
def _measure_voxels(  # noqa: PLR0917  (numba takes positions)
    local: NDArray[Any],
    probability: NDArray[Any],
    distance: NDArray[Any],
    start: NDArray[Any],
    peak: NDArray[Any],
    inner: NDArray[Any],
    sums: NDArray[Any],
) -> None:
    for z in range(local.shape[0]):
        for y in range(local.shape[1]):
            for x in range(local.shape[2]):
                label = local[z, y, x]
                peak[label] = max(peak[label], probability[z, y, x])
                inner[label] = max(inner[label], distance[z, y, x])
                u, v, w = z + start[0], y + start[1], x + start[2]
                row = sums[label]
                row[0] += 1
                row[1] += probability[z, y, x]
                row[2] += u
                row[3] += v
                row[4] += w
                row[5] += u * u
                row[6] += u * v
                row[7] += u * w
                row[8] += v * v
                row[9] += v * w
                row[10] += w * w


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
