"""Tomograms in Zarr: arrays of version 2 and 3, and OME-Zarr 0.4 and 0.5."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.errors import ZarrUserWarning

from ncm_kedro.datasets.tomograms.notes import (
    OpenedVolume,
    TomogramNotes,
    check_volume,
    convert_to_um,
    drop_unit_axes,
    join_spacing,
    make_chunk_warning,
    make_volume_error,
)
from ncm_kedro.errors import TomogramError
from ncm_kedro.tomo.volumes.volume import Region, Spacing
from ncm_kedro.units import natural_key

_MARKS = ("zarr.json", ".zarray", ".zgroup")
_READ_ERRORS = (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError)
_TOUCHING = 0.05  # fraction of a face that may differ from the fill value beside an empty chunk


def is_zarr(folder: Path) -> bool:
    """Distinguish a Zarr store from a folder of sections."""
    return folder.suffix.lower() == ".zarr" or any((folder / name).is_file() for name in _MARKS)


def open_zarr(folder: Path, notes: TomogramNotes) -> OpenedVolume:
    """Open a Zarr array, or the finest level of an OME-Zarr image.

    Parameters
    ----------
    notes
        ``dataset``, the path of an array or image within it (None: found), and whether chunks
        without a file are known to be empty.

    Raises
    ------
    TomogramError
        If the metadata is damaged, it is not clear which array is the volume, or chunks were lost.
    """
    try:
        node = zarr.open(folder, mode="r")
        path, spacing, said = _choose(folder, node, notes.dataset)
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
    told = _check_chunks(folder, array, files, notes)
    return OpenedVolume(volume, array.dtype, read, spacing, said, tuple(files), told)


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
    images = _list_images(node)
    if wanted is not None:
        return _open_wanted(folder, node, images, wanted.strip("/"))
    finest = {name: _find_finest(node, name, image) for name, image in images.items()}
    if len(images) > 1:
        listed = ", ".join(f"{name} {node[_level(name, image, finest[name])].shape}"
                           for name, image in images.items())  # fmt: skip
        raise _unclear(folder, f"{len(images)} images ({listed})", node)
    for name, image in images.items():
        path = _level(name, image, finest[name])
        return path, *_find_ome_size(folder, image, finest[name], node[path].ndim)
    volumes = [
        name
        for name, item in _list_members(node)
        if isinstance(item, zarr.Array) and len(drop_unit_axes(item.shape)) == 3
    ]
    if len(volumes) != 1:
        raise _unclear(folder, f"{len(volumes)} arrays that may be the volume", node)
    return volumes[0], *_find_own_size(node[volumes[0]])


def _list_members(
    group: zarr.Group, depth: int | None = None
) -> list[tuple[str, zarr.Array | zarr.Group]]:
    """List what a group holds by name: the file system gives it in any order."""
    with warnings.catch_warnings():  # of files that are no arrays
        warnings.simplefilter("ignore", ZarrUserWarning)
        return sorted(group.members(max_depth=depth), key=lambda member: natural_key(member[0]))


def _list_images(node: zarr.Group) -> dict[str, Mapping[str, Any]]:
    """List OME-Zarr images by their group: the store itself, or those of bioformats2raw's layout.

    There the groups of the store are the images; labels of an image lie deeper and are none.
    """
    groups = {"": node} | {
        name: item for name, item in _list_members(node, 0) if isinstance(item, zarr.Group)
    }
    images = {}
    for name, group in groups.items():
        ome = group.attrs.get("ome", group.attrs)
        listed = ome.get("multiscales") if isinstance(ome, Mapping) else None
        if listed:
            images[name] = listed[0]
    return {"": images[""]} if "" in images else images


def _level(group: str, image: Mapping[str, Any], number: int) -> str:
    path = str(image["datasets"][number]["path"])
    return f"{group}/{path}" if group else path


def _find_finest(node: zarr.Group, group: str, image: Mapping[str, Any]) -> int:
    """Find the level of most voxels: not every writer puts it first."""
    sizes = [node[_level(group, image, number)].size for number in range(len(image["datasets"]))]
    return int(np.argmax(sizes))


def _open_wanted(
    folder: Path, node: zarr.Group, images: Mapping[str, Mapping[str, Any]], wanted: str
) -> tuple[str, Spacing | None, str]:
    """Open the array or image that the notes name; levels of an image know their scale."""
    for group, image in images.items():
        for number in range(len(image["datasets"])):
            path = _level(group, image, number)
            if wanted == path or (wanted == group and number == _find_finest(node, group, image)):
                return path, *_find_ome_size(folder, image, number, node[path].ndim)
    if not isinstance(node.get(wanted), zarr.Array):
        raise _unclear(folder, f"no array {wanted}", node)
    return wanted, *_find_own_size(node[wanted])


def _check_chunks(
    folder: Path, array: zarr.Array, files: Sequence[Path], notes: TomogramNotes
) -> tuple[str, ...]:
    """Refuse chunks whose files were lost, which Zarr reads as the fill value.

    Writers leave chunks out that hold nothing but the fill value, as outside a mask. Of those the
    neighbours hold next to nothing else either where they touch; of a lost one they hold grey
    values.
    """
    root = folder / array.path if array.path else folder
    edges = array.shards or array.chunks
    grid = list(product(*(range(-(-n // e)) for n, e in zip(array.shape, edges, strict=True))))
    have = {path.relative_to(root).as_posix() for path in files
            if path.is_relative_to(root) and path.stat().st_size}  # fmt: skip
    missing = {place for place in grid if array.metadata.encode_chunk_key(place) not in have}
    if not missing:
        return ()
    if len(missing) == len(grid):
        raise _lost(folder, f"none of {len(grid)} chunks of {array.name}", "")
    if notes.missing_chunks_are_empty:
        return (make_chunk_warning(len(missing), len(grid), "as missing_chunks_are_empty says"),)
    present = set(grid) - missing
    for place in sorted(missing):
        for face in _list_faces(place, present, edges, array.shape):
            if np.mean(np.asarray(array[face]) != array.fill_value) > _TOUCHING:
                key = array.metadata.encode_chunk_key(place)
                raise _lost(
                    folder,
                    f"{len(missing)} of {len(grid)} chunks without a file, among them {key}, "
                    "whose neighbours hold grey values up to its face",
                )
    why = "as their neighbours do where they touch"
    return (make_chunk_warning(len(missing), len(grid), why),)


def _list_faces(
    place: tuple[int, ...],
    present: Iterable[tuple[int, ...]],
    edges: Sequence[int],
    shape: Sequence[int],
) -> Iterator[tuple[slice, ...]]:
    """List the planes of present neighbours that touch a chunk."""
    for axis in range(len(place) - 3, len(place)):
        for step in (-1, 1):
            beside = (*place[:axis], place[axis] + step, *place[axis + 1 :])
            if beside not in present:
                continue
            region = [slice(p * e, min((p + 1) * e, n))
                      for p, e, n in zip(beside, edges, shape, strict=True)]  # fmt: skip
            at = region[axis].start if step == 1 else region[axis].stop - 1
            region[axis] = slice(at, at + 1)
            yield tuple(region)


def _lost(
    folder: Path,
    found: str,
    more: str = "; if the missing chunks are known to be empty, write "
    "`missing_chunks_are_empty: true` into the sample's .yml",
) -> TomogramError:
    return make_volume_error(
        folder,
        f"{found}: Zarr would read them as the fill value",
        "a store of which every chunk with grey values is there",
        f"copy the store again{more}",
    )


def _find_own_size(array: zarr.Array) -> tuple[Spacing | None, str]:
    sizes = array.attrs.get("voxel_size_um")
    if sizes is None:
        return None, "a Zarr array without the attribute voxel_size_um"
    edges = np.broadcast_to(np.asarray(sizes, np.float64).ravel(), 3)
    return join_spacing([convert_to_um(edge, "um") for edge in edges]), "attribute voxel_size_um"


def _find_ome_size(
    folder: Path, image: Mapping[str, Any], level: int, axes_count: int
) -> tuple[Spacing | None, str]:
    """Multiply the scales of a level; its axes must end in z, y, x."""
    axes = image.get("axes") or list("tczyx"[5 - axes_count :])
    named = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in axes]
    if [str(axis["name"]).lower() for axis in named][-3:] != ["z", "y", "x"]:
        names = "".join(str(axis["name"]) for axis in named)
        raise make_volume_error(folder, f"axes {names}", "axes that end in z, y, x")
    steps = [
        *image["datasets"][level].get("coordinateTransformations", []),
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
    held = [
        f"{name} {item.shape}" for name, item in _list_members(node) if isinstance(item, zarr.Array)
    ]
    return make_volume_error(
        folder,
        f"{found} (the store holds {'; '.join(held[:12]) or 'no array'})",
        "a Zarr array (z, y, x) or an OME-Zarr image",
        "write `dataset: <path>` into the sample's .yml",
    )
