"""The folder of raw tomograms, as a user lays it down."""

from __future__ import annotations

import hashlib
import logging
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.datasets.files import RawFolder
from ncm_kedro.datasets.tomograms.notes import (
    HDF5_SUFFIXES,
    NOTES_EXAMPLE,
    TIFF_SUFFIXES,
    OpenedVolume,
    TomogramNotes,
    check_extent,
    make_volume_error,
    make_voxel_size_error,
    name_sample,
    read_notes,
)
from ncm_kedro.errors import NcmError, Rejections, SettingsError, TomogramError
from ncm_kedro.tomo.volumes.identity import Identity, fingerprint, identify_content
from ncm_kedro.tomo.volumes.volume import RawTomogram, Region, Volume, Volumes

NOTES_SUFFIX = ".yml"

_NOTES_SUFFIXES = (NOTES_SUFFIX, ".yaml")
_READER_VERSION = 2
_NAMED = 8  # files that a message names
_READ_ERRORS = (
    OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, EOFError,
    struct.error, zlib.error,
)  # fmt: skip
_CONVERT = "unpack archives; save MRC, NRRD, MHD or raw binary as TIFF, for example with Fiji"
_log = logging.getLogger(__name__)


class RawTomograms(Mapping[str, RawTomogram]):
    """Tomograms by sample, and what was rejected.

    Parameters
    ----------
    rejected
        ``file, reason`` of inputs that cannot be used.
    missing
        Why there is none, for whoever finds none elsewhere either.
    """

    def __init__(
        self,
        tomograms: Mapping[str, RawTomogram],
        rejected: pd.DataFrame,
        missing: TomogramError | None = None,
    ) -> None:
        self._tomograms = dict(tomograms)
        self.rejected = rejected
        self.missing = missing

    def __getitem__(self, sample: str, /) -> RawTomogram:
        return self._tomograms[sample]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tomograms)

    def __len__(self) -> int:
        return len(self._tomograms)


