"""From the network's predictions of sections to maps of the same size, and their fusion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import zarr
from numpy.typing import NDArray

from ncm_kedro.params.tomo_segment import TomoFusionParams
from ncm_kedro.tomo.detector.detector import Detector
from ncm_kedro.tomo.volumes.blocks import Block, list_blocks
from ncm_kedro.tomo.volumes.ingest import guard_array
from ncm_kedro.tomo.volumes.volume import Triple, normalise_sections

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]

STEPS_PER_VOXEL = 4
"""Stored distances are whole numbers of this fraction of a voxel of the detection grid."""

ZERO_STEP = 8
"""Stored value of the outline itself on the detection grid; lower is outside, 0 far away."""

_BYTE = 255
_SLACK = 1e-3  # steps; rounding does not make an outline the inside


def measure_inner_distance(dist_nkyx: FloatArray) -> FloatArray:
    """Reduce the distances along rays to the distance to the nearest point of the outline.

    The least of the rays after each was averaged with its two neighbours. A plain minimum of
    noisy rays comes out low; the average overstates a straight outline's distance by 1.3 % for
    32 rays, and leaves its zero where it is.

    Parameters
    ----------
    dist_nkyx
        Distances (N, K, h, w) in px, rays at equal angles.

    Returns
    -------
    ndarray of float32, shape (N, h, w)
        Distances, 0 or more, px.
    """
    count, rays, *plane = dist_nkyx.shape
    least_nyx = np.empty((count, *plane), dtype=np.float32)
    for dist_kyx, least_yx in zip(dist_nkyx, least_nyx, strict=True):
        least_yx[:] = dist_kyx[-1] + dist_kyx[0] + dist_kyx[1]
        for ray in range(1, rays):
            around_yx = dist_kyx[ray - 1] + dist_kyx[ray]
            around_yx += dist_kyx[(ray + 1) % rays]
            np.minimum(least_yx, around_yx, out=least_yx)
    least_nyx /= 3
    return np.maximum(least_nyx, 0, out=least_nyx)


def upsample_grid(maps_nyx: FloatArray, grid: int, shape_yx: tuple[int, int]) -> FloatArray:
    """Bring maps from the network's grid to the pixels of the section, linearly.

    Parameters
    ----------
    maps_nyx
        Maps (N, h, w); point (i, j) sits at pixel (grid i, grid j).

    Returns
    -------
    ndarray of float32, shape (N, H, W)
        Pixels past the last grid point take its value.
    """
    height, width = shape_yx
    tall_nyx = _upsample_last(np.swapaxes(maps_nyx, 1, 2), grid, height)
    return _upsample_last(np.swapaxes(tall_nyx, 1, 2), grid, width)


def quantise_probability(prob: FloatArray) -> ByteArray:
    """Round probabilities 0 to 1 to 0 to 255."""
    return np.rint(np.clip(prob, 0, 1) * _BYTE).astype(np.uint8)


def quantise_distance(dist_vx: FloatArray) -> ByteArray:
    """Round distances in detection voxels, negative outside, to steps from ``ZERO_STEP``."""
    return np.rint(np.clip(dist_vx * STEPS_PER_VOXEL + ZERO_STEP, 0, _BYTE)).astype(np.uint8)


def keep_inside(distance: NDArray[np.float32] | ByteArray) -> ByteArray:
    """Bring stored distances to steps from the outline, 0 on it and outside.

    Parameters
    ----------
    distance
        Steps counted from ``ZERO_STEP``, interpolated or not.
    """
    steps: FloatArray = distance.astype(np.float32) - np.float32(ZERO_STEP + _SLACK)
    inside: ByteArray = np.ceil(np.maximum(steps, 0)).astype(np.uint8)
    return inside


def fuse_directions(
    probs: Sequence[ByteArray], dists: Sequence[ByteArray], rule: Literal["mean", "median"]
) -> tuple[ByteArray, ByteArray, ByteArray]:
    """Fuse the maps of the three directions, voxel by voxel.

    Parameters
    ----------
    probs, dists
        Probability (0-255) and distance (steps counted from ``ZERO_STEP``) of each direction,
        three arrays of one shape.

    Returns
    -------
    probability, distance, disagreement : ndarray of uint8
        Mean probability, fused distance, and the range of the three probabilities.
    """
    total = probs[0].astype(np.uint16) + probs[1] + probs[2]
    probability = ((total + 1) // 3).astype(np.uint8)
    low, high = np.minimum(probs[0], probs[1]), np.maximum(probs[0], probs[1])
    disagreement = np.maximum(high, probs[2]) - np.minimum(low, probs[2])
    if rule == "mean":
        distance = ((dists[0].astype(np.uint16) + dists[1] + dists[2] + 1) // 3).astype(np.uint8)
    else:
        low, high = np.minimum(dists[0], dists[1]), np.maximum(dists[0], dists[1])
        distance = np.maximum(low, np.minimum(high, dists[2]))
    return probability, distance, disagreement


def continue_outside(inner_nyx: FloatArray, grid: int) -> FloatArray:
    """Continue distances to the next points outside, so that their zero can be interpolated.

    A point of distance 0 gets what its neighbours' distances fall to on the way to it, at one px
    per px: the largest continuation outwards that is nowhere steeper than a distance can be.
    Without it the zero would lie where the outermost point outside is, up to a step of the grid
    past the outline.

    Parameters
    ----------
    inner_nyx
        Distances in px on the network's grid, (N, h, w), 0 outside.

    Returns
    -------
    ndarray of float32, shape (N, h, w)
        The same inside; 0 or less outside, in px.
    """
    padded_nyx = np.pad(inner_nyx, ((0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = inner_nyx.shape[1:]
    outside_nyx = np.full(inner_nyx.shape, -ZERO_STEP / STEPS_PER_VOXEL, dtype=np.float32)
    for y, x in np.ndindex(3, 3):
        way_px = np.float32(grid * np.hypot(y - 1, x - 1))
        neighbour_nyx = padded_nyx[:, y : y + height, x : x + width]
        reached_nyx = np.where(neighbour_nyx > 0, neighbour_nyx - way_px, outside_nyx)
        np.maximum(outside_nyx, reached_nyx, out=outside_nyx)
    return np.where(inner_nyx > 0, inner_nyx, np.minimum(outside_nyx, 0))


def _upsample_last(maps: FloatArray, grid: int, length: int) -> FloatArray:
    if grid == 1:
        return maps
    following = np.concatenate([maps[..., 1:], maps[..., -1:]], axis=-1)
    wide = np.empty((*maps.shape, grid), dtype=np.float32)
    for part in range(grid):
        share = np.float32(part / grid)
        wide[..., part] = maps * (1 - share) + following * share
    return wide.reshape(*maps.shape[:-1], -1)[..., :length]


Axis = Literal[0, 1, 2]
DIRECTIONS = ("xy", "xz", "yz")
"""Planes of the sections of each pass; the pass along axis k has the k-th."""

_STRIDE = 32  # px; tiles start at multiples of it, which no network halves further
_LARGER = 1.25  # a section is cut into tiles where it is longer than a tile by this factor


@dataclass(frozen=True)
class GreyScale:
    """Grey values of the detection grid that become 0 and 1 for the network."""

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
    grey
        Array of grey values of the detection grid, (Z, Y, X).
    scale
        What is 0 and 1 for the network.
    previous
        Array of the stage before, (2 axis, Z, Y, X): probability and distance of each pass so far;
        None for the first.
    target
        Array of this stage: that of the stage before and two more maps; for the last pass
        probability, distance and disagreement, fused.
    """

    axis: Axis
    network: Detector
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
    network: Detector, sections_nyx: FloatArray, min_probability: float
) -> tuple[ByteArray, ByteArray]:
    """Predict sections and bring the maps to their pixels.

    Parameters
    ----------
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
    """Cut the detection grid into the slabs of a pass.

    Parameters
    ----------
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
