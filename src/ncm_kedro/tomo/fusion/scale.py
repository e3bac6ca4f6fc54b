"""The detection grid: cubic voxels, particles of the size that the network was trained on.

Lengths along an axis are measured in voxels of a grid from its first face, so that voxel i spans
i to i + 1 and two grids of different voxels share their first face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import zarr
from numpy.typing import NDArray

from ncm_kedro.params.tomo_segment import TomoFusionParams
from ncm_kedro.tomo.volumes.volume import Spacing, Triple, Volume

FloatArray = NDArray[np.float32]
Weights = tuple[slice, FloatArray]

_CUBIC = 1.01  # edges that differ by less than this factor are equal
_ROUNDING = 1e-6  # voxels


@dataclass(frozen=True)
class GreyReading:
    """How grey values are read by all that looks for particles.

    Attributes
    ----------
    low, high
        Values beyond these count as these.
    inverted
        Whether low becomes high and high becomes low.
    """

    low: float
    high: float
    inverted: bool = False

    def apply(self, values: NDArray[np.generic]) -> FloatArray:
        """Return values as they are read."""
        read: FloatArray = np.clip(values.astype(np.float32), self.low, self.high)
        if self.inverted:
            np.subtract(np.float32(self.low + self.high), read, out=read)
        return read


AS_STORED = GreyReading(-np.inf, np.inf)


@dataclass(frozen=True)
class GreyArray:
    """A stored array as it is read, (Z, Y, X)."""

    array: zarr.Array
    reading: GreyReading = AS_STORED

    @property
    def shape(self) -> Triple:
        """Voxels along z, y, x."""
        depth, height, width = self.array.shape
        return depth, height, width

    def __getitem__(self, region: tuple[slice, ...]) -> FloatArray:
        """Read a box."""
        return self.reading.apply(np.asarray(self.array[region]))


def read_as_detected(volume: Volume, probability: Volume) -> GreyArray:
    """Return a volume's grey values as they were read for its probability."""
    known = probability.attributes
    low, high = known.get("grey_limits", (-np.inf, np.inf))
    return GreyArray(volume.array, GreyReading(low, high, known.get("contrast") == "dark"))


@dataclass(frozen=True)
class DetectionGrid:
    """The grid that the network sees a volume on.

    Attributes
    ----------
    shape_zyx
        Voxels along z, y, x.
    edge_um
        Edge of a voxel, the same along all axes (um).
    voxel_size_um
        Edges of a voxel of the volume itself (um).
    """

    shape_zyx: Triple
    edge_um: float
    voxel_size_um: Spacing

    @property
    def ratios(self) -> Spacing:
        """Voxels of the volume per voxel of this grid, along z, y, x."""
        z, y, x = (self.edge_um / size for size in self.voxel_size_um)
        return z, y, x

    @property
    def is_volume(self) -> bool:
        """Whether the grid is the volume's own."""
        return all(ratio == 1 for ratio in self.ratios)


@dataclass(frozen=True)
class Source:
    """The level of a pyramid that a grid is made from.

    Attributes
    ----------
    array
        The level, (Z, Y, X), as it is read.
    field_of_view
        Mask at full resolution, None where everything is inside.
    factors
        Voxels at full resolution per voxel of the level, along z, y, x.
    """

    array: GreyArray
    field_of_view: zarr.Array | None
    factors: Triple


def make_grid(volume: Volume, edge_um: float) -> DetectionGrid:
    """Lay a grid of cubic voxels over a volume.

    Parameters
    ----------
    edge_um
        Wanted edge of a voxel; an edge like the volume's own gives the volume's own grid.
    """
    sizes = volume.voxel_size_um
    if max(sizes) <= min(sizes) * _CUBIC and max(sizes) / _CUBIC <= edge_um <= max(sizes) * _CUBIC:
        edge = float(np.mean(sizes))
        return DetectionGrid(volume.shape_zyx, edge, (edge, edge, edge))
    depth, height, width = (
        max(1, int(np.ceil(count * size / edge_um - _ROUNDING)))
        for count, size in zip(volume.shape_zyx, sizes, strict=True)
    )
    return DetectionGrid((depth, height, width), edge_um, sizes)


def choose_grid(
    volume: Volume, diameter_um: float, particle_px: float, params: TomoFusionParams
) -> DetectionGrid:
    """Choose the grid on which a particle spans what the network was trained around.

    Parameters
    ----------
    params
        How far the scale may be off before the volume is resampled.
    """
    sizes = volume.voxel_size_um
    wanted_um = max(diameter_um / particle_px, min(sizes) / params.max_upsampling)
    near = 1 / params.scale_tolerance <= wanted_um / min(sizes) <= params.scale_tolerance
    if near and max(sizes) <= min(sizes) * _CUBIC:
        wanted_um = float(np.mean(sizes))
    return make_grid(volume, wanted_um)


