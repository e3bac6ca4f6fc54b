"""Tomograms in Zarr: arrays of version 2 and 3, and OME-Zarr 0.4 and 0.5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ncm_kedro.datasets.tomograms.notes import (
    OpenedVolume,
    check_volume,
    convert_to_um,
    drop_unit_axes,
    join_spacing,
    make_volume_error,
)
from ncm_kedro.errors import TomogramError
from ncm_kedro.tomo.volumes.volume import Region, Spacing

_MARKS = ("zarr.json", ".zarray", ".zgroup")
_READ_ERRORS = (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError)


def is_zarr(folder: Path) -> bool:
    """Distinguish a Zarr store from a folder of sections."""
    return folder.suffix.lower() == ".zarr" or any((folder / name).is_file() for name in _MARKS)


def open_zarr(folder: Path, dataset: str | None) -> OpenedVolume:
    """Open a Zarr array, or the finest level of an OME-Zarr image.

    Parameters
    ----------
    dataset
        Path of an array within it; None: found.

    Raises
    ------
    TomogramError
        If the metadata is damaged, or it is not clear which array is the volume.
    """
    try:
        node = zarr.open(folder, mode="r")
        path, spacing, said = _choose(folder, node, dataset)
        array = node[path] if path else node
        shape = drop_unit_axes(array.shape)
        volume = check_volume(folder, shape, array.dtype)
    except _READ_ERRORS as error:
        raise make_volume_error(
            folder,
            f"a store that cannot be read ({error!r})",
            "a Zarr array or an OME-Zarr image",
            "copy or export the store again",
        ) from error
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    read = ZarrRegion(folder, path, array.ndim - len(shape))
    return OpenedVolume(volume, array.dtype, read, spacing, said, tuple(files))


@dataclass(frozen=True)
class ZarrRegion:
    """Reads a region of an array."""

    folder: Path
    path: str
    leading: int

    def __call__(self, region: Region) -> NDArray[Any]:
        """Read the region."""
        node = zarr.open(self.folder, mode="r")
        array = node[self.path] if self.path else node
        return np.asarray(array[(0,) * self.leading + region])


def _choose(
    folder: Path, node: zarr.Group | zarr.Array, wanted: str | None
) -> tuple[str, Spacing | None, str]:
    if isinstance(node, zarr.Array):
        return "", *_find_own_size(node)
    ome = node.attrs.get("ome", node.attrs)
    images = ome.get("multiscales") if isinstance(ome, Mapping) else None
    if wanted is None and images:
        image = images[0]
        path = str(image["datasets"][0]["path"])
        return path, *_find_ome_size(folder, image, node[path].ndim)
    if wanted is not None:
        if not isinstance(node.get(wanted), zarr.Array):
            raise _unclear(folder, f"no array {wanted}", node)
        return wanted, *_find_own_size(node[wanted])
    volumes = [
        name for name, item in node.members(max_depth=None)
        if isinstance(item, zarr.Array) and len(drop_unit_axes(item.shape)) == 3
    ]  # fmt: skip
    if len(volumes) != 1:
        raise _unclear(folder, f"{len(volumes)} arrays that may be the volume", node)
    return volumes[0], *_find_own_size(node[volumes[0]])


def _find_own_size(array: zarr.Array) -> tuple[Spacing | None, str]:
    sizes = array.attrs.get("voxel_size_um")
    if sizes is None:
        return None, "a Zarr array without the attribute voxel_size_um"
    edges = np.broadcast_to(np.asarray(sizes, np.float64).ravel(), 3)
    return join_spacing([convert_to_um(edge, "um") for edge in edges]), "attribute voxel_size_um"


def _find_ome_size(
    folder: Path, image: Mapping[str, Any], axes_count: int
) -> tuple[Spacing | None, str]:
    """Multiply the scales of the finest level; its axes must end in z, y, x."""
    axes = image.get("axes") or list("tczyx"[5 - axes_count :])
    named = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in axes]
    if [str(axis["name"]).lower() for axis in named][-3:] != ["z", "y", "x"]:
        names = "".join(str(axis["name"]) for axis in named)
        raise make_volume_error(folder, f"axes {names}", "axes that end in z, y, x")
    steps = [
        *image["datasets"][0].get("coordinateTransformations", []),
        *image.get("coordinateTransformations", []),
    ]
    scales = [step["scale"] for step in steps if step.get("type") == "scale"]
    if not scales:
        return None, "an OME-Zarr image without a scale"
    scale = np.prod(np.asarray(scales, np.float64), axis=0)[-3:]
    units = [axis.get("unit") for axis in named[-3:]]
    sizes = [convert_to_um(float(s), unit) for s, unit in zip(scale, units, strict=True)]
    return join_spacing(sizes), f"OME-Zarr scale in {_join(units)}"


def _join(units: Sequence[Any]) -> str:
    return ", ".join(sorted({str(unit or "no unit") for unit in units}))


def _unclear(folder: Path, found: str, node: zarr.Group) -> TomogramError:
    held = [f"{name} {item.shape}" for name, item in node.members(max_depth=None)
            if isinstance(item, zarr.Array)]  # fmt: skip
    return make_volume_error(
        folder,
        f"{found} (the store holds {'; '.join(held[:12]) or 'no array'})",
        "a Zarr array (z, y, x) or an OME-Zarr image",
        "write `dataset: <path>` into the sample's .yml",
    )
