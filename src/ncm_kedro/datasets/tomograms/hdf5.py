"""Tomograms in HDF5: dxchange, ESRF and other NeXus layouts, or any single volume."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ncm_kedro.datasets.tomograms.hdf5_size import find_voxel_size
from ncm_kedro.datasets.tomograms.notes import (
    OpenedVolume,
    TomogramNotes,
    check_volume,
    drop_unit_axes,
    make_chunk_warning,
    make_volume_error,
)
from ncm_kedro.errors import TomogramError
from ncm_kedro.tomo.volumes.volume import Region

_DXCHANGE = "/exchange/data"
_NEXUS = re.compile(r"^/entry[^/]*/(.+/)?data$")
_ANGLES = re.compile(r"theta|image_key|rot|angle|omega", re.IGNORECASE)
_PROJECTION_NOTES = frozenset({"theta", "image_key", "image_key_control", "rotation_angle"})
_FLATS = frozenset({"data_white", "data_dark", "data_flat", "data_background"})
_RAW_PLACE = re.compile(r"/(instrument/.+|data/data)$")
_RECONSTRUCTED = re.compile(r"recon|result|volume|tomoproc|final", re.IGNORECASE)
_CLEARLY_LARGER = 2.0
_READ_ERRORS = (OSError, RuntimeError, KeyError, ValueError)
_FILTER_NAMES = {32008: "bitshuffle", 32004: "LZ4", 32001: "Blosc", 32026: "Blosc2",
                 32015: "Zstandard", 32013: "ZFP", 32017: "SZ", 307: "bzip2"}  # fmt: skip
_DEEPEST = 4  # virtual data sets of virtual data sets


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
            spacing, said = find_voxel_size(chosen, found.items)
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


def check_stored(
    path: Path, item: h5py.Dataset, files: list[Path], notes: TomogramNotes, depth: int = 0
) -> tuple[str, ...]:
    """Check that all of a data set can be read; collect the files that it lies in.

    HDF5 reads zeros where the source of a virtual data set is missing, or a chunk was not written.
    """
    if item.is_virtual and depth < _DEEPEST:
        return _check_sources(path, item, files, notes, depth)
    left = int(item.nbytes)
    for name, offset, size in item.external or ():
        place = Path(item.file.filename).parent / name
        if not place.is_file():
            raise _lost(path, f"{item.name} lies in {place}, which is not there")
        needed = min(left, size)
        left -= needed
        if place.stat().st_size < offset + needed:
            raise _lost(path, f"{place} holds {place.stat().st_size} of {offset + needed} bytes")
        files.append(place)
    pipeline = item.id.get_create_plist()
    for number in range(pipeline.get_nfilters()):
        code = pipeline.get_filter(number)[0]
        if not h5py.h5z.filter_avail(code):
            raise make_volume_error(
                path,
                f"data compressed by {_FILTER_NAMES.get(code, 'an HDF5 filter')} (filter {code}), "
                "and that filter not installed",
                "a compression that HDF5 here can read",
                "run `pip install hdf5plugin` in this project's environment and start again",
            )
    return _check_written(path, item, notes)


def _check_written(path: Path, item: h5py.Dataset, notes: TomogramNotes) -> tuple[str, ...]:
    if item.chunks is None:
        if item.id.get_storage_size() == 0 and not item.external:
            raise _lost(path, f"{item.name} was never written")
        return ()
    total = int(np.prod([-(-n // c) for n, c in zip(item.shape, item.chunks, strict=True)]))
    missing = total - int(item.id.get_num_chunks())
    if missing <= 0:
        return ()
    if missing == total:
        raise _lost(path, f"none of {total} chunks of {item.name} was written")
    if notes.missing_chunks_are_empty:
        return (make_chunk_warning(missing, total, "as missing_chunks_are_empty says"),)
    raise _lost(
        path,
        f"{missing} of {total} chunks of {item.name} were never written",
        "; if they are known to be empty, write `missing_chunks_are_empty: true` into the "
        "sample's .yml",
    )


def _check_sources(
    path: Path, item: h5py.Dataset, files: list[Path], notes: TomogramNotes, depth: int
) -> tuple[str, ...]:
    """Check the sources of a virtual data set, and that together they cover it."""
    own = Path(item.file.filename)
    warnings: dict[str, None] = {}
    for source in item.virtual_sources():
        place = own if source.file_name == "." else _resolve(own, source.file_name)
        if not place.is_file():
            raise _lost(path, f"{item.name} is put together from {place}, which is not there")
        files.append(place)
        with h5py.File(place, "r", locking=False) as file:
            part = file.get(source.dset_name)
            if not isinstance(part, h5py.Dataset):
                raise _lost(path, f"{place} holds no {source.dset_name}, a part of {item.name}")
            if not _holds(part, source):
                raise _lost(path, f"{source.dset_name} in {place} is {part.shape}, smaller than "
                                  f"what {item.name} takes of it")  # fmt: skip
            told = check_stored(place, part, files, notes, depth + 1)
            warnings |= dict.fromkeys(told)
    covered = _measure_covered(item)
    if covered < 1:
        raise _lost(path, f"the sources of {item.name} fill {covered:.1%} of it")
    return tuple(warnings)


def _holds(part: h5py.Dataset, source: Any) -> bool:
    """Tell whether a source has all voxels that a virtual data set takes of it."""
    if source.src_space.get_select_type() == h5py.h5s.SEL_ALL:
        return bool(part.size >= source.vspace.get_select_npoints())
    _, last = source.src_space.get_select_bounds()
    return part.ndim == len(last) and all(n > k for n, k in zip(part.shape, last, strict=True))


def _measure_covered(item: h5py.Dataset) -> float:
    """Return the fraction of a virtual data set that its sources fill; overlaps count once."""
    points, boxes = 0, []
    for source in item.virtual_sources():
        first, last = source.vspace.get_select_bounds()
        boxes.append((np.array(first), np.array(last) + 1))
        points += max(0, int(source.vspace.get_select_npoints()))
    if points != sum(int(np.prod(stop - start)) for start, stop in boxes):  # interleaved
        return points / int(item.size)
    cuts = [np.unique([box[side][axis] for box in boxes for side in (0, 1)])
            for axis in range(item.ndim)]  # fmt: skip
    filled = np.zeros([len(cut) - 1 for cut in cuts], bool)
    for start, stop in boxes:
        filled[tuple(slice(*np.searchsorted(cut, (a, b)))
                     for cut, a, b in zip(cuts, start, stop, strict=True))] = True  # fmt: skip
    volume = reduce(np.multiply.outer, [np.diff(cut) for cut in cuts])
    return int(volume[filled].sum()) / int(item.size)


def _resolve(own: Path, name: str) -> Path:
    """Resolve a file that another one names, as HDF5 does.

    Relative names count from that file, or from where it really lies if it is a link; of absolute
    ones that are not there, the last part does so.
    """
    wanted = Path(name) if not Path(name).is_absolute() or Path(name).exists() else Path(name).name
    folders = (own.parent, own.resolve().parent)
    return next((one / wanted for one in folders if (one / wanted).exists()), own.parent / wanted)


def _lost(path: Path, found: str, more: str = "") -> TomogramError:
    return make_volume_error(
        path,
        f"{found}: HDF5 would read it as zeros",
        "a volume of which all was written and all is there",
        f"copy the files that belong together again, or finish the reconstruction{more}",
    )
