"""Atomic writes: whenever a run is killed, a reader finds the old content or the new one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ncm_kedro.errors import ModelError


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a file beside its place for writing; it takes its place when the block ends.

    The content is on the disk (fsync) before the rename. If the block raises, nothing remains.

    Parameters
    ----------
    path
        The file; one that exists is replaced, folders that are missing are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, content: bytes) -> None:
    """Write bytes to a file as `open_atomic` does."""
    with open_atomic(path) as file:
        file.write(content)


def replace_folder(draft: Path, folder: Path) -> None:
    """Let a finished folder take the place of another; on failure the old one comes back.

    Parameters
    ----------
    draft
        The new content, on the same disk.
    folder
        Its place; it need not exist.
    """
    if not folder.exists():
        draft.rename(folder)
        return
    old = draft.with_name(f"{draft.name}.old")
    folder.rename(old)
    try:
        draft.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_model_file(path: Path, content: bytes) -> None:
    """Write a file of a model or of its training, as `write_atomic`.

    Raises
    ------
    ModelError
        If it cannot be written.
    """
    try:
        write_atomic(path, content)
    except OSError as error:
        raise ModelError(
            path,
            found=f"a file that cannot be written ({error})",
            expected="a writable folder with 50 MB of room",
            action="free disk space or choose another folder, then run again: it resumes",
        ) from error
