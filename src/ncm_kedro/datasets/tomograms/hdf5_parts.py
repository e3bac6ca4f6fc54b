"""Whether all of an HDF5 data set is there: HDF5 reads what is missing as zeros."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ncm_kedro.datasets.tomograms.notes import (
    TomogramNotes,
    make_chunk_warning,
    make_volume_error,
)
from ncm_kedro.errors import TomogramError

_FILTER_NAMES = {32008: "bitshuffle", 32004: "LZ4", 32001: "Blosc", 32026: "Blosc2",
                 32015: "Zstandard", 32013: "ZFP", 32017: "SZ", 307: "bzip2"}  # fmt: skip
_DEEPEST = 4  # virtual data sets of virtual data sets


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
