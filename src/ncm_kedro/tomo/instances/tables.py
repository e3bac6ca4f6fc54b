"""Tables of particles between the passes over blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.tomo.instances.refine import balance_otsu
from ncm_kedro.tomo.instances.refine_tasks import BOX_COLUMNS, GREY_BINS, GreyBins
from ncm_kedro.tomo.volumes.blocks import Block
from ncm_kedro.tomo.volumes.volume import Triple, Volume

Results = Sequence[dict[str, NDArray[np.generic]]]
"""What the blocks of a pass returned."""

_SCRATCH_CHUNK_VX = 64


@dataclass(frozen=True)
class Parts:
    """Flooded particles: ends of chains, the label of each (0: none), and the label's seed.

    ``seed`` is the raster index of the first voxel of each label's seed, for label 1 first.
    """

    keys: NDArray[np.uint64]
    labels: NDArray[np.uint32]
    seed: NDArray[np.int64]


@dataclass(frozen=True)
class Draft:
    """What the draft knows of each flooded particle, for label 1 first."""

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
    keys
        Ends of chains, ascending.
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
    blocks
        All blocks.
    shape_zyx
        Shape of the volume.
    """
    edges = blocks[0].shape
    grid = tuple(-(-n // edge) for n, edge in zip(shape_zyx, edges, strict=True))
    at = np.unravel_index(seed, shape_zyx)
    found = np.ravel_multi_index(tuple(a // edge for a, edge in zip(at, edges, strict=True)), grid)
    return np.asarray(found, dtype=np.int64)


def choose_bins(volume: Volume) -> GreyBins:
    """Spread the bins over the grey values of the three central planes.

    Parameters
    ----------
    volume
        Grey values.
    """
    planes = [
        np.asarray(volume.array[tuple(slice(n // 2, n // 2 + 1) if a == axis else slice(None)
                                      for a, n in enumerate(volume.shape_zyx))]).ravel()
        for axis in range(3)
    ]  # fmt: skip
    low, high = np.percentile(np.concatenate(planes).astype(np.float32), [0.1, 99.9])
    return GreyBins(float(low), float(high) if high > low else float(low) + 1)


def join_drafts(parts: Results, particles: int) -> Draft:
    """Join what the blocks know of each particle.

    Parameters
    ----------
    parts
        What the tasks returned.
    particles
        Number of labels.
    """
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

    Parameters
    ----------
    draft
        Histograms.
    bins
        Their bins.

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
