"""Coarser levels of a volume: how many, how large, and how a block is downsampled.

Grey values are averaged. Identities are not: the most frequent of the voxels wins, so that a
coarse particle keeps its outline to half a coarse voxel. Both keep the centre of mass, hence
level k lies shifted by half the difference of the voxel sizes.

Zarr arrays whose errors name the damaged file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ncm_kedro.errors import StoreError
from ncm_kedro.tomo.volumes.blocks import Block, list_blocks
from ncm_kedro.tomo.volumes.volume import Spacing, Triple

LONGEST_AXIS_VX = 256
_ANISOTROPY = 1.5


@dataclass(frozen=True)
class Level:
    """One level of a pyramid.

    Attributes
    ----------
    shape_zyx
        Voxels along z, y, x.
    spacing_um
        Edges of a voxel along z, y, x.
    factors_zyx
        1 or 2 along each axis: by how much the next finer level was shrunk.
    offset_um
        Centre of the first voxel, counted from the centre of the finest level's first voxel.
    """

    shape_zyx: Triple
    spacing_um: Spacing
    factors_zyx: Triple
    offset_um: Spacing


def list_levels(shape_zyx: Triple, voxel_size_um: Spacing) -> list[Level]:
    """List the levels of a pyramid, the full resolution first.

    Each level halves the axes that are not already coarser than 1.5 times the finest one, until
    the longest axis has at most 256 voxels.

    Parameters
    ----------
    shape_zyx
        Voxels along z, y, x of the full resolution.
    voxel_size_um
        Edges of its voxels along z, y, x.
    """
    levels = [Level(shape_zyx, voxel_size_um, (1, 1, 1), (0.0, 0.0, 0.0))]
    while max(levels[-1].shape_zyx) > LONGEST_AXIS_VX:
        levels.append(_next_level(levels[-1], voxel_size_um))
    return levels


def _next_level(level: Level, voxel_size_um: Spacing) -> Level:
    long_enough = [n > 1 for n in level.shape_zyx]
    finest = min(s for s, usable in zip(level.spacing_um, long_enough, strict=True) if usable)
    factors = [
        2 if usable and s <= _ANISOTROPY * finest else 1
        for s, usable in zip(level.spacing_um, long_enough, strict=True)
    ]
    shape = [-(-n // f) for n, f in zip(level.shape_zyx, factors, strict=True)]
    spacing = [s * f for s, f in zip(level.spacing_um, factors, strict=True)]
    offset = [(s - s0) / 2 for s, s0 in zip(spacing, voxel_size_um, strict=True)]
    return Level(
        (shape[0], shape[1], shape[2]),
        (spacing[0], spacing[1], spacing[2]),
        (factors[0], factors[1], factors[2]),
        (offset[0], offset[1], offset[2]),
    )


@dataclass(frozen=True)
class DownsampleBlock:
    """Writes one block of a coarser level; picklable, so that a cluster may run it.

    Attributes
    ----------
    factors_zyx
        1 or 2 along each axis.
    is_label
        Whether the most frequent value is taken instead of the mean.
    """

    finer: zarr.Array
    coarser: zarr.Array
    factors_zyx: Triple
    is_label: bool

    def __call__(self, block: Block) -> Mapping[str, NDArray[np.generic]] | None:
        """Fill the block; at most its own size is read at a time."""
        result_zyx = np.empty(block.shape, self.coarser.dtype)
        depth, height, width = (-(-n // 2) for n in block.shape)
        for part in list_blocks(block.shape, (depth, height, width)):
            source = tuple(
                slice((o + a) * f, min((o + b) * f, n))
                for o, a, b, f, n in zip(
                    block.start, part.start, part.stop, self.factors_zyx, self.finer.shape,
                    strict=True,
                )
            )  # fmt: skip
            finer_zyx = np.asarray(self.finer[source])
            result_zyx[part.region] = shrink_array(
                finer_zyx, self.factors_zyx, is_label=self.is_label
            )
        self.coarser[block.region] = result_zyx
        return None


def shrink_array(array_zyx: NDArray[Any], factors_zyx: Triple, *, is_label: bool) -> NDArray[Any]:
    """Shrink an array by 1 or 2 along each axis.

    Parameters
    ----------
    array_zyx
        (Z, Y, X), any real type; an odd last plane counts twice.
    factors_zyx
        1 or 2 along z, y, x.
    is_label
        True: the most frequent value, of several the one that comes first in the array;
        False: the mean, rounded for whole numbers.

    Returns
    -------
    ndarray
        Same type, ``ceil(n / factor)`` along each axis.
    """
    odd = [(0, -n % f) for n, f in zip(array_zyx.shape, factors_zyx, strict=True)]
    padded = np.pad(array_zyx, odd, mode="edge") if any(b for _, b in odd) else array_zyx
    parts = [
        padded[tuple(slice(o, None, f) for o, f in zip(place, factors_zyx, strict=True))]
        for place in product(*(range(f) for f in factors_zyx))
    ]
    return _take_mode(parts) if is_label else _take_mean(parts)


def _take_mean(parts: list[NDArray[Any]]) -> NDArray[Any]:
    small = parts[0].dtype.itemsize <= 2 and parts[0].dtype.kind in "ui"
    total = np.zeros(parts[0].shape, np.float32 if small else np.float64)
    for part in parts:
        total += part
    total /= len(parts)
    if parts[0].dtype.kind in "ui":
        np.rint(total, out=total)
    return total.astype(parts[0].dtype)


def _take_mode(parts: list[NDArray[Any]]) -> NDArray[Any]:
    chosen = parts[0].copy()
    most = np.zeros(chosen.shape, np.uint8)
    for candidate in parts:
        count = np.zeros(chosen.shape, np.uint8)
        for other in parts:
            count += candidate == other
        better = count > most
        np.copyto(chosen, candidate, where=better)
        np.copyto(most, count, where=better)
    return chosen


_DECODING_ERRORS = (ValueError, RuntimeError, OSError, TypeError, KeyError)


class GuardedArray(zarr.Array):
    """A Zarr array whose reads raise `StoreError` where the stored bytes are damaged.

    Chunks carry a checksum (crc32c), so that a flipped bit does not pass as a grey value. A file
    that is missing altogether is no error in Zarr: it stands for the fill value.

    Parameters
    ----------
    async_array
        What an opened `zarr.Array` wraps; `guard_array` hands it over.
    """

    def __getitem__(self, selection: Any) -> Any:
        try:
            return super().__getitem__(selection)
        except _DECODING_ERRORS as error:
            damaged = self._find_damaged()
            if damaged is None:
                raise
            raise StoreError(
                damaged,
                found=f"a chunk that cannot be decoded ({error})",
                expected="the bytes that were written",
                action="check the disk, delete this volume's folder and run the pipeline that "
                "writes it again; other volumes are not concerned",
            ) from error

    def _find_damaged(self) -> str | None:
        """Name the first file of the array that cannot be decoded."""
        edges = self.shards or self.chunks
        grid = [range(-(-n // edge)) for n, edge in zip(self.shape, edges, strict=True)]
        for place in product(*grid):
            region = tuple(slice(i * e, (i + 1) * e) for i, e in zip(place, edges, strict=True))
            try:
                super().__getitem__(region)
            except _DECODING_ERRORS:
                return f"{self.store_path}/{self.metadata.encode_chunk_key(place)}"
        return None


def guard_array(array: zarr.Array) -> GuardedArray:
    """Wrap an opened array; nothing is read."""
    return GuardedArray(array.async_array)
