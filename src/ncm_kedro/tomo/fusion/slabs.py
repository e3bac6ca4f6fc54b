"""Passes over the working grid: slabs of sections, one direction at a time.

A pass along an axis cuts the grid into slabs, thin along that axis, and predicts each section of a
slab. The first two passes store their maps, each in an array of its own stage that also holds those
of the pass before; the third fuses its maps with them on the spot. So at no time are there maps of
three directions, in memory or on disk, and since no pass writes what it reads, a slab can be done
again after a kill.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import zarr
from numpy.typing import NDArray

from ncm_kedro.params.tomo_segment import TomoFusionParams
from ncm_kedro.tomo.fusion.maps import (
    ByteArray,
    FloatArray,
    SectionNetwork,
    continue_outside,
    fuse_directions,
    measure_inner_distance,
    quantise_distance,
    quantise_probability,
    upsample_grid,
)
from ncm_kedro.tomo.volumes.blocks import Block, list_blocks
from ncm_kedro.tomo.volumes.pyramid import guard_array
from ncm_kedro.tomo.volumes.volume import Triple, normalise_sections

Axis = Literal[0, 1, 2]
DIRECTIONS = ("xy", "xz", "yz")
"""Planes of the sections of each pass; the pass along axis k has the k-th."""

_STRIDE = 32  # px; tiles start at multiples of it, which no network halves further
_LARGER = 1.25  # a section is cut into tiles where it is longer than a tile by this factor


@dataclass(frozen=True)
class GreyScale:
    """Grey values of the working grid that become 0 and 1 for the network."""

    low: float
    high: float

    def apply(self, sections_nyx: NDArray[np.float16]) -> FloatArray:
        """Map grey values to 0 for ``low`` and 1 for ``high``, beyond where they are beyond."""
        return normalise_sections(sections_nyx, self.low, self.high)


@dataclass(frozen=True)
class SectionPass:
    """The task of one pass: predict the sections of a slab, or of a tile of it.

    Attributes
    ----------
    axis
        The axis across the sections: 0 for xy, 1 for xz, 2 for yz.
    network
        The detector.
    grey
        Array of grey values of the working grid, (Z, Y, X).
    scale
        What is 0 and 1 for the network.
    previous
        Array of the stage before, (2 axis, Z, Y, X): probability and distance of each pass so far;
        None for the first.
    target
        Array of this stage: that of the stage before and two more maps; for the last pass
        probability, distance and disagreement, fused.
    params
        Batches, tiles, fusion.
    """

    axis: Axis
    network: SectionNetwork
    grey: Path
    scale: GreyScale
    previous: Path | None
    target: Path
    params: TomoFusionParams

    def __call__(self, block: Block) -> None:
        """Predict one slab and write its maps."""
        grey = open_scratch(self.grey, "r")
        shape = as_triple(grey.shape)
        outer = self._add_halo(block, shape)
        box = np.asarray(grey[outer.region])
        maps = self._predict(np.moveaxis(box, self.axis, 0))
        inner = block.within(outer)
        prob, dist = (np.moveaxis(one, 0, self.axis)[inner] for one in maps)
        before = self._read_previous(block)
        if self.axis == len(DIRECTIONS) - 1:
            probs, dists = [*before[0::2], prob], [*before[1::2], dist]
            channels = list(fuse_directions(probs, dists, self.params.distance_fusion))
        else:
            channels = [*before, prob, dist]
        open_scratch(self.target, "r+")[(slice(None), *block.region)] = np.stack(channels)

    def _add_halo(self, block: Block, shape: Triple) -> Block:
        halo = -(-self.network.receptive_px // _STRIDE) * _STRIDE
        margins = tuple(0 if axis == self.axis else halo for axis in range(3))
        return block.grow((margins[0], margins[1], margins[2]), shape)

    def _read_previous(self, block: Block) -> list[ByteArray]:
        if self.previous is None:
            return []
        previous = open_scratch(self.previous, "r")
        return list(np.asarray(previous[(slice(None), *block.region)]))

    def _predict(self, sections: NDArray[np.float16]) -> tuple[ByteArray, ByteArray]:
        prob_nyx = np.empty(sections.shape, dtype=np.uint8)
        dist_nyx = np.empty(sections.shape, dtype=np.uint8)
        for part in cut_batches(sections.shape, self.params.batch_px):
            prob_nyx[part], dist_nyx[part] = predict_maps(
                self.network, self.scale.apply(sections[part]), self.params.min_probability
            )
        return prob_nyx, dist_nyx


def predict_maps(
    network: SectionNetwork, sections_nyx: FloatArray, min_probability: float
) -> tuple[ByteArray, ByteArray]:
    """Predict sections and bring the maps to their pixels.

    Parameters
    ----------
    network
        The detector.
    sections_nyx
        Normalised sections (N, H, W).
    min_probability
        Below it the distance is 0.

    Returns
    -------
    prob_nyx, dist_nyx : ndarray of uint8, shape (N, H, W)
        Probability 0 to 255, and distance to the outline within the section, in steps
        counted from ``ZERO_STEP``.
    """
    maps = network.predict(sections_nyx)
    inner_nyx = measure_inner_distance(maps.dist_nkyx)
    inner_nyx[maps.prob_nyx < min_probability] = 0
    height, width = sections_nyx.shape[1:]
    prob_nyx = upsample_grid(maps.prob_nyx, network.grid, (height, width))
    signed_nyx = continue_outside(inner_nyx, network.grid)
    dist_nyx = upsample_grid(signed_nyx, network.grid, (height, width))
    return quantise_probability(prob_nyx), quantise_distance(dist_nyx)


def list_slabs(shape_zyx: Triple, axis: Axis, params: TomoFusionParams) -> list[Block]:
    """Cut the working grid into the slabs of a pass.

    Parameters
    ----------
    shape_zyx
        Voxels of the grid.
    axis
        The axis across the sections.
    params
        Thickness of a slab and edge of a tile.

    Returns
    -------
    list of Block
        Slabs of whole sections, or of tiles where a section is larger; their faces lie on those
        of chunks.
    """
    tile = max(1, params.tile_px // params.slab_vx) * params.slab_vx
    edges = [length if length <= tile * _LARGER else tile for length in shape_zyx]
    edges[axis] = params.slab_vx
    return list_blocks(shape_zyx, (edges[0], edges[1], edges[2]))


def cut_batches(shape_nyx: tuple[int, ...], batch_px: int) -> Iterator[slice]:
    """Cut a stack of sections into batches of at most so many pixels, or of one section."""
    count, height, width = shape_nyx
    size = max(1, batch_px // (height * width))
    for start in range(0, count, size):
        yield slice(start, min(count, start + size))


def open_scratch(path: Path, mode: Literal["r", "r+"]) -> zarr.Array:
    """Open an array of a stage; a damaged chunk raises ``StoreError`` when it is read."""
    return guard_array(zarr.open_array(path, mode=mode))


def as_triple(shape: tuple[int, ...]) -> Triple:
    """Return a shape of three axes as such."""
    depth, height, width = shape
    return depth, height, width
