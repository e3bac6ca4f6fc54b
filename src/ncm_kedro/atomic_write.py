"""Files that are written whole or not at all, whenever a run is killed."""

from __future__ import annotations

import os
from pathlib import Path

from ncm_kedro.errors import ModelError


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file under another name, then put it in its place.

    Parameters
    ----------
    path
        The file; one that is there is replaced.
    content
        Its bytes.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def write_model_file(path: Path, content: bytes) -> None:
    """Write a file of a model or of its training, as `write_atomic`.

    Parameters
    ----------
    path, content
        As for `write_atomic`.

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
            action="free disk space or choose another folder, then run again: it goes on",
        ) from error
