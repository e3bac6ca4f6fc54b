"""Connected components of a thresholded map, block by block, and tables that map identities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
import zarr
from numba import njit
from numpy.typing import NDArray

from ncm_kedro.tomo.volumes.blocks import Block


@dataclass(frozen=True)
class ComponentTask:
    """Write, for each voxel of a block, the component of the block that it belongs to.

    Attributes
    ----------
    probability
        Fused map, uint8 (Z, Y, X).
    terminals
        uint64 (Z, Y, X), written: 1 + raster index in the volume of the component's first voxel
        within the block; 0 is background.
    at_least
        Value from which a voxel is foreground (1 to 255).
    connectivity
        6, 18 or 26 neighbours.
    """

    probability: zarr.Array
    terminals: zarr.Array
    at_least: int
    connectivity: int

    def __call__(self, block: Block) -> dict[str, NDArray[np.generic]]:
        """Return the components of the block."""
        mask = np.asarray(self.probability[block.region]) >= self.at_least
        local, count = cc3d.connected_components(
            mask, connectivity=self.connectivity, return_N=True, binary_image=True
        )
        local = np.ascontiguousarray(local)
        first = _find_first(local, count)
        at = np.unravel_index(first[1:], block.shape)
        moved = tuple(a + o for a, o in zip(at, block.start, strict=True))
        identity = np.zeros(count + 1, dtype=np.uint64)
        identity[1:] = np.ravel_multi_index(moved, self.probability.shape) + 1
        self.terminals[block.region] = identity[local]
        return {"end": np.sort(identity[1:])}


@dataclass(frozen=True)
class TouchTask:
    """Find components of different blocks that touch across the faces of a block.

    Attributes
    ----------
    terminals
        What ``ComponentTask`` wrote.
    connectivity
        6, 18 or 26 neighbours.
    """

    terminals: zarr.Array
    connectivity: int

    def __call__(self, block: Block) -> dict[str, NDArray[np.generic]]:
        """Return pairs of components, (n, 2)."""
        outer = block.grow(1, self.terminals.shape)
        terminals_zyx = np.asarray(self.terminals[outer.region])
        core = block.within(outer)
        pairs = []
        for axis in range(3):
            for side in (core[axis].start, core[axis].stop):
                if 0 < side < terminals_zyx.shape[axis]:
                    face = np.take(terminals_zyx, [side - 1, side], axis=axis)
                    pairs.append(_pair_across(np.moveaxis(face, axis, 0), self.connectivity))
        stacked = np.concatenate([np.empty((0, 2), np.uint64), *pairs])
        return {"pair": np.unique(stacked, axis=0)}


def join_pairs(
    identities: NDArray[np.uint64], pairs: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Unite identities that are paired, directly or through others.

    Parameters
    ----------
    identities
        All identities, in any order.
    pairs
        Pairs of them, (n, 2).

    Returns
    -------
    identity
        Ascending.
    root
        The lowest identity of the set that each belongs to.
    """
    identity = np.unique(identities)
    parent = np.arange(len(identity))
    first, second = np.searchsorted(identity, pairs[:, 0]), np.searchsorted(identity, pairs[:, 1])
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        low, high = sorted((find_root(parent, a), find_root(parent, b)))
        parent[high] = low
    root = np.array([find_root(parent, at) for at in range(len(parent))], dtype=np.int64)
    return identity, identity[root]


def find_root(parent: NDArray[np.int64], at: int) -> int:
    """Return the root of an element of a union-find forest, halving the path to it.

    Parameters
    ----------
    parent
        Parent of each element, changed in place; roots are their own.
    at
        The element.
    """
    while parent[at] != at:
        parent[at] = parent[parent[at]]
        at = int(parent[at])
    return at


def map_identities(
    values_zyx: NDArray[np.uint64], keys: NDArray[np.uint64], mapped: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    """Replace each value by the one that a table gives it.

    Parameters
    ----------
    values_zyx
        Identities; those that are no key become 0.
    keys
        Ascending.
    mapped
        New value of each key.

    Returns
    -------
    ndarray of uint32
        Of the shape of ``values_zyx``.
    """
    flat = np.ascontiguousarray(values_zyx).ravel()
    return _look_up(flat, keys, mapped).reshape(values_zyx.shape)  # type: ignore[no-any-return]


def _pair_across(face_nyx: NDArray[np.uint64], connectivity: int) -> NDArray[np.uint64]:
    """Pairs between two planes, and their neighbours in plane as far as they connect."""
    reach = 0 if connectivity == 6 else 1
    found = []
    rows, columns = face_nyx.shape[1:]
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if connectivity == 18 and dy != 0 and dx != 0:
                continue
            near = face_nyx[0, max(0, -dy) : rows - max(0, dy), max(0, -dx) : columns - max(0, dx)]
            far = face_nyx[1, max(0, dy) : rows - max(0, -dy), max(0, dx) : columns - max(0, -dx)]
            both = (near > 0) & (far > 0) & (near != far)
            found.append(np.stack([near[both], far[both]], axis=1))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


@njit(cache=True, nogil=True)
def _find_first(local: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Raster index of the first voxel of each label."""
    first = np.full(count + 1, -1, dtype=np.int64)
    flat = local.ravel()
    for at in range(flat.size):
        if first[flat[at]] < 0:
            first[flat[at]] = at
    return first


@njit(cache=True, nogil=True)
def _look_up(flat: NDArray[Any], keys: NDArray[Any], mapped: NDArray[Any]) -> NDArray[np.uint32]:
    """Binary search, skipped while the value stays the same."""
    out = np.zeros(flat.size, dtype=np.uint32)
    last = np.uint64(0)
    new = np.uint32(0)
    for at in range(flat.size):
        value = flat[at]
        if value == 0:
            continue
        if value != last:
            last = value
            place = np.searchsorted(keys, value)
            found = place < keys.size and keys[place] == value
            new = mapped[place] if found else np.uint32(0)
        out[at] = new
    return out
