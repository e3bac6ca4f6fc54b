"""The folder of raw SEM frames, as a user lays it down.

The folder that synthetic SEM frames are written to.
"""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.datasets.files import RawFolder
from ncm_kedro.datasets.frames.listing import (
    IMAGE_SUFFIXES,
    Listing,
    is_image,
    list_files,
)
from ncm_kedro.datasets.frames.table import FRAME_TABLE, TableRow, find_table, read_table
from ncm_kedro.errors import NcmError
from ncm_kedro.sem.io.frames import (
    ARCHIVE,
    EMPTY_FOLDER,
    NOT_AN_IMAGE,
    NOT_THERE,
    TEXT_ALONE,
    FrameRecord,
    RawFrames,
    RejectedFile,
)

if TYPE_CHECKING:
    from ncm_kedro.synthetic.sem.frames import SyntheticFrame

TESCAN_SUFFIX = ".hdr"
SIDECAR_SUFFIXES = (TESCAN_SUFFIX, ".txt")
_OTHER_IMAGES = (
    ".gif", ".webp", ".jp2", ".heic", ".psd", ".dm3", ".dm4", ".emd", ".ser", ".czi", ".nd2",
)  # fmt: skip
_ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz")


class RawFrameFolder(RawFolder):
    """Frames in class folders, or in a ``frames.csv`` that stands in for them; read only.

    ``<filepath>/<class>/*.{jpg,png,tif,bmp}`` with an optional sidecar ``<file>.txt`` (or
    ``<stem>.txt``) beside each. A ``frames.csv`` in the folder has the columns ``file`` (relative
    to the folder) and ``class``, and may have ``magnification``, ``accelerating_voltage_kv``,
    ``pixel_size_um``, ``instrument``, ``acquired_at`` and ``condition``; only the files that it
    names are used.

    Parameters
    ----------
    filepath
        The folder.
    labelled
        Whether the frames have classes. Without, images may lie anywhere below the folder, and
        ``frames.csv`` needs no column ``class``; the records' class name is empty.
    conditions
        Whether a folder below a class names what was done to an electrode, as an additive does.
    metadata
        Anything; kedro ignores it (kedro-viz reads it).
    """

    holds = "raw frames"

    def __init__(
        self,
        *,
        filepath: str,
        labelled: bool = True,
        conditions: bool = False,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        self._labelled = labelled
        self._conditions = conditions

    def load(self) -> RawFrames:
        """List the folder; no file is opened except ``frames.csv``.

        Returns
        -------
        RawFrames
            Records sorted by file, and rejected files.

        Raises
        ------
        NcmError
            If the folder is missing or holds no image.
        TableError
            If ``frames.csv`` cannot be used.
        """
        root = self._filepath
        if not root.is_dir():
            raise _nothing_there(root, "no such folder")
        listing = list_files(root)
        table = find_table(root, listing)
        records, rejections = (
            list_folders(listing, labelled=self._labelled)
            if table is None
            else list_table(root, table, listing, labelled=self._labelled)
        )
        if not records:
            first = next((f", such as {r.file}: {r.reason}" for r in rejections), "")
            others = f" ({len(rejections)} other files{first})" if rejections else ""
            raise _nothing_there(root, f"no image that can be used{others}", table)
        return RawFrames(root, tuple(records), tuple(rejections), self._conditions)

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "labelled": self._labelled}


def holds_frames(root: Path) -> bool:
    """Return whether a folder has a frame table, or an image anywhere below it."""
    names = list_files(root).files if root.is_dir() else {}
    return any(is_image(name) or name.casefold() == FRAME_TABLE for name in names)


def list_folders(
    listing: Listing, *, labelled: bool = True
) -> tuple[list[FrameRecord], list[RejectedFile]]:
    """List images in class folders.

    Parameters
    ----------
    labelled
        Whether an image must lie in a class folder.

    Returns
    -------
    records, rejections
        A record per image, its class the path of its folder; and what is no image.
    """
    records, rejections = [], _reject_problems(listing)
    for file, path in listing.files.items():
        folder = file.rpartition("/")[0] if labelled else ""
        if path.suffix.lower() in SIDECAR_SUFFIXES and _has_image(path):
            continue
        kind = _find_kind(path)
        if kind is None and labelled and not folder:
            kind = "an image in no class folder"
        if kind is not None:
            rejections.append(RejectedFile(file, kind, kind, folder))
        else:
            records.append(FrameRecord(file, folder, path, _find_sidecar(path)))
    return records, sorted(rejections, key=lambda entry: entry.file)


def list_table(
    root: Path, table: Path, listing: Listing, *, labelled: bool = True
) -> tuple[list[FrameRecord], list[RejectedFile]]:
    """List the images that a frame table names.

    Parameters
    ----------
    root
        Folder that the column ``file`` is relative to.
    labelled
        Whether the table must have a column ``class``.

    Returns
    -------
    records, rejections
        A record per row that can be used; rows that cannot, and images that no row names.

    Raises
    ------
    TableError
        If the table cannot be parsed or lacks a column.
    """
    rows = read_table(table, ("file", "class") if labelled else ("file",), listing.files)
    rejections = [entry for entry in _reject_problems(listing) if entry.kind != EMPTY_FOLDER]
    by_file: dict[str, list[TableRow]] = defaultdict(list)
    find = _FileFinder(root, listing)
    for row in rows:
        by_file[find.find(row.file) or row.file].append(row)
    records = []
    for file, named in sorted(by_file.items()):
        row, kind, problem = named[0], "", ""
        if not row.file:
            kind = problem = f"a row of {FRAME_TABLE} without a file"
        elif find.find(row.file) is None:
            kind, problem = NOT_THERE, f"{NOT_THERE}{find.suggest(row.file)}"
        elif any((r.class_name, r.settings) != (row.class_name, row.settings) for r in named[1:]):
            kind = f"rows of {FRAME_TABLE} that contradict each other"
            problem = f"{kind} (lines {', '.join(str(r.line) for r in named)})"
        elif row.problem:
            kind = f"a row of {FRAME_TABLE} that cannot be used"
            problem = f"{FRAME_TABLE}, line {row.line}: {row.problem}"
        elif labelled and not row.class_name:
            kind = problem = f"{FRAME_TABLE} gives no class"
        if kind:
            rejections.append(
                RejectedFile(file or f"line {row.line}", problem, kind, row.class_name)
            )
        else:
            path = listing.files.get(file, root / row.file)
            records.append(
                FrameRecord(file, row.class_name, path, _find_sidecar(path), row.settings)
            )
    unnamed = f"not named in {FRAME_TABLE}"
    rejections += [
        RejectedFile(file, unnamed, unnamed)
        for file in listing.files
        if is_image(file) and file not in by_file
    ]
    return records, sorted(rejections, key=lambda entry: entry.file)


