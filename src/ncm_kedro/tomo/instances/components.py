"""Connected components of a thresholded map, and the tables of particles between the passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
import zarr
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ncm_kedro.tomo.fusion.scale import GreyArray
from ncm_kedro.tomo.instances.refine import balance_otsu
from ncm_kedro.tomo.instances.refine_tasks import BOX_COLUMNS, GREY_BINS, GreyBins
from ncm_kedro.tomo.volumes.blocks import Block
from ncm_kedro.tomo.volumes.volume import Triple


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
    edges = np.searchsorted(identity, pairs.T)
    graph = coo_array((np.ones(len(pairs), dtype=bool), edges), shape=2 * (len(identity),))
    _, component = connected_components(graph, directed=False)
    _, first, of = np.unique(component, return_index=True, return_inverse=True)
    return identity, identity[first[of]]


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


Results = Sequence[dict[str, NDArray[np.generic]]]
"""What the blocks of a pass returned."""

_SCRATCH_CHUNK_VX = 64


@dataclass(frozen=True)
class Parts:
    """Watershed particles: ends of chains, the label of each (0: none), and the label's seed.

    ``seed`` is the raster index of the first voxel of each label's seed, for label 1 first;
    ``debris`` counts what was dropped.
    """

    keys: NDArray[np.uint64]
    labels: NDArray[np.uint32]
    seed: NDArray[np.int64]
    debris: int = 0


@dataclass(frozen=True)
class Draft:
    """What the draft knows of each particle, for label 1 first."""

    count: NDArray[np.int64]
    box: NDArray[np.int64]
    inside: NDArray[np.int64]
    outside: NDArray[np.int64]


def name_parts(
    keys: NDArray[np.uint64], owner: NDArray[np.int64], roots: NDArray[np.uint64]
) -> Parts:
    """Give labels to particles, from 1 in the order of their first seed voxel.

    Parameters
    ----------
    owner
        Particle of each, as an index into ``roots``; -1 for none.
    roots
        1 + raster index of the first seed voxel of each possible particle, ascending.
    """
    owners = np.unique(owner[owner >= 0])
    labels = np.where(owner >= 0, np.searchsorted(owners, owner) + 1, 0).astype(np.uint32)
    return Parts(keys, labels, roots[owners].astype(np.int64) - 1)


def choose_chunk(edge: int, length: int) -> int:
    """Return the edge of a scratch chunk, so that chunks do not cross blocks.

    Parameters
    ----------
    edge
        Edge of a block (voxels).
    length
        Length of the axis (voxels).
    """
    if length <= edge:
        return min(length, _SCRATCH_CHUNK_VX)
    return next(part for part in range(min(edge, _SCRATCH_CHUNK_VX), 0, -1) if edge % part == 0)


def own_blocks(
    seed: NDArray[np.int64], blocks: list[Block], shape_zyx: Triple
) -> NDArray[np.int64]:
    """Return the index of the block that holds each seed.

    Parameters
    ----------
    seed
        Raster indices, (n,).
    """
    edges = blocks[0].shape
    grid = tuple(-(-n // edge) for n, edge in zip(shape_zyx, edges, strict=True))
    at = np.unravel_index(seed, shape_zyx)
    found = np.ravel_multi_index(tuple(a // edge for a, edge in zip(at, edges, strict=True)), grid)
    return np.asarray(found, dtype=np.int64)


def choose_bins(grey: GreyArray) -> GreyBins:
    """Spread the bins over the grey values of the three central planes."""
    planes = [
        grey[tuple(slice(n // 2, n // 2 + 1) if a == axis else slice(None)
                   for a, n in enumerate(grey.shape))].ravel()
        for axis in range(3)
    ]  # fmt: skip
    low, high = np.percentile(np.concatenate(planes), [0.1, 99.9])
    return GreyBins(float(low), float(high) if high > low else float(low) + 1)


def join_drafts(parts: Results, particles: int) -> Draft:
    """Join what the blocks know of each particle."""
    count = np.zeros(particles, np.int64)
    box = np.zeros((particles, BOX_COLUMNS), np.int64)
    inside = np.zeros((particles, GREY_BINS), np.int64)
    outside = np.zeros((particles, GREY_BINS), np.int64)
    box[:, :3] = np.iinfo(np.int64).max
    for part in parts:
        at = part["label"].astype(np.int64) - 1
        found = part["box"].astype(np.int64)
        count[at] += part["count"].astype(np.int64)
        inside[at] += part["inside"].astype(np.int64)
        outside[at] += part["outside"].astype(np.int64)
        box[at, :3] = np.minimum(box[at, :3], found[:, :3])
        box[at, 3:] = np.maximum(box[at, 3:], found[:, 3:])
    return Draft(count, box, inside, outside)


def find_thresholds(draft: Draft, bins: GreyBins) -> NDArray[np.float64]:
    """Find the grey threshold of each particle; without a surrounding, that of all together.

    Returns
    -------
    ndarray of float64, (n,)
        Not a number for a particle that is not brighter than its surrounding.
    """
    overall = balance_otsu(draft.inside.sum(axis=0), draft.outside.sum(axis=0))
    own = np.array(
        [balance_otsu(a, b) for a, b in zip(draft.inside, draft.outside, strict=True)],
        dtype=np.float64,
    )
    lonely = draft.outside.sum(axis=1) == 0
    return bins.edge(np.where(lonely, overall, own))
