"""Tomograms in HDF5: dxchange, ESRF and other NeXus layouts, or any single volume."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
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

HDF5_SUFFIXES = (".h5", ".hdf5", ".nxs", ".hdf")

_DXCHANGE = "/exchange/data"
_NEXUS = re.compile(r"^/entry[^/]*/(.+/)?data$")
_PROJECTION_NOTES = frozenset({"theta", "image_key", "image_key_control", "rotation_angle"})
_CLEARLY_LARGER = 2.0
_SIZE_NAMES = {
    axis: (f"{axis}_pixel_size", f"{axis}_voxel_size", f"pixel_size_{axis}", "voxel_size",
           "pixel_size")
    for axis in "zyx"
}  # fmt: skip
_READ_ERRORS = (OSError, RuntimeError, KeyError, ValueError)


def open_hdf5(path: Path, dataset: str | None) -> OpenedVolume:
    """Open the volume of an HDF5 file.

    Parameters
    ----------
    dataset
        Path of the volume within the file; None: found by layout, else by size.

    Raises
    ------
    TomogramError
        If the file is damaged, or it is not clear which data set is the volume.
    """
    if not path.stat().st_size:
        raise make_volume_error(path, "an empty file (0 bytes)")
    try:
        with h5py.File(path, "r", locking=False) as file:
            items = dict(_walk(file))
            chosen = _choose(path, file, items, dataset)
            shape = drop_unit_axes(chosen.shape)
            volume = check_volume(path, shape, chosen.dtype)
            spacing, said = _find_voxel_size(file, chosen, items)
            read = Hdf5Region(path, chosen.name, chosen.ndim - len(shape))
            return OpenedVolume(volume, chosen.dtype, read, spacing, said, (path,))
    except _READ_ERRORS as error:
        raise make_volume_error(
            path,
            f"a damaged or truncated file ({error})",
            "an intact HDF5 file",
            "copy or export the file again; if another program writes it, let it finish",
        ) from error


@dataclass(frozen=True)
class Hdf5Region:
    """Reads a region of a data set."""

    path: Path
    dataset: str
    leading: int

    def __call__(self, region: Region) -> NDArray[Any]:
        """Read the region."""
        with h5py.File(self.path, "r", locking=False) as file:
            return np.asarray(file[self.dataset][(0,) * self.leading + region])


def _walk(group: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    """List all data sets by path, through links, each object once."""
    seen = set()
    waiting = [("", group)]
    while waiting:
        prefix, parent = waiting.pop(0)
        for key in parent:
            try:
                item = parent[key]
            except (KeyError, OSError):  # a link whose target is missing
                continue
            info = h5py.h5o.get_info(item.id)
            if (info.fileno, info.addr) in seen:
                continue
            seen.add((info.fileno, info.addr))
            if isinstance(item, h5py.Group):
                waiting.append((f"{prefix}/{key}", item))
            elif isinstance(item, h5py.Dataset):
                yield f"{prefix}/{key}", item


def _choose(
    path: Path, file: h5py.File, items: dict[str, h5py.Dataset], wanted: str | None
) -> h5py.Dataset:
    if wanted is not None:
        found = file.get(wanted)
        if not isinstance(found, h5py.Dataset):
            raise _unclear(path, f"no data set {wanted}", items)
        return found
    volumes = {
        name: item for name, item in items.items()
        if len(drop_unit_axes(item.shape or ())) == 3 and item.dtype.kind in "biuf"
    }  # fmt: skip
    sound = {name: item for name, item in volumes.items() if not _is_projection(item)}
    if volumes and not sound:
        raise make_volume_error(
            path,
            f"projections with their angles ({', '.join(volumes)})",
            "a reconstructed volume",
            "reconstruct it first; if this is the volume, write `dataset: <path>` into the "
            "sample's .yml",
        )
    if _DXCHANGE in sound:
        return sound[_DXCHANGE]
    nexus = {name: item for name, item in sound.items() if _NEXUS.match(name)}
    return _choose_largest(path, nexus or sound, items)


def _choose_largest(
    path: Path, volumes: dict[str, h5py.Dataset], items: dict[str, h5py.Dataset]
) -> h5py.Dataset:
    ordered = sorted(volumes.values(), key=lambda item: -int(item.size))
    if not ordered:
        planes = [item for item in items.values() if len(item.shape or ()) == 2]
        if len(planes) == 1:
            return planes[0]
        raise _unclear(path, "no volume", items)
    if len(ordered) > 1 and ordered[0].size < _CLEARLY_LARGER * ordered[1].size:
        raise _unclear(path, f"{len(ordered)} data sets that may be the volume", volumes)
    return ordered[0]


def _is_projection(item: h5py.Dataset) -> bool:
    return any(name in _PROJECTION_NOTES for name in item.parent)


def _find_voxel_size(
    file: h5py.File, chosen: h5py.Dataset, items: dict[str, h5py.Dataset]
) -> tuple[Spacing | None, str]:
    for name in ("element_size_um", "voxel_size_um"):
        if name in chosen.attrs:
            sizes = np.broadcast_to(np.asarray(chosen.attrs[name], np.float64).ravel(), 3)
            return join_spacing([convert_to_um(s, "um") for s in sizes]), f"attribute {name}"
    found: list[float | None] = []
    source = ""
    for axis in "zyx":
        size, place = _find_size(items, _SIZE_NAMES[axis])
        found.append(size)
        source = place or source
    depth, height, width = found
    if depth is None and height is not None and height == width:
        depth, source = width, f"{source}, voxels taken as cubes"
    spacing = join_spacing([depth, height, width])
    return spacing, source or "neither attributes nor data sets of a pixel size with a unit"


def _find_size(items: dict[str, h5py.Dataset], names: Sequence[str]) -> tuple[float | None, str]:
    """Find a size by the first name that is there; the sample's own beats the camera's."""
    for name in names:
        places = [path for path in items if path.rpartition("/")[2] == name]
        for place in sorted(places, key=lambda path: ("detector" in path, path)):
            item = items[place]
            if item.size == 1 and item.dtype.kind in "iuf":
                size = convert_to_um(float(np.ravel(item[()])[0]), item.attrs.get("units"))
                if size is not None:
                    return size, place
    return None, ""


def _unclear(path: Path, found: str, items: dict[str, h5py.Dataset]) -> TomogramError:
    listed = [f"{name} {item.shape} {item.dtype}" for name, item in items.items()][:12]
    return make_volume_error(
        path,
        f"{found} (the file holds {'; '.join(listed) or 'no data set'})",
        "one volume (z, y, x), such as /exchange/data or /entry/.../data",
        "write `dataset: <path>` into the sample's .yml",
    )
