"""The folder of raw SEM frames, as a user lays it down.

The folder that synthetic SEM frames are written to.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.datasets.files import RawFolder
from ncm_kedro.errors import NcmError, TableError
from ncm_kedro.sem.io.frames import FrameRecord, RawFrames, RejectedFile

if TYPE_CHECKING:
    from ncm_kedro.synthetic.sem.frames import SyntheticFrame

FRAME_TABLE = "frames.csv"
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff"})
TESCAN_SUFFIX = ".hdr"
SIDECAR_SUFFIXES = (TESCAN_SUFFIX, ".txt")


class RawFrameFolder(RawFolder):
    """Frames in class folders, or in a ``frames.csv`` that stands in for them; read only.

    ``<filepath>/<class>/*.{jpg,png,tif}`` with an optional sidecar ``<file>.txt`` (or
    ``<stem>.txt``) beside each. A ``frames.csv`` in the folder has the columns ``file`` (relative
    to the folder) and ``class``, and may have ``magnification``, ``accelerating_voltage_kv``,
    ``pixel_size_um``, ``instrument`` and ``acquired_at``; only the files that it names are used.

    Parameters
    ----------
    filepath
        The folder.
    labelled
        Whether the frames have classes. Without, images may lie anywhere below the folder, and
        ``frames.csv`` needs no column ``class``; the records' class name is empty.
    metadata
        Anything; kedro ignores it (kedro-viz reads it).
    """

    holds = "raw frames"

    def __init__(
        self, *, filepath: str, labelled: bool = True, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        self._labelled = labelled

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
        if not self._filepath.is_dir():
            raise _nothing_there(self._filepath, "no such folder")
        table = self._filepath / FRAME_TABLE
        list_frames = list_table if table.is_file() else list_folders
        raw = list_frames(self._filepath, labelled=self._labelled)
        if not raw.records:
            others = f" ({len(raw.rejections)} other files)" if raw.rejections else ""
            raise _nothing_there(self._filepath, f"no image that can be used{others}")
        return raw

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "labelled": self._labelled}


def holds_frames(root: Path) -> bool:
    """Return whether a folder has a frame table, or an image anywhere below it."""
    return (root / FRAME_TABLE).is_file() or any(
        path.suffix.lower() in IMAGE_SUFFIXES for path in root.rglob("*")
    )


def list_folders(root: Path, *, labelled: bool = True) -> RawFrames:
    """List images in class folders.

    Parameters
    ----------
    labelled
        Whether an image must lie in a class folder.

    Returns
    -------
    RawFrames
        A record per image; the class is the folder's name.
    """
    records, aside = [], []
    for path in _list_files(root):
        file = path.relative_to(root).as_posix()
        folder = file.rpartition("/")[0]
        if path.suffix.lower() in SIDECAR_SUFFIXES:
            if not _has_image(path):
                aside.append(RejectedFile(file, "a text file without an image"))
        elif path.suffix.lower() not in IMAGE_SUFFIXES:
            aside.append(RejectedFile(file, "not a JPEG, PNG or TIFF file"))
        elif labelled and not folder:
            aside.append(RejectedFile(file, "an image that lies in no class folder"))
        else:
            class_name = folder.partition("/")[0] if labelled else ""
            records.append(FrameRecord(file, class_name, path, _find_sidecar(path)))
    return RawFrames(root, tuple(records), tuple(aside))


def list_table(root: Path, *, labelled: bool = True) -> RawFrames:
    """List the images that a frame table names.

    Parameters
    ----------
    root
        Folder that holds ``frames.csv``; its column ``file`` is relative to the folder.
    labelled
        Whether the table must have a column ``class``.

    Returns
    -------
    RawFrames
        A record per row whose file exists.

    Raises
    ------
    TableError
        If the table cannot be parsed, lacks a column, or names a file twice.
    """
    rows = _read_table(root / FRAME_TABLE, {"file", "class"} if labelled else {"file"})
    records, aside = [], []
    for row in rows.sort_values("file").to_dict("records"):
        settings = {str(key): str(value) for key, value in row.items() if value}
        file, class_name = settings.pop("file", ""), settings.pop("class", "")
        path = root / file
        if not path.is_file():
            aside.append(RejectedFile(file, f"named in {FRAME_TABLE}, but there is no such file"))
        elif labelled and not class_name:
            aside.append(RejectedFile(file, f"{FRAME_TABLE} gives no class"))
        else:
            records.append(FrameRecord(file, class_name, path, _find_sidecar(path), settings))
    return RawFrames(root, tuple(records), tuple(aside))


def _read_table(table: Path, required: set[str]) -> pd.DataFrame:
    action = "save the table as UTF-8 CSV with a header line"
    try:
        rows = pd.read_csv(table, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise TableError(
            table, found=f"a table that cannot be read ({error})", expected="CSV", action=action
        ) from error
    rows.columns = rows.columns.str.strip()
    missing = required - set(rows.columns)
    if missing:
        raise TableError(
            table,
            found=f"no column {' and '.join(sorted(missing))}",
            expected=f"the columns {' and '.join(sorted(required))}",
            action=action,
        )
    rows = pd.DataFrame({name: rows[name].str.strip() for name in rows.columns})
    rows["file"] = rows["file"].str.replace("\\", "/", regex=False)
    twice = rows.loc[rows["file"].duplicated(), "file"]
    if len(twice):
        raise TableError(
            table,
            found=f"{len(twice)} files named more than once, such as '{twice.iloc[0]}'",
            expected="a row per file",
            action="remove the repeated rows",
        )
    return rows


def _list_files(root: Path) -> list[Path]:
    files = (path for path in root.rglob("*") if path.is_file())
    return sorted(
        (path for path in files if not _is_hidden(path.relative_to(root))),
        key=lambda path: path.relative_to(root).as_posix(),
    )


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _find_sidecar(image: Path) -> Path | None:
    """Return ``a.tif.txt``, ``a.txt``, or TESCAN's ``a-tif.hdr``, the instrument's first."""
    kind = image.suffix[1:]
    stems = (f"{image.stem}-{kind}", f"{image.stem}-{kind.lower()}", image.name, image.stem)
    for suffix in SIDECAR_SUFFIXES:
        for stem in stems if suffix == TESCAN_SUFFIX else stems[2:]:
            for spelling in (suffix, suffix.upper()):
                if (path := image.with_name(stem + spelling)).is_file():
                    return path
    return None


def _has_image(sidecar: Path) -> bool:
    name = sidecar.stem
    if (dash := name.rfind("-")) > 0 and f".{name[dash + 1 :].lower()}" in IMAGE_SUFFIXES:
        name = f"{name[:dash]}.{name[dash + 1 :]}"
    if f".{name.rpartition('.')[2].lower()}" in IMAGE_SUFFIXES:
        name = name.rpartition(".")[0]
    spellings = (spelling for kind in IMAGE_SUFFIXES for spelling in (kind, kind.upper()))
    return any(sidecar.with_name(name + suffix).is_file() for suffix in spellings)


def _nothing_there(folder: Path, found: str) -> NcmError:
    return NcmError(
        folder,
        found=found,
        expected="SEM frames as <class>/<file>.jpg, .png or .tif",
        action=f"put frames into class folders such as {folder.name}/811_cycled/ (sidecars "
        f"<file>.txt beside them are optional), or write {folder.name}/{FRAME_TABLE} with the "
        "columns file and class",
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
