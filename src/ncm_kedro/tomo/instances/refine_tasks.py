"""Masks of refined particles in files, and blocks put together from them.

From watershed labels to refined particles: three passes over blocks.

Draft: labels are assigned, and each particle's grey values and those of its surrounding counted.
Refine: each particle is cut out whole and refined once, by the block that holds its first voxel.
Assemble: each block is put together from the particles that reach into it, so that one task alone
writes a shard and the cutting into blocks does not show.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numba import njit
from numpy.typing import NDArray

from ncm_kedro.atomic_write import open_atomic
from ncm_kedro.params.tomo_segment import RefineParams
from ncm_kedro.tomo.fusion.scale import GreyArray
from ncm_kedro.tomo.instances.refine import RefineLengths, refine_particle
from ncm_kedro.tomo.instances.watershed import map_identities
from ncm_kedro.tomo.volumes.blocks import Block
from ncm_kedro.tomo.volumes.volume import Spacing, Triple


@dataclass(frozen=True)
class AssembleTask:
    """Put a block together from refined particles, and from watershed labels that were not refined.

    Attributes
    ----------
    labels, cracks
        uint32 and uint8 (Z, Y, X), written.
    kept
        New label of each particle that keeps its watershed outline, index 0 for the background, 0
        for any other; (n + 1,).
    owner, box
        Block that refined each particle, and its bounding box, for label 1 first.
    """

    draft: zarr.Array
    labels: zarr.Array
    cracks: zarr.Array
    kept: NDArray[np.uint32]
    final: NDArray[np.uint32]
    owner: NDArray[np.int64]
    box: NDArray[np.int64]
    masks: Path

    def __call__(self, block: Block) -> None:
        """Write the block; where two refined particles meet, the lower label has it."""
        if self.kept.any():
            labels = self.kept[np.asarray(self.draft[block.region])]
        else:
            labels = np.zeros(block.shape, dtype=np.uint32)
        cracks = np.zeros(block.shape, dtype=np.uint8)
        low = np.maximum(self.box[:, :3], block.start)
        high = np.minimum(self.box[:, 3:], block.stop)
        here = (low < high).all(axis=1) & (self.final[1:] > 0)
        for at in np.flatnonzero(here)[::-1]:
            filled, crack = self._read(int(at))
            start = self.box[at, :3]
            into = tuple(
                slice(a - o, b - o) for a, b, o in zip(low[at], high[at], block.start, strict=True)
            )
            cut = tuple(
                slice(a - s, b - s) for a, b, s in zip(low[at], high[at], start, strict=True)
            )
            own = filled[cut]
            labels[into][own] = self.final[at + 1]
            cracks[into][own] = crack[cut][own]
        self.labels[block.region] = labels
        self.cracks[block.region] = cracks

    def _read(self, at: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        shape = tuple((self.box[at, 3:] - self.box[at, :3]).tolist())
        size = int(np.prod(shape))
        with np.load(mask_path(self.masks, int(self.owner[at]))) as stored:
            found = [
                np.unpackbits(stored[f"{at + 1}_{kind}"], count=size).reshape(shape).astype(bool)
                for kind in ("filled", "crack")
            ]
        return found[0], found[1]


def mask_path(folder: Path, block_index: int) -> Path:
    """Return the file of the masks that a block refined."""
    return folder / f"{block_index:06d}.npz"


GREY_BINS = 256
BOX_COLUMNS = 6  # start z, y, x and stop z, y, x
_BEYOND = np.uint32(0xFFFFFFFF)  # voxels outside the field of view, which no particle may take


@dataclass(frozen=True)
class GreyBins:
    """Equal bins of grey values.

    Attributes
    ----------
    low, high
        Lower edge of the first and upper edge of the last bin; values beyond fall into these.
    """

    low: float
    high: float

    def place(self, grey: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Return the bin of each grey value."""
        scaled = (grey.astype(np.float32) - self.low) * (GREY_BINS / (self.high - self.low))
        return np.asarray(np.clip(scaled, 0, GREY_BINS - 1), dtype=np.uint8)

    def edge(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the grey value of a position in bins."""
        return self.low + position * (self.high - self.low) / GREY_BINS


@dataclass(frozen=True)
class DraftTask:
    """Assign watershed labels and count the grey values in and around each.

    Attributes
    ----------
    terminals
        uint64 (Z, Y, X).
    keys, labels
        Table from terminals to labels, 0 for what is dropped.
    draft
        uint32 (Z, Y, X), written.
    grey
        (Z, Y, X).
    view
        Field of view (1 inside), or None for everything.
    gap_vx, shell_vx
        Blurred voxels beside a particle, and thickness of its surrounding beyond them.
    """

    terminals: zarr.Array
    keys: NDArray[np.uint64]
    labels: NDArray[np.uint32]
    draft: zarr.Array
    grey: GreyArray
    view: zarr.Array | None
    bins: GreyBins
    gap_vx: int
    shell_vx: int

    def __call__(self, block: Block) -> dict[str, NDArray[np.generic]]:
        """Return label, voxel count, box and the two histograms of each particle in the block."""
        outer = block.grow(self.gap_vx + self.shell_vx, self.draft.shape)
        inner = block.within(outer)
        labels = map_identities(np.asarray(self.terminals[outer.region]), self.keys, self.labels)
        self.draft[block.region] = labels[inner]
        present = np.unique(labels[inner])
        present = present[present > 0]
        if not len(present):
            return _empty_draft()
        valid = np.ones(labels.shape, dtype=bool)
        if self.view is not None:
            valid = np.asarray(self.view[outer.region]) > 0
        local = np.searchsorted(present, labels).astype(np.int32)
        local[labels == 0] = -1
        local[(labels > 0) & (present[np.minimum(local, len(present) - 1)] != labels)] = -2
        core = np.array([[s.start, s.stop] for s in inner], dtype=np.int64)
        count, box, inside, outside = _count_grey_levels(
            local, self.bins.place(self.grey[outer.region]), valid, core,
            len(present), self.gap_vx, self.shell_vx,
        )  # fmt: skip
        box += np.tile(outer.start, 2)
        return {"label": present, "count": count, "box": box, "inside": inside, "outside": outside}


@dataclass(frozen=True)
class RefineTask:
    """Refine the particles whose first voxel lies in a block, and keep their masks in a file.

    Attributes
    ----------
    owner
        Index of the block that each particle belongs to, (n,), for label 1 first.
    box
        Bounding boxes, (n, 6).
    threshold
        Grey value between each particle and its surrounding, (n,).
    voxel_size_um
        Edges of a voxel along z, y, x.
    inset_um
        How far inside the outline the watershed stopped.
    """

    draft: zarr.Array
    grey: GreyArray
    view: zarr.Array | None
    owner: NDArray[np.int64]
    box: NDArray[np.int64]
    threshold: NDArray[np.float64]
    voxel_size_um: Spacing
    params: RefineParams
    inset_um: float
    masks: Path

    def __call__(self, block: Block) -> dict[str, NDArray[np.generic]]:
        """Return label, voxel count and box of each refined particle."""
        rows = []
        stored: dict[str, NDArray[np.uint8]] = {}
        reach = RefineLengths.of(self.params, self.voxel_size_um, self.inset_um)
        for at in np.flatnonzero(self.owner == block.index):
            label = int(at) + 1
            filled, crack, corner = self._refine(label, reach)
            count = int(filled.sum())
            box = np.zeros(BOX_COLUMNS, np.int64)
            if count:
                cut = _cut_box(filled)
                stored[f"{label}_filled"] = np.packbits(filled[cut])
                stored[f"{label}_crack"] = np.packbits(crack[cut])
                box = np.array(
                    [c + s.start for c, s in zip(corner, cut, strict=True)]
                    + [c + s.stop for c, s in zip(corner, cut, strict=True)]
                )
            rows.append([label, count, *box])
        if stored:
            with open_atomic(mask_path(self.masks, block.index)) as file:
                np.savez_compressed(file, **stored)  # type: ignore[arg-type]
        return {"refined": np.array(rows, dtype=np.int64).reshape(-1, 2 + BOX_COLUMNS)}

    def _refine(
        self, label: int, reach: RefineLengths
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Triple]:
        shape = self.draft.shape
        z0, y0, x0, z1, y1, x1 = self.box[label - 1].tolist()
        outer = Block(0, (z0, y0, x0), (z1, y1, x1)).grow(reach.margin_zyx, shape)
        labels = np.asarray(self.draft[outer.region])
        if not np.isfinite(self.threshold[label - 1]):
            own = labels == label
            return own, np.zeros_like(own), outer.start
        if self.view is not None:
            labels[np.asarray(self.view[outer.region]) == 0] = _BEYOND
        filled, crack = refine_particle(
            self.grey[outer.region],
            labels,
            label,
            float(self.threshold[label - 1]),
            voxel_size_um=self.voxel_size_um,
            reach=reach,
            params=self.params,
            at_face=tuple(
                (a == 0, b == n) for a, b, n in zip(outer.start, outer.stop, shape, strict=True)
            ),
        )
        return filled, crack, outer.start


def _empty_draft() -> dict[str, NDArray[np.generic]]:
    return {
        "label": np.empty(0, np.uint32),
        "count": np.empty(0, np.int64),
        "box": np.empty((0, BOX_COLUMNS), np.int64),
        "inside": np.empty((0, GREY_BINS), np.int64),
        "outside": np.empty((0, GREY_BINS), np.int64),
    }


def _cut_box(mask_zyx: NDArray[np.bool_]) -> tuple[slice, ...]:
    slices = []
    for axis in range(mask_zyx.ndim):
        others = tuple(other for other in range(mask_zyx.ndim) if other != axis)
        at = np.flatnonzero(mask_zyx.any(axis=others))
        slices.append(slice(int(at[0]), int(at[-1]) + 1))
    return tuple(slices)


@njit(cache=True, nogil=True)
def _count_grey_levels(  # noqa: PLR0912, PLR0917  (numba takes positions)
    local: NDArray[Any],
    grey: NDArray[Any],
    valid: NDArray[Any],
    core: NDArray[Any],
    labels: int,
    gap: int,
    shell: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Count voxels, bounds and grey values; the surrounding is walked along the six axes."""
    size = np.array(local.shape)
    count = np.zeros(labels, dtype=np.int64)
    box = np.zeros((labels, 6), dtype=np.int64)
    inside = np.zeros((labels, 256), dtype=np.int64)
    outside = np.zeros((labels, 256), dtype=np.int64)
    for z in range(core[0, 0], core[0, 1]):
        for y in range(core[1, 0], core[1, 1]):
            for x in range(core[2, 0], core[2, 1]):
                label = local[z, y, x]
                if label < 0:
                    continue
                here = (z, y, x)
                for axis in range(3):
                    if count[label] == 0 or here[axis] < box[label, axis]:
                        box[label, axis] = here[axis]
                    if count[label] == 0 or here[axis] + 1 > box[label, axis + 3]:
                        box[label, axis + 3] = here[axis] + 1
                count[label] += 1
                inside[label, grey[z, y, x]] += 1
                for axis in range(3):
                    for way in (-1, 1):
                        dz, dy, dx = way * (axis == 0), way * (axis == 1), way * (axis == 2)
                        for step in range(1, gap + shell + 1):
                            at = here[axis] + way * step
                            if at < 0 or at >= size[axis]:
                                break
                            sz, sy, sx = z + dz * step, y + dy * step, x + dx * step
                            if local[sz, sy, sx] != -1 or not valid[sz, sy, sx]:
                                break
                            if step > gap:
                                outside[label, grey[sz, sy, sx]] += 1
    return count, box, inside, outside
