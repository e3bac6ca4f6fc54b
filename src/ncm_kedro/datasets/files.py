"""Data sets in a folder: what they share, locking, error reports and clean-up.

Which samples the last save of a folder rejected, and why; kept beside the others.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock, Timeout
from kedro.io import AbstractDataset

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.errors import NcmError, StoreError


class FolderDataset(AbstractDataset[Any, Any]):
    """A data set that is one folder."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def _exists(self) -> bool:
        return self._filepath.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath.as_posix()}


class RawFolder(FolderDataset):
    """A folder of the user's own data, which is read only.

    Attributes
    ----------
    holds
        What it holds, as in ``raw frames``.
    """

    holds = "raw data"

    def save(self, data: None) -> NoReturn:
        """Raise: raw data is never written.

        Raises
        ------
        NcmError
            Always.
        """
        raise NcmError(
            self._filepath,
            found=f"an attempt to save {self.holds}",
            expected=f"{self.holds} to be read only",
            action="name another data set as the node's output",
        )

    def _exists(self) -> bool:
        return self._filepath.is_dir() and any(self._filepath.iterdir())


@contextmanager
def lock_store(folder: Path) -> Iterator[None]:
    """Hold the right to write a store; a second writer fails at once.

    The lock is freed by the operating system when its holder dies.

    Parameters
    ----------
    folder
        The store. The lock file ``.<name>.lock`` lies beside it.

    Raises
    ------
    StoreError
        If another process writes the store.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise StoreError(
            folder,
            found="another run that is writing this store right now",
            expected="one writer at a time",
            action="wait until the other run has ended, then start again",
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def report_write_errors(folder: Path, kept: str) -> Iterator[None]:
    """Turn an error of the operating system into a located one.

    Raises
    ------
    StoreError
        If the disk is full, or the store may not be written.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            folder,
            found=f"a read or write that failed: {error.strerror or error} "
            f"({describe_space(folder)})",
            expected="a folder that can be read and written, with enough free space",
            action=f"free space or name another path in the catalog, then start again; {kept}",
        ) from error


def remove_unreferenced(folder: Path, keep: Collection[str]) -> int:
    """Remove arrays that no index names any more.

    Parameters
    ----------
    keep
        Arrays to keep, as ``<class>/<array>``.

    Returns
    -------
    int
        Arrays removed.
    """
    arrays = [path for path in folder.glob("*/*") if path.is_dir()]
    unwanted = [path for path in arrays if path.relative_to(folder).as_posix() not in keep]
    for path in unwanted:
        shutil.rmtree(path)
    return len(unwanted)


def describe_space(folder: Path) -> str:
    """Describe the free space of a folder's disk."""
    existing = next((path for path in (folder, *folder.parents) if path.is_dir()), None)
    if existing is None or not os.access(existing, os.R_OK):
        return "free space unknown"
    return f"{shutil.disk_usage(existing).free / 1e9:.1f} GB free"


_FILE = "rejections.json"


def read_rejections(folder: Path) -> dict[str, str]:
    """Read the reasons by sample; a folder without the list has none.

    Parameters
    ----------
    folder
        Folder of a data set that holds something by sample.

    Raises
    ------
    StoreError
        If the list is damaged.
    """
    path = folder / _FILE
    try:
        rows = json.loads(path.read_bytes())
        return {str(name): str(reason) for name, reason in rows.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, AttributeError) as error:
        raise StoreError(
            path,
            found=f"a list that cannot be parsed ({error})",
            expected="reasons by sample, as JSON",
            action="delete this file and run the pipeline again",
        ) from error


def write_rejections(folder: Path, reasons: Mapping[str, str]) -> None:
    """Write the reasons by sample, an empty list where there are none."""
    write_atomic(folder / _FILE, json.dumps(dict(reasons), indent=2).encode())
