"""Which basins touch, how deep the saddle between them is, and their moments.

What is known of a basin or of a contact is a sum or a maximum over voxels, hence additive over
blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numba import njit
from numpy.typing import NDArray

from ncm_kedro.tomo.instances.watershed import map_identities
from ncm_kedro.tomo.volumes.blocks import Block
from ncm_kedro.tomo.volumes.volume import Triple

_N_SUMS = 11


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
    basins = _stack([part["basin"] for part in parts], 3 + _N_SUMS)
    contacts = reduce_contacts([part["contact"] for part in parts])
    peak, inner = np.zeros(count, np.int64), np.zeros(count, np.int64)
    sums = np.zeros((count, _N_SUMS))
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
    sums = np.zeros((len(present), _N_SUMS), np.int64)
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
