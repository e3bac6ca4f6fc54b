"""The pyramid of a volume on disk: its levels, how they are computed, and their metadata.

Grey values, probabilities and distances are averaged. Identities and masks are not: the most
frequent of the voxels wins, so that a coarse particle keeps its outline to half a coarse voxel.
Both keep the centre of mass, hence
level k lies shifted by half the difference of the voxel sizes.

Metadata are NGFF 0.5 and our own attributes. Written by hand: importing ome-zarr's writer takes
2.5 s of CPU, its label pyramids pick the nearest voxel instead of the most frequent one, and it
cannot resume. In tests, ome-zarr and ome-zarr-models read what is written here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray

from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.tomo.volumes.blocks import Block, list_blocks
from ncm_kedro.tomo.volumes.volume import Spacing, Triple, VolumePlan

_LONGEST_AXIS_VX = 256
_ANISOTROPY = 1.5
FORMAT = "ncm-volume"
FORMAT_VERSION = 1
NGFF_VERSION = "0.5"
LABELS = "labels"
Method = Literal["mean", "mode"]
_AXES = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]


def describe_plan(plan: VolumePlan, compute: TomoComputeParams) -> dict[str, Any]:
    """Describe a volume that is to be written, as JSON types.

    Returns
    -------
    dict
        The attribute ``ncm`` of the store. A partial store whose ``ncm`` is equal to it can be
        resumed. ``finished`` is False.
    """
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "sample": plan.name,
        "fingerprint": plan.fingerprint,
        "shape_zyx": list(plan.shape_zyx),
        "dtype": np.dtype(plan.dtype).name,
        "voxel_size_um": [float(size) for size in plan.voxel_size_um],
        "is_label": plan.is_label,
        "extras": {name: np.dtype(kind).name for name, kind in sorted(plan.extras.items())},
        "shard_edge_vx": compute.block_edge_vx,
        "attributes": dict(plan.attributes),
        "finished": False,
    }


def describe_image(
    name: str,
    levels: Sequence[Level],
    *,
    method: Method,
    is_label: bool,
    window: Mapping[str, float] | None,
) -> dict[str, Any]:
    """Describe a pyramid by NGFF 0.5 (https://ngff.openmicroscopy.org/0.5).

    Parameters
    ----------
    levels
        The pyramid; arrays are named 0, 1, ...
    method
        How coarser levels are made.
    is_label
        Whether it stands in NGFF's place for labels.
    window
        Grey values ``min, max, start, end`` that a viewer should show, for an image.

    Returns
    -------
    dict
        The attribute ``ome`` of the group.
    """
    ome: dict[str, Any] = {
        "version": NGFF_VERSION,
        "multiscales": [
            {
                "name": name,
                "axes": _AXES,
                "type": method,
                "metadata": {"description": f"{method} of 2 voxels along each halved axis"},
                "datasets": [
                    {
                        "path": str(number),
                        "coordinateTransformations": [
                            {"type": "scale", "scale": list(level.spacing_um)},
                            {"type": "translation", "translation": list(level.offset_um)},
                        ],
                    }
                    for number, level in enumerate(levels)
                ],
            }
        ],
    }
    if is_label:
        ome["image-label"] = {"version": NGFF_VERSION, "colors": []}
    if window is not None:
        ome["omero"] = {
            "version": NGFF_VERSION,
            "channels": [
                {"label": name, "color": "FFFFFF", "active": True, "window": dict(window)}
            ],
        }
    return ome


def read_scale(entry: Mapping[str, Any]) -> Spacing:
    """Read the edges of a voxel out of what `describe_image` says of a level."""
    depth, height, width = entry["coordinateTransformations"][0]["scale"]
    return float(depth), float(height), float(width)


def describe_label_list(names: Sequence[str]) -> dict[str, Any]:
    """Describe the group of the further arrays, which NGFF calls labels."""
    return {"version": NGFF_VERSION, "labels": list(names)}


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
    while max(levels[-1].shape_zyx) > _LONGEST_AXIS_VX:
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
