"""Distances between true and predicted outlines, and labels that are read slab by slab."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import edt
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

_SLAB_VX = 8_000_000


class LabelArray(Protocol):
    """Labels that can be cut: a NumPy array or a Zarr array; 0 is background."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""

    def __getitem__(self, region: Any) -> Any:
        """Return a cut-out."""


def measure_surfaces(
    true: LabelArray,
    predicted: LabelArray,
    pairs: Sequence[tuple[int, int]],
    voxel_size_um: Sequence[float],
) -> tuple[float, float]:
    """Measure how far the outlines of matched labels are apart.

    Returns
    -------
    mean_um, p95_um
        Mean and 95th percentile over the outline voxels of a pair, averaged over pairs (um); not
        a number without pairs.
    """
    if not pairs:
        return float("nan"), float("nan")
    true_box = _find_boxes(true, [a for a, _ in pairs])
    found_box = _find_boxes(predicted, [b for _, b in pairs])
    dimensions = len(true.shape)
    rows = []
    for a, b in pairs:
        low = np.minimum(true_box[a][:dimensions], found_box[b][:dimensions])
        high = np.maximum(true_box[a][dimensions:], found_box[b][dimensions:])
        cut = tuple(
            slice(max(0, start - 1), min(n, stop + 1))
            for start, stop, n in zip(low.tolist(), high.tolist(), true.shape, strict=True)
        )
        far_um = measure_outline_distances(
            np.asarray(true[cut]) == a, np.asarray(predicted[cut]) == b, voxel_size_um
        )
        rows.append((far_um.mean(), np.percentile(far_um, 95)))
    mean_um, p95_um = np.mean(rows, axis=0)
    return float(mean_um), float(p95_um)


def measure_outline_distances(
    first: NDArray[np.bool_], second: NDArray[np.bool_], voxel_size_um: Sequence[float]
) -> NDArray[np.float32]:
    """Measure how far each outline voxel of either mask is from the other's outline.

    Parameters
    ----------
    first, second
        Masks of equal shape, neither empty; where one reaches the edge of the cut-out it is taken
        to continue.

    Returns
    -------
    ndarray of float32, (n,)
        Distances in um.
    """
    outlines = [_find_outline(mask) for mask in (first, second)]
    distances = []
    for own, other in (outlines, outlines[::-1]):
        away_um = edt.edt(np.ascontiguousarray(~other), anisotropy=tuple(voxel_size_um), parallel=1)
        distances.append(away_um[own])
    return np.concatenate(distances).astype(np.float32)


def _find_outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of a mask with a face neighbour outside; the mask itself if it fills the cut-out."""
    outline: NDArray[np.bool_] = mask & ~binary_erosion(mask, border_value=1)
    return outline if outline.any() else mask


def _find_boxes(labels: LabelArray, wanted: Sequence[int]) -> dict[int, NDArray[np.int64]]:
    """Bounding box (starts, then stops) of each wanted label."""
    chosen = np.unique(wanted)
    dimensions = len(labels.shape)
    boxes = np.zeros((len(chosen), 2 * dimensions), np.int64)
    boxes[:, :dimensions] = np.iinfo(np.int64).max
    for slab in list_slabs(labels.shape):
        values = np.asarray(labels[slab]).astype(np.int64)
        at = np.nonzero(np.isin(values, chosen))
        place = np.searchsorted(chosen, values[at])
        for axis in range(dimensions):
            position = at[axis] + (slab.start if axis == 0 else 0)
            np.minimum.at(boxes[:, axis], place, position)
            np.maximum.at(boxes[:, dimensions + axis], place, position + 1)
    return dict(zip(chosen.tolist(), boxes, strict=True))


def list_slabs(shape: tuple[int, ...]) -> list[slice]:
    """Cut the first axis so that a slab holds a bounded number of voxels."""
    depth = max(1, _SLAB_VX // max(1, int(np.prod(shape[1:]))))
    return [slice(start, min(start + depth, shape[0])) for start in range(0, shape[0], depth)]
