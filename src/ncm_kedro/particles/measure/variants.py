"""Labels and cracks with their outlines moved by one voxel, computed where they are read.

What a voxel becomes depends on itself and its six face neighbours alone, so that the result is
the same however it is cut. The views are read as Zarr arrays are: by slices of step 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ncm_kedro.particles.measure.specimen import VoxelArray, read_box
from ncm_kedro.tomo.volumes.blocks import Block

LabelChange = Literal["tighter", "wider"]
CrackChange = Literal["kept", "more_solid", "less_solid"]


@dataclass(frozen=True)
class VariedLabels:
    """Labels with every outline moved by one voxel.

    Attributes
    ----------
    labels
        Integers, (Z, Y, X), 0 is background.
    change
        ``tighter``: a voxel becomes background where a face neighbour holds another label or
        background. ``wider``: a background voxel takes the smallest label among its face
        neighbours.
    view
        Field of view, (Z, Y, X), above 0 inside; None: everywhere. Nothing is known outside: no
        outline recedes from there and none advances into it, as at the volume's faces.
    """

    labels: VoxelArray
    change: LabelChange
    view: VoxelArray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along z, y, x."""
        return tuple(self.labels.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the labels."""
        dtype: np.dtype[Any] = np.dtype(self.labels.dtype)
        return dtype

    def __getitem__(self, region: Any) -> NDArray[Any]:
        """Return the varied labels of a cut-out; it is read with a margin of one voxel."""
        inner, outer = _cut(region, self.shape)
        labels = np.ascontiguousarray(read_box(self.labels, outer))
        view = _read_view(self.view, outer)
        varied = np.empty_like(labels)
        (_tighten if self.change == "tighter" else _widen)(labels, view, varied)
        return np.ascontiguousarray(varied[inner.within(outer)])


@dataclass(frozen=True)
class CrackThresholds:
    """Grey values between solid and crack, by label.

    Attributes
    ----------
    label
        Labels in ascending order, (n,).
    threshold
        Grey value between crack (below) and solid (above), (n,).
    shift
        How far it is moved, (n,).
    """

    label: NDArray[np.int64]
    threshold: NDArray[np.float64]
    shift: NDArray[np.float64]


@dataclass(frozen=True)
class VariedCracks:
    """Cracks whose walls are moved by at most one voxel, where the grey values allow it.

    Attributes
    ----------
    cracks
        Above 0 in cracks and voids, (Z, Y, X); what lies outside ``labels`` is left out, so that
        a voxel that wider labels add is solid.
    labels
        Labels as they were measured, not varied, (Z, Y, X).
    change
        ``more_solid``: the threshold is lowered by the shift; crack voxels at a wall that are
        brighter become solid. ``less_solid``: it is raised; solid voxels at a wall that are darker
        become crack. ``kept``: neither. A wall lies between a crack voxel and a solid one that
        share a face and a label.
    grey
        Grey values, (Z, Y, X).
    thresholds
        By label. Labels that are not listed, or whose threshold is not a number, keep their cracks.
    """

    cracks: VoxelArray
    labels: VoxelArray
    change: CrackChange = "kept"
    grey: VoxelArray | None = None
    thresholds: CrackThresholds | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along z, y, x."""
        return tuple(self.cracks.shape)

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Always uint8."""
        return np.dtype(np.uint8)

    def __getitem__(self, region: Any) -> NDArray[np.uint8]:
        """Return the varied cracks of a cut-out, 1 inside; read with a margin of one voxel."""
        inner, outer = _cut(region, self.shape)
        if self.change == "kept" or self.grey is None or self.thresholds is None:
            inside = np.asarray(self.labels[inner.region]) > 0
            return ((np.asarray(self.cracks[inner.region]) > 0) & inside).astype(np.uint8)
        labels = np.ascontiguousarray(read_box(self.labels, outer))
        cracks = ((read_box(self.cracks, outer) > 0) & (labels > 0)).astype(np.uint8)
        solid_gains = self.change == "more_solid"
        sign = -1.0 if solid_gains else 1.0
        limit = self.thresholds.threshold + sign * self.thresholds.shift
        grey = np.ascontiguousarray(read_box(self.grey, inner))
        margin = tuple(part.start for part in inner.within(outer))
        varied = np.empty(inner.shape, dtype=np.uint8)
        ids = self.thresholds.label.astype(np.int64)
        _move_walls(cracks, labels, grey, margin, ids, limit, solid_gains, varied)
        return varied


def _cut(region: Any, shape: tuple[int, ...]) -> tuple[Block, Block]:
    """Return the box that a region names, and the same with a margin of one voxel."""
    parts = region if isinstance(region, tuple) else (region,)
    parts = tuple(part for part in parts if part is not Ellipsis)
    if len(parts) > len(shape) or not all(isinstance(part, slice) for part in parts):
        raise IndexError(f"a varied volume is cut by slices along z, y, x, not by {region!r}")
    spans = [part.indices(n) for part, n in zip(parts, shape, strict=False)]
    spans += [(0, n, 1) for n in shape[len(parts) :]]
    if any(step != 1 for _, _, step in spans):
        raise IndexError(f"a varied volume is cut by slices of step 1, not by {region!r}")
    z, y, x = ((start, max(start, stop)) for start, stop, _ in spans)
    inner = Block(0, (z[0], y[0], x[0]), (z[1], y[1], x[1]))
    return inner, inner.grow(1, (shape[0], shape[1], shape[2]))


def _read_view(view: VoxelArray | None, block: Block) -> NDArray[np.bool_]:
    """Read the field of view; an array of no voxels stands for everywhere."""
    if view is None:
        return np.zeros((0, 0, 0), dtype=np.bool_)
    return read_box(view, block) > 0


@njit(cache=True, nogil=True)
def _tighten(labels: NDArray[Any], view: NDArray[Any], varied: NDArray[Any]) -> None:
    depth, height, width = labels.shape
    whole = view.size == 0
    for z, y, x in np.ndindex(labels.shape):
        own = labels[z, y, x]
        varied[z, y, x] = own
        if own == 0:
            continue
        for axis in range(6):
            step = 2 * (axis & 1) - 1
            k = z + step * (axis >> 1 == 0)
            j = y + step * (axis >> 1 == 1)
            i = x + step * (axis >> 1 == 2)
            if not (0 <= k < depth and 0 <= j < height and 0 <= i < width):
                continue
            if labels[k, j, i] != own and (whole or view[k, j, i]):
                varied[z, y, x] = 0
                break


@njit(cache=True, nogil=True)
def _widen(labels: NDArray[Any], view: NDArray[Any], varied: NDArray[Any]) -> None:
    depth, height, width = labels.shape
    whole = view.size == 0
    for z, y, x in np.ndindex(labels.shape):
        best = labels[z, y, x]
        if best == 0 and (whole or view[z, y, x]):
            for axis in range(6):
                step = 2 * (axis & 1) - 1
                k = z + step * (axis >> 1 == 0)
                j = y + step * (axis >> 1 == 1)
                i = x + step * (axis >> 1 == 2)
                if 0 <= k < depth and 0 <= j < height and 0 <= i < width:
                    near = labels[k, j, i]
                    if near > 0 and (best == 0 or near < best):
                        best = near
        varied[z, y, x] = best


@njit(cache=True, nogil=True)
def _move_walls(  # noqa: PLR0917  (numba takes positions)
    cracks: NDArray[Any],
    labels: NDArray[Any],
    grey: NDArray[Any],
    margin: tuple[int, int, int],
    ids: NDArray[Any],
    limit: NDArray[Any],
    solid_gains: bool,
    varied: NDArray[Any],
) -> None:
    depth, height, width = labels.shape
    for z, y, x in np.ndindex(varied.shape):
        at = (z + margin[0], y + margin[1], x + margin[2])
        own, crack = labels[at], cracks[at]
        varied[z, y, x] = crack
        if own == 0 or (crack > 0) != solid_gains:
            continue
        for axis in range(6):
            step = 2 * (axis & 1) - 1
            k = at[0] + step * (axis >> 1 == 0)
            j = at[1] + step * (axis >> 1 == 1)
            i = at[2] + step * (axis >> 1 == 2)
            if not (0 <= k < depth and 0 <= j < height and 0 <= i < width):
                continue
            if labels[k, j, i] == own and cracks[k, j, i] != crack:
                n = np.searchsorted(ids, np.int64(own))
                if n < len(ids) and ids[n] == own:
                    value = grey[z, y, x]
                    if solid_gains and value > limit[n]:
                        varied[z, y, x] = 0
                    elif not solid_gains and value < limit[n]:
                        varied[z, y, x] = 1
                break
