"""Tomograms in HDF5: dxchange, ESRF and other NeXus layouts, or any single volume."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ncm_kedro.datasets.tomograms.hdf5_parts import check_stored
from ncm_kedro.datasets.tomograms.hdf5_size import find_voxel_size
from ncm_kedro.datasets.tomograms.notes import (
    OpenedVolume,
    TomogramNotes,
    check_volume,
    drop_unit_axes,
    make_volume_error,
)
from ncm_kedro.errors import TomogramError
from ncm_kedro.tomo.volumes.volume import Region

HDF5_SUFFIXES = (".h5", ".hdf5", ".nxs", ".hdf")

_DXCHANGE = "/exchange/data"
_NEXUS = re.compile(r"^/entry[^/]*/(.+/)?data$")
_ANGLES = re.compile(r"theta|image_key|rot|angle|omega", re.IGNORECASE)
_PROJECTION_NOTES = frozenset({"theta", "image_key", "image_key_control", "rotation_angle"})
_FLATS = frozenset({"data_white", "data_dark", "data_flat", "data_background"})
_RAW_PLACE = re.compile(r"/(instrument/.+|data/data)$")
_RECONSTRUCTED = re.compile(r"recon|result|volume|tomoproc|final", re.IGNORECASE)
_CLEARLY_LARGER = 2.0
_READ_ERRORS = (OSError, RuntimeError, KeyError, ValueError)


def open_hdf5(path: Path, notes: TomogramNotes) -> OpenedVolume:
    """Open the volume of an HDF5 file.

    Parameters
    ----------
    notes
        ``dataset``, the path of the volume within the file (None: found by layout, else by size),
        and whether chunks that were never written are known to be empty.

    Raises
    ------
    TomogramError
        If the file is damaged, it is not clear which data set is the volume, or what it links to
        is missing.
    """
    if not path.stat().st_size:
        raise make_volume_error(path, "an empty file (0 bytes)")
    _register_filters()
    try:
        with h5py.File(path, "r", locking=False) as file:
            found = _walk(file)
            chosen = _choose(path, file, found, notes.dataset)
            shape = drop_unit_axes(chosen.shape)
            volume = check_volume(path, shape, chosen.dtype)
            files = [path]
            warnings = check_stored(path, chosen, files, notes)
            spacing, said = find_voxel_size(path, chosen, found.items)
            read = Hdf5Region(path, chosen.name, chosen.ndim - len(shape))
            if Path(chosen.file.filename) != path:  # through an external link
                files.append(Path(chosen.file.filename))
                read = Hdf5Region(files[-1], chosen.name, chosen.ndim - len(shape))
            names = tuple(dict.fromkeys(files))
            return OpenedVolume(volume, chosen.dtype, read, spacing, said, names, warnings)
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
        _register_filters()
        with h5py.File(self.path, "r", locking=False) as file:
            beside = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
            beside.set_efile_prefix(b"${ORIGIN}")  # not where the process happens to run
            item = h5py.Dataset(h5py.h5d.open(file.id, self.dataset.encode(), beside))
            return np.asarray(item[(0,) * self.leading + region])


def _register_filters() -> None:
    """Let HDF5 know the compressions of synchrotrons, where hdf5plugin is installed."""
    with suppress(ImportError):
        importlib.import_module("hdf5plugin")


@dataclass
class _Found:
    """What a file holds: data sets by path, and links to other files that are not there."""

    items: dict[str, h5py.Dataset] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)


def _walk(group: h5py.Group) -> _Found:
    """List all data sets by path, through links, each object once."""
    seen, found = set(), _Found()
    waiting = [("", group)]
    while waiting:
        prefix, parent = waiting.pop(0)
        for key in parent:
            try:
                item = parent[key]
            except (KeyError, OSError):  # a link whose target is missing
                link = parent.get(key, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    found.lost[f"{prefix}/{key}"] = f"{link.filename}:{link.path}"
                continue
            info = h5py.h5o.get_info(item.id)
            if (info.fileno, info.addr) in seen:
                continue
            seen.add((info.fileno, info.addr))
            if isinstance(item, h5py.Group):
                waiting.append((f"{prefix}/{key}", item))
            elif isinstance(item, h5py.Dataset):
                found.items[f"{prefix}/{key}"] = item
    return found


def _choose(path: Path, file: h5py.File, found: _Found, wanted: str | None) -> h5py.Dataset:
    items = found.items
    if found.lost and (wanted is None or f"/{wanted.strip('/')}" in found.lost):
        listed = "; ".join(f"{name} to {target}" for name, target in found.lost.items())
        raise make_volume_error(
            path,
            f"links to other files that are not there or not readable ({listed})",
            "the files that it links to",
            "copy them along with this file, keeping the folders; or write `dataset: <path>` of "
            "what is here into the sample's .yml",
        )
    if wanted is not None:
        item = file.get(wanted)
        if not isinstance(item, h5py.Dataset):
            raise _unclear(path, f"no data set {wanted}", items)
        return item
    volumes = {
        name: item for name, item in items.items()
        if len(drop_unit_axes(item.shape or ())) == 3 and item.dtype.kind in "biuf"
    }  # fmt: skip
    angles = _list_angles(items)
    sound = {
        name: item
        for name, item in volumes.items()
        if not _is_projection(name, item, items, angles)
    }
    if volumes and not sound:
        raise make_volume_error(
            path,
            f"projections with their angles ({', '.join(volumes)})",
            "a reconstructed volume",
            "move the file to data/01_raw/holo (holo_root) and run `kedro run --pipelines "
            "holo_tomography,tomo_segment`; if this is the volume, write `dataset: <path>` into "
            "the sample's .yml",
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


def _list_angles(items: Mapping[str, h5py.Dataset]) -> set[tuple[str, int]]:
    """List entries of a file with the number of their projections' angles or keys."""
    return {
        (name.split("/")[1], int(item.size))
        for name, item in items.items()
        if _ANGLES.search(name.rpartition("/")[2]) and item.size and item.size > 1
    }


def _is_projection(
    name: str, item: h5py.Dataset, items: Mapping[str, h5py.Dataset], angles: set[tuple[str, int]]
) -> bool:
    """Look for angles and flats beside a data set, else what its entry says of it."""
    if any(note in _FLATS or note in _PROJECTION_NOTES for note in item.parent):
        return True
    if _RECONSTRUCTED.search(name):
        return False
    in_raw_place = _RAW_PLACE.search(name) and any(
        name.startswith(place.removesuffix("definition")) and _read_text(one) == "NXtomo"
        for place, one in items.items()
        if place.endswith("/definition")
    )
    return bool(in_raw_place) or (name.split("/")[1], drop_unit_axes(item.shape)[0]) in angles


def _read_text(item: h5py.Dataset) -> str:
    is_text = item.size == 1 and item.dtype.kind in "OS"
    value = np.ravel(item[()])[0] if is_text else ""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _unclear(path: Path, found: str, items: Mapping[str, h5py.Dataset]) -> TomogramError:
    listed = [f"{name} {item.shape} {item.dtype}" for name, item in items.items()][:12]
    return make_volume_error(
        path,
        f"{found} (the file holds {'; '.join(listed) or 'no data set'})",
        "one volume (z, y, x), such as /exchange/data or /entry/.../data",
        "write `dataset: <path>` into the sample's .yml",
    )
