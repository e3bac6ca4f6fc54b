"""From what the network says about sections to maps of the same size, and their fusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]

STEPS_PER_VOXEL = 4
"""Stored distances are whole numbers of this share of a voxel of the working grid."""

ZERO_STEP = 8
"""What stands for the outline itself on the working grid; less is outside, 0 being far away."""

_BYTE = 255
_SLACK = 1e-3  # steps; rounding does not make an outline the inside


class SectionMaps(Protocol):
    """What a network predicts for sections of (N, H, W) px on its grid of every g-th px.

    Grid point (i, j) sits at pixel (g i, g j) of the section.
    """

    @property
    def prob_nyx(self) -> FloatArray:
        """Probability of being well inside a particle, (N, ceil(H/g), ceil(W/g)), 0 to 1."""

    @property
    def dist_nkyx(self) -> FloatArray:
        """Distance to the outline along each ray, (N, K, ceil(H/g), ceil(W/g)), px of the input."""


class SectionNetwork(Protocol):
    """What fusion needs to know of a detector."""

    @property
    def grid(self) -> int:
        """Input pixels per output pixel."""

    @property
    def particle_px(self) -> float:
        """Diameter of the particles that it was trained around (px)."""

    @property
    def receptive_px(self) -> int:
        """How far a prediction looks (px)."""

    @property
    def prob_threshold(self) -> float:
        """Probability from which a pixel may be a particle's centre."""

    @property
    def fingerprint(self) -> str:
        """Identity of weights and settings."""

    def predict(self, sections_nyx: FloatArray) -> SectionMaps:
        """Predict normalised sections (N, H, W)."""


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
    grid
        Pixels per point.
    shape_yx
        Height and width of the section.

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
    """Round distances in working voxels, negative outside, to steps counted from ``ZERO_STEP``."""
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
    rule
        How distances are fused; probabilities are averaged.

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
    grid
        Pixels per point.

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
