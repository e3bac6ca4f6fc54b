"""Small pieces of large volumes, for figures: sections and a coarse solid.

Grey values, probabilities and labels come from the pyramid's coarser levels. Cracks and other
extras have no pyramid: they are read at full resolution, a band at a time, and averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import zarr
from numpy.typing import NDArray

from ncm_kedro.tomo.volumes.volume import Spacing, Triple, Volume

Plane = Literal["xy", "xz", "yz"]
PLANES: tuple[Plane, ...] = ("xy", "xz", "yz")
_NORMAL = {"xy": 0, "xz": 1, "yz": 2}
_WHOLE_CRACKS_VX = 2**27
_BAND_VX = 2**24


@dataclass(frozen=True)
class SectionCut:
    """What a plane through a sample shows, at the resolution of a figure.

    Attributes
    ----------
    plane
        Which axes run along columns and rows: ``xy``: rows y, columns x; ``xz``: rows z, columns
        x; ``yz``: rows z, columns y.
    position_um
        Where the plane cuts the third axis, in um from the volume's first face.
    pixel_um
        Height and width of a pixel in um.
    image_yx
        Grey values, (H, W), float32.
    labels_yx, cracks_yx, probability_yx, disagreement_yx
        (H, W) or None where there is none: labels; fraction of the pixel that is crack, 0 to 1;
        fused probability, 0 to 1; spread of the probability between directions, 0 to 1.
    """

    plane: Plane
    position_um: float
    pixel_um: tuple[float, float]
    image_yx: NDArray[np.float32]
    labels_yx: NDArray[np.uint32] | None = None
    cracks_yx: NDArray[np.float32] | None = None
    probability_yx: NDArray[np.float32] | None = None
    disagreement_yx: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class LabelSolid:
    """A coarse copy of the labels for a 3D image.

    Attributes
    ----------
    labels_zyx
        Labels, (Z, Y, X), 0 is background.
    cracks_zyx
        True where a voxel is mostly crack or void; on the three cut faces alone where the volume
        is large.
    voxel_um
        Edges of a voxel along z, y, x in um.
    """

    labels_zyx: NDArray[np.uint32]
    cracks_zyx: NDArray[np.bool_]
    voxel_um: Spacing


def cut_section(
    image: Volume,
    plane: Plane,
    *,
    labels: Volume | None = None,
    probability: Volume | None = None,
    at: float = 0.5,
    max_px: int = 700,
) -> SectionCut:
    """Cut a section out of a sample's volumes.

    Parameters
    ----------
    labels, probability
        Volumes of the same sample, where they exist.
    at
        Where to cut, as a fraction of the third axis, in [0, 1].
    max_px
        Largest height and width of the section; a coarser level is read where it is exceeded.
    """
    normal = _NORMAL[plane]
    depth = image.shape_zyx[normal]
    index = min(int(at * depth), depth - 1)
    grey = _read_level_plane(image.levels, image.shape_zyx, normal, index, max_px)
    shape = (int(grey.shape[0]), int(grey.shape[1]))
    full = [n for axis, n in enumerate(image.shape_zyx) if axis != normal]
    spacing = [s for axis, s in enumerate(image.voxel_size_um) if axis != normal]
    return SectionCut(
        plane=plane,
        position_um=(index + 0.5) * image.voxel_size_um[normal],
        pixel_um=(spacing[0] * full[0] / shape[0], spacing[1] * full[1] / shape[1]),
        image_yx=grey.astype(np.float32),
        labels_yx=None
        if labels is None
        else _fit_plane(
            _read_level_plane(labels.levels, labels.shape_zyx, normal, index, max_px), shape
        ).astype(np.uint32),
        cracks_yx=_pool_extra(labels, "cracks", normal, index, shape),
        probability_yx=None
        if probability is None
        else _fit_plane(
            _read_level_plane(probability.levels, probability.shape_zyx, normal, index, max_px),
            shape,
        ).astype(np.float32)
        / 255.0,
        disagreement_yx=_scale(_pool_extra(probability, "disagreement", normal, index, shape)),
    )


def cut_orthogonal(
    image: Volume,
    *,
    labels: Volume | None = None,
    probability: Volume | None = None,
    max_px: int = 700,
) -> tuple[SectionCut, ...]:
    """Cut the three sections through the volume's centre.

    Parameters
    ----------
    max_px
        Largest height and width of a section.
    """
    return tuple(
        cut_section(image, plane, labels=labels, probability=probability, max_px=max_px)
        for plane in PLANES
    )


def coarsen_labels(labels: Volume, *, max_edge_vx: int = 180, cut: float = 0.5) -> LabelSolid:
    """Read the labels at a resolution that a 3D image needs.

    Parameters
    ----------
    labels
        Label volume with the extra ``cracks``, or without.
    max_edge_vx
        Longest edge of the copy in voxels.
    cut
        Where the faces of the cut-away corner lie, as a fraction of each axis from its end.
    """
    level = _pick_level(labels.levels, max_edge_vx, axes=(0, 1, 2))
    step = max(1, -(-max(level.shape) // max_edge_vx))
    coarse = np.asarray(level[::step, ::step, ::step]).astype(np.uint32)
    factors = [full / n for full, n in zip(labels.shape_zyx, coarse.shape, strict=True)]
    z, y, x = (f * s for f, s in zip(factors, labels.voxel_size_um, strict=True))
    cracks = np.zeros(coarse.shape, dtype=np.bool_)
    extra = labels.extras.get("cracks")
    if extra is not None:
        small = int(np.prod(labels.shape_zyx)) <= _WHOLE_CRACKS_VX
        planes = range(coarse.shape[0]) if small else (_cut_index(coarse.shape[0], 0, cut),)
        for plane in planes:
            _mark_cracks(cracks, extra, 0, plane)
        if not small:
            _mark_cracks(cracks, extra, 1, _cut_index(coarse.shape[1], 1, cut))
            _mark_cracks(cracks, extra, 2, _cut_index(coarse.shape[2], 2, cut))
    return LabelSolid(coarse, cracks & (coarse > 0), (z, y, x))


def _cut_index(length: int, axis: int, cut: float) -> int:
    """First voxel behind the cut face: the corner taken away is high z, low y, high x."""
    edge = round(length * cut) if axis == 1 else round(length * (1.0 - cut)) - 1
    return int(np.clip(edge, 0, length - 1))


def _mark_cracks(cracks: NDArray[np.bool_], extra: zarr.Array, normal: int, plane: int) -> None:
    depth = extra.shape[normal]
    index = min(int((plane + 0.5) * depth / cracks.shape[normal]), depth - 1)
    rest = [n for axis, n in enumerate(cracks.shape) if axis != normal]
    share = _pool_plane(extra, normal, index, (rest[0], rest[1]))
    region: list[slice | int] = [slice(None)] * 3
    region[normal] = plane
    cracks[tuple(region)] |= share > 0.4


def _pick_level(levels: Sequence[zarr.Array], max_edge: int, axes: tuple[int, ...]) -> zarr.Array:
    for level in levels:
        if max(level.shape[axis] for axis in axes) <= max_edge:
            return level
    return levels[-1]


def _read_level_plane(
    levels: Sequence[zarr.Array], shape_zyx: Triple, normal: int, index: int, max_px: int
) -> NDArray[np.generic]:
    axes = tuple(axis for axis in range(3) if axis != normal)
    level = _pick_level(levels, max_px, axes)
    depth = level.shape[normal]
    region: list[slice | int] = [slice(None)] * 3
    region[normal] = min(int((index + 0.5) * depth / shape_zyx[normal]), depth - 1)
    plane: NDArray[np.generic] = np.asarray(level[tuple(region)])
    step = max(1, -(-max(plane.shape) // max_px))
    return plane[::step, ::step]


def _fit_plane(plane: NDArray[np.generic], shape: tuple[int, int]) -> NDArray[np.generic]:
    """Return the nearest pixels of another grid over the same region."""
    if plane.shape == shape:
        return plane
    rows, columns = (
        ((np.arange(n) + 0.5) * have / n).astype(np.int64)
        for n, have in zip(shape, plane.shape, strict=True)
    )
    return plane[np.ix_(rows, columns)]


def _pool_extra(
    volume: Volume | None, name: str, normal: int, index: int, shape: tuple[int, int]
) -> NDArray[np.float32] | None:
    extra = None if volume is None else volume.extras.get(name)
    return None if extra is None else _pool_plane(extra, normal, index, shape)


def _scale(plane: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    return None if plane is None else plane / np.float32(255.0)


def _pool_plane(
    array: zarr.Array, normal: int, index: int, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Average a full-resolution plane into (H, W) pixels, reading a band of rows at a time."""
    height, width = (n for axis, n in enumerate(array.shape) if axis != normal)
    column = np.minimum(np.arange(width) * shape[1] // width, shape[1] - 1)
    starts = np.searchsorted(column, np.arange(shape[1]))
    columns_in = np.bincount(column, minlength=shape[1])
    total = np.zeros(shape, dtype=np.float64)
    rows_in = np.zeros(shape[0], dtype=np.int64)
    band = max(64, _BAND_VX // width // 64 * 64)
    for start in range(0, height, band):
        region: list[slice | int] = [slice(start, start + band), slice(None)]
        region.insert(normal, index)
        part = np.asarray(array[tuple(region)])
        row = np.minimum(np.arange(start, start + len(part)) * shape[0] // height, shape[0] - 1)
        np.add.at(total, row, np.add.reduceat(part, starts, axis=1, dtype=np.float64))
        rows_in += np.bincount(row, minlength=shape[0])
    return (total / (rows_in[:, None] * columns_in[None, :])).astype(np.float32)