def choose_source(volume: Volume, grid: DetectionGrid, reading: GreyReading = AS_STORED) -> Source:
    """Choose the coarsest level of the pyramid that is nowhere coarser than the grid."""
    best = Source(GreyArray(volume.array, reading), volume.extras.get("field_of_view"), (1, 1, 1))
    for level, sizes_um in zip(volume.levels[1:], volume.level_sizes_um[1:], strict=True):
        depth, height, width = (
            round(coarse / fine)
            for coarse, fine in zip(sizes_um, volume.voxel_size_um, strict=True)
        )
        factors = (depth, height, width)
        if all(f <= max(1.0, r) for f, r in zip(factors, grid.ratios, strict=True)):
            best = Source(GreyArray(level, reading), best.field_of_view, factors)
    return best


def read_masked(
    source: Source, region: tuple[slice, slice, slice]
) -> tuple[FloatArray, NDArray[np.bool_] | None]:
    """Read a box of a source and which of its voxels are inside the field of view.

    Parameters
    ----------
    region
        Slices in voxels of the level, none negative.

    Returns
    -------
    values_zyx : ndarray of float32
        Grey values.
    inside_zyx : ndarray of bool or None
        None where all are.
    """
    values_zyx = source.array[region]
    if source.field_of_view is None:
        return values_zyx, None
    spots = tuple(
        slice(cut.start * factor, min(cut.stop * factor, full), factor)
        for cut, factor, full in zip(
            region, source.factors, source.field_of_view.shape, strict=True
        )
    )
    inside_zyx = np.asarray(source.field_of_view[spots]) > 0
    return values_zyx, None if inside_zyx.all() else inside_zyx


def resample_box(
    source: Source, grid: DetectionGrid, start: Triple, stop: Triple, fill: float
) -> tuple[FloatArray, FloatArray | None]:
    """Read a box of the detection grid.

    Parameters
    ----------
    start, stop
        First voxel and one past the last on the grid, along z, y, x.
    fill
        Grey value for what is outside the field of view.

    Returns
    -------
    values_zyx : ndarray of float32
        Grey values: averages over the voxel where the grid is coarser than the source, linear
        interpolation where it is finer.
    inside_zyx : ndarray of float32 or None
        Fraction of each voxel inside the field of view; None where all is.
    """
    weights = [
        weigh_axis(a, b, ratio / factor, length)
        for a, b, ratio, factor, length in zip(
            start, stop, grid.ratios, source.factors, source.array.shape, strict=True
        )
    ]
    z, y, x = (cut for cut, _ in weights)
    values_zyx, inside_zyx = read_masked(source, (z, y, x))
    matrices = [matrix for _, matrix in weights]
    if inside_zyx is None:
        return apply_weights(values_zyx, matrices), None
    values_zyx[~inside_zyx] = fill
    return (
        apply_weights(values_zyx, matrices),
        apply_weights(inside_zyx.astype(np.float32), matrices),
    )


def weigh_axis(start: int, stop: int, ratio: float, length: int) -> Weights:
    """Weigh the voxels of one grid for each voxel of another, along one axis.

    Parameters
    ----------
    start, stop
        First voxel wanted and one past the last.
    ratio
        Edge of a wanted voxel in voxels of the source. From 1 on, the wanted voxel is the average
        over its span; below, the value at its middle by linear interpolation.
    length
        Voxels of the source; past its faces the outermost ones are repeated.

    Returns
    -------
    span : slice
        Voxels of the source that are needed.
    matrix : ndarray of float32, shape (stop - start, span)
        Weights; each row sums to 1.
    """
    wanted = np.arange(start, stop)
    if ratio >= 1:
        low = np.minimum(wanted * ratio, length - 1)
        high = np.clip((wanted + 1) * ratio, low + _ROUNDING, length)
        first, last = int(low[0]), int(np.ceil(high[-1] - _ROUNDING))
        cells = np.arange(first, max(last, first + 1))
        overlap = np.minimum(high[:, None], cells + 1) - np.maximum(low[:, None], cells)
        matrix = np.maximum(overlap, 0)
    else:
        middle = np.clip((wanted + 0.5) * ratio - 0.5, 0, length - 1)
        first = int(middle[0])
        cells = np.arange(first, min(length, int(np.ceil(middle[-1])) + 1))
        matrix = np.maximum(0, 1 - np.abs(middle[:, None] - cells))
    matrix = matrix / matrix.sum(axis=1, keepdims=True)
    return slice(first, first + len(cells)), matrix.astype(np.float32)


def apply_weights(values_zyx: FloatArray, matrices: Sequence[FloatArray]) -> FloatArray:
    """Resample a box along its three axes.

    Parameters
    ----------
    values_zyx
        Values (Z, Y, X).
    matrices
        Weights of each axis, (z, Z), (y, Y) and (x, X).

    Returns
    -------
    ndarray of float32, shape (z, y, x)
        Weighted sums.
    """
    in_z, in_y, in_x = (None if _is_identity(matrix) else matrix for matrix in matrices)
    if in_x is not None:
        values_zyx = values_zyx @ in_x.T
    if in_y is not None:
        values_zyx = np.matmul(in_y, values_zyx)
    if in_z is not None:
        depth, height, width = values_zyx.shape
        values_zyx = (in_z @ values_zyx.reshape(depth, -1)).reshape(-1, height, width)
    return values_zyx


def _is_identity(matrix: FloatArray) -> bool:
    rows, columns = matrix.shape
    return rows == columns and bool((matrix.diagonal() == 1).all())