class RawTomogramFolder(RawFolder):
    """Tomograms as ``<filepath>/<sample>{.tif,.tiff,.h5,.hdf5,.nxs,.zarr,/}``; read only.

    A folder that is no Zarr store holds a section per file. ``<sample>.yml`` beside it may hold
    the keys of `TomogramNotes`.

    Parameters
    ----------
    identity
        How a tomogram is known again, see `Identity`.
    may_be_empty
        Whether a folder without tomograms, or none, loads as none instead of raising.
    """

    holds = "raw tomograms"

    def __init__(
        self,
        *,
        filepath: str,
        samples: Sequence[str] | None = None,
        identity: Identity = "sampled",
        may_be_empty: bool = False,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        if identity not in get_args(Identity):
            raise SettingsError(
                f"raw tomograms {filepath}",
                found=f"identity: {identity}",
                expected=" or ".join(get_args(Identity)),
                action="correct `tomo_identity` in conf/local/globals.yml",
            )
        self._identity: Identity = identity
        self._may_be_empty = may_be_empty
        self._samples = None if samples is None else [str(sample) for sample in samples]

    def load(self) -> RawTomograms:
        """Open every tomogram; metadata is read, no voxel.

        Returns
        -------
        RawTomograms
            Sorted by sample, with a table of those that cannot be used.

        Raises
        ------
        TomogramError
            If the folder holds no tomogram, or none that can be used.
        SettingsError
            If ``samples`` names one that is not there.
        """
        sources = self._list_sources()
        if not sources:
            nothing = pd.DataFrame(columns=["file", "reason"], dtype="str")
            return RawTomograms({}, nothing, self._nothing_there())
        tomograms, rejections = {}, Rejections()
        for sample, paths in sorted(sources.items()):
            with rejections.catch(paths[0].name, paths[0]):
                tomograms[sample] = open_tomogram(sample, paths, self._filepath, self._identity)
        rejections.check_left(len(sources))
        tomograms = _mark_doubles(tomograms)
        for tomogram in tomograms.values():
            for warning in tomogram.warnings:
                _log.warning("%s: %s", tomogram.source, warning)
        rows = [*rejections.reasons.items(), *self._list_unrelated(sources)]
        return RawTomograms(
            tomograms, pd.DataFrame(rows, columns=["file", "reason"], dtype="str")
        )  # fmt: skip

    def content_hash(self) -> str | None:
        """Return a hash over the tomograms' content, None where nothing can be used."""
        try:
            tomograms = self.load()
        except NcmError:
            return None
        if not tomograms:
            return None
        identity = [f"{name} {tomograms[name].fingerprint}" for name in sorted(tomograms)]
        return hashlib.sha256("\n".join(identity).encode()).hexdigest()

    def _list_sources(self) -> dict[str, list[Path]]:
        """List the files and folders of each sample."""
        sources: dict[str, list[Path]] = {}
        for path in self._list_visible():
            if path.is_dir() or path.suffix.lower() in (*TIFF_SUFFIXES, *HDF5_SUFFIXES):
                sources.setdefault(name_sample(path), []).append(path)
        if not sources and not self._may_be_empty:
            raise self._nothing_there()
        if self._samples is None or not sources:
            return sources
        missing = sorted(set(self._samples) - set(sources))
        if missing:
            raise SettingsError(
                "samples",
                found=f"{', '.join(missing)}, which {self._filepath} does not hold",
                expected=f"some of {', '.join(sorted(sources))}",
                action="correct the list in the catalog, or set it to null to use every sample",
            )
        return {sample: sources[sample] for sample in self._samples}

    def _list_unrelated(self, sources: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if self._samples is not None:
            return
        for path in self._list_visible():
            if path.suffix.lower() in _NOTES_SUFFIXES:
                if path.stem not in sources:
                    yield path.name, "notes without a tomogram of that name"
            elif name_sample(path) not in sources:
                kinds = "not a TIFF, HDF5 or Zarr file, nor a folder of sections"
                yield path.name, f"{kinds}: {_CONVERT}"

    def _list_visible(self) -> list[Path]:
        if not self._filepath.is_dir():
            return []
        return sorted(path for path in self._filepath.iterdir() if not path.name.startswith("."))

    def _nothing_there(self) -> TomogramError:
        names = [path.name for path in self._list_visible()]
        found = "no tomogram" if self._filepath.is_dir() else "no such folder"
        if names:
            found += f" among {', '.join(names[:_NAMED])}{' ...' if len(names) > _NAMED else ''}"
        return TomogramError(
            self._filepath,
            found=found,
            expected="tomograms as <sample>.tif, .h5, .zarr, or a folder of sections <sample>/",
            action=f"put one there, with its voxel size in {self._filepath.name}/<sample>.yml "
            f"({_CONVERT}); or "
            "run holo_tomography first where there are raw projections",
        )

    def _exists(self) -> bool:
        return bool(self._list_visible())

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath.as_posix(), "samples": self._samples}


def add_reconstructed(raw: RawTomograms, reconstructed: Volumes) -> RawTomograms:
    """Add the volumes that ``holo_tomography`` has made to the tomograms of a user's folder.

    Returns
    -------
    RawTomograms
        A scan that could not be reconstructed is among the rejected, as is a volume of the same
        name as a tomogram of the folder.

    Raises
    ------
    TomogramError
        If there is neither.
    """
    added, rows = dict(raw), list(reconstructed.rejections.items())
    for name, volume in reconstructed.items():
        if name in raw:
            told = f"a sample of the same name as {raw[name].source}: rename one of them"
            rows.append((volume.path.as_posix(), told))
        else:
            added[name] = _take_as_raw(volume)
    if not added and raw.missing is not None and not rows:
        raise raw.missing
    more = pd.DataFrame(rows, columns=["file", "reason"], dtype="str")
    return RawTomograms(added, pd.concat([raw.rejected, more], ignore_index=True), raw.missing)


def _take_as_raw(volume: Volume) -> RawTomogram:
    known = volume.attributes
    kept = ("cycles", "c_rate", "axis_to_collector", "grey_unit")
    return RawTomogram(
        name=volume.name,
        source=volume.path.as_posix(),
        shape_zyx=volume.shape_zyx,
        dtype=np.dtype(volume.array.dtype),
        voxel_size_um=volume.voxel_size_um,
        voxel_size_source=f"holo_tomography: {known['voxel_size_source']}",
        attributes={key: known[key] for key in kept if known.get(key) is not None},
        fingerprint=volume.fingerprint,
        read=volume.array.__getitem__,
        content=volume.fingerprint,
        warnings=tuple(known.get("scan_warnings", ())),
    )


def open_tomogram(
    sample: str, paths: Sequence[Path], folder: Path, identity: Identity
) -> RawTomogram:
    """Open one tomogram with its notes.

    Parameters
    ----------
    paths
        The file or folder; more than one is an error.
    folder
        Holds ``<sample>.yml``.
    identity
        How its content is identified, see `Identity`.

    Raises
    ------
    TomogramError
        If it cannot be used.
    """
    path = paths[0]
    if len(paths) > 1:
        raise make_volume_error(
            path,
            f"{len(paths)} inputs for sample {sample}: {', '.join(p.name for p in paths)}",
            "one file or folder per sample",
            "rename or move all but one",
        )
    if not path.exists():
        raise make_volume_error(
            path,
            f"a link to {path.readlink()}, which is not there",
            "a file or a folder",
            "connect the drive that holds it, or remove the link",
        )
    notes_path = _find_notes(sample, folder)
    notes = read_notes(notes_path, TomogramNotes, NOTES_EXAMPLE)
    try:
        opened = _open_volume(path, notes)
        content = identify_content(path, opened.files, identity)
    except OSError as error:
        raise make_volume_error(
            path, f"a file that cannot be opened ({error})", "a readable file",
            "correct its permissions, or copy the file again",
        ) from error  # fmt: skip
    size, said = opened.voxel_size_um, opened.voxel_size_source
    if notes.spacing_um is not None:
        size, said = notes.spacing_um, notes_path.name
    if size is None:
        raise make_voxel_size_error(path, notes_path, said)
    return RawTomogram(
        name=sample,
        source=path.as_posix(),
        shape_zyx=opened.shape_zyx,
        dtype=opened.dtype,
        voxel_size_um=size,
        voxel_size_source=said,
        attributes=notes.attributes,
        fingerprint=fingerprint(
            f"raw-{_READER_VERSION}", content, opened.voxel_size_um, opened.shape_zyx, params=notes
        ),
        read=partial(_read, path, opened),
        content=content,
        warnings=(
            *opened.warnings,
            *_list_unread_notes(path),
            *check_extent(path, opened.shape_zyx, size),
        ),
    )


def _mark_doubles(tomograms: Mapping[str, RawTomogram]) -> dict[str, RawTomogram]:
    """Warn of samples that are one tomogram under several names: they are no replicates."""
    marked = dict(tomograms)
    for name, tomogram in tomograms.items():
        others = [
            o for o, one in tomograms.items() if o != name and one.content == tomogram.content
        ]
        if others:
            told = f"the same voxels as {', '.join(others)}: count them once"
            marked[name] = replace(tomogram, warnings=(*tomogram.warnings, told))
    return marked


def _read(source: Path, opened: OpenedVolume, region: Region) -> NDArray[Any]:
    try:
        return opened.read(region)
    except _READ_ERRORS as error:
        z = region[0]
        raise make_volume_error(
            source,
            f"sections {z.start} to {(z.stop or 0) - 1} that cannot be read ({error})",
            "an intact file",
            "copy or export the file again",
        ) from error


def _open_volume(path: Path, notes: TomogramNotes) -> OpenedVolume:
    from ncm_kedro.datasets.tomograms.hdf5 import open_hdf5
    from ncm_kedro.datasets.tomograms.sections import open_sections
    from ncm_kedro.datasets.tomograms.tiff import open_tiff
    from ncm_kedro.datasets.tomograms.zarr import is_zarr, open_zarr

    if path.is_dir():
        return open_zarr(path, notes) if is_zarr(path) else open_sections(path)
    if path.suffix.lower() in HDF5_SUFFIXES:
        return open_hdf5(path, notes)
    return open_tiff(path)


def _list_unread_notes(path: Path) -> list[str]:
    """Warn of notes within the folder of a sample, where they are not looked for."""
    names = [one.name for one in path.iterdir()] if path.is_dir() else []
    return [
        f"{name} in {path.name}/ is not read: notes stand beside the folder, in "
        f"{name_sample(path)}{NOTES_SUFFIX}"
        for name in sorted(names)
        if Path(name).suffix.lower() in _NOTES_SUFFIXES
    ]


def _find_notes(sample: str, folder: Path) -> Path:
    """Find the notes of a sample, whatever the case of their ending."""
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.stem == sample and path.suffix.lower() in _NOTES_SUFFIXES
    ]
    if len(found) > 1:
        raise make_volume_error(
            found[0],
            f"{len(found)} files of notes for sample {sample}: {', '.join(p.name for p in found)}",
            f"one, {sample}{NOTES_SUFFIX}",
            "merge them into one",
        )
    return found[0] if found else folder / f"{sample}{NOTES_SUFFIX}"