class _FileFinder:
    """Finds files as a table spells them: case and the form of accents may differ."""

    def __init__(self, root: Path, listing: Listing) -> None:
        self._root = root
        self._files = listing.files
        self._folded: dict[str, list[str]] = defaultdict(list)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for file in listing.files:
            self._folded[_fold_name(file)].append(file)
            self._by_name[_fold_name(file).rpartition("/")[2]].append(file)

    def find(self, file: str) -> str | None:
        """Return the name in the listing, or one outside of it; None if there is no such file."""
        file = posixpath.normpath(file) if file else ""
        if posixpath.isabs(file) and Path(file).is_relative_to(self._root.absolute()):
            file = Path(file).relative_to(self._root.absolute()).as_posix()
        if file in self._files:
            return file
        alike = self._folded[_fold_name(file)]
        if len(alike) == 1:
            return alike[0]
        return file if file and os.path.isfile(self._root / file) else None

    def suggest(self, file: str) -> str:
        """Name the file that may be meant."""
        same = self._by_name[_fold_name(file).rpartition("/")[2]]
        return f"; there is {same[0]}" if same else ""


def _fold_name(file: str) -> str:
    return unicodedata.normalize("NFC", file).casefold()


def _reject_problems(listing: Listing) -> list[RejectedFile]:
    return [
        RejectedFile(
            name,
            problem,
            problem.partition(" (")[0],
            name if problem == EMPTY_FOLDER else name.rpartition("/")[0],
        )
        for name, problem in listing.problems.items()
    ]


def _find_kind(path: Path) -> str | None:
    """Say what a file is that is no image; None for an image."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return None
    if suffix in SIDECAR_SUFFIXES:
        return TEXT_ALONE
    if path.name.casefold() == FRAME_TABLE:
        return f"a {FRAME_TABLE} that lies in a class folder, not in the raw folder itself"
    if suffix in _OTHER_IMAGES:
        return f"an image of a format that is not read ({suffix}; export it as TIFF)"
    return ARCHIVE if suffix in _ARCHIVES else NOT_AN_IMAGE


def _find_sidecar(image: Path) -> Path | None:
    """Return ``a.tif.txt``, ``a.txt``, or TESCAN's ``a-tif.hdr``, the instrument's first."""
    kind = image.suffix[1:]
    stems = (f"{image.stem}-{kind}", f"{image.stem}-{kind.lower()}", image.name, image.stem)
    for suffix in SIDECAR_SUFFIXES:
        for stem in stems if suffix == TESCAN_SUFFIX else stems[2:]:
            for spelling in (suffix, suffix.upper()):
                if os.path.isfile(path := image.with_name(stem + spelling)):
                    return path
    return None


def _has_image(sidecar: Path) -> bool:
    name = sidecar.stem
    if (dash := name.rfind("-")) > 0 and f".{name[dash + 1 :].lower()}" in IMAGE_SUFFIXES:
        name = f"{name[:dash]}.{name[dash + 1 :]}"
    if f".{name.rpartition('.')[2].lower()}" in IMAGE_SUFFIXES:
        name = name.rpartition(".")[0]
    spellings = (spelling for kind in IMAGE_SUFFIXES for spelling in (kind, kind.upper()))
    return any(os.path.isfile(sidecar.with_name(name + suffix)) for suffix in spellings)


def _nothing_there(folder: Path, found: str, table: Path | None = None) -> NcmError:
    action = (
        f"put frames into class folders such as {folder.name}/811_cycled/ (sidecars <file>.txt "
        f"beside them are optional), or write {folder.name}/{FRAME_TABLE} with the columns file "
        "and class"
        if table is None
        else f"correct the rows of {table.name} (the column file is relative to {folder}), or "
        "remove it and put frames into class folders such as 811_cycled/"
    )
    return NcmError(
        folder,
        found=found,
        expected="SEM frames as <class>/<file>.jpg, .png, .tif or .bmp",
        action=action,
    )


class SyntheticFrameFolder(RawFrameFolder):
    """Writes frames as a user would lay them down, with their truth beside; reads like raw data.

    A folder that holds anything but synthetic frames is rejected.
    """

    @property
    def truth_path(self) -> Path:
        """The table of what is known of each frame, beside the folder."""
        return self._filepath.with_name(f"{self._filepath.name}_truth.parquet")

    def save(self, data: Iterable[SyntheticFrame]) -> None:  # type: ignore[override]
        """Write the frames, one at a time, then their truth."""
        from ncm_kedro.synthetic.sem.frames import write_sem_frames

        truth = write_sem_frames(data, self._filepath)
        write_atomic(self.truth_path, truth.to_parquet())
