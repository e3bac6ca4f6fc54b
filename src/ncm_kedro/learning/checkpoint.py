"""Checkpoints that are either whole or absent."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch

from ncm_kedro.errors import ModelError


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write `state` (tensors, numbers, texts, lists and dicts of these) beside `path`, then rename.

    A reader or a killed run sees the old file or the new one, never half a file.

    Raises
    ------
    ModelError
        The folder cannot be written to, or the disk is full.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        raise ModelError(
            path,
            found=f"the checkpoint cannot be written ({error})",
            expected="a folder that can be written to, with room for the checkpoint",
            action="free disk space or choose another folder, then run again: it resumes",
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint to the CPU; None where there is none.

    Only tensors and plain values are read, so that a file cannot run code.

    Raises
    ------
    ModelError
        The file is not a checkpoint of this product.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, BadZipFile) as err:
        raise ModelError(
            path,
            found=f"a file that cannot be read as a checkpoint ({type(err).__name__})",
            expected="a checkpoint written by this product",
            action="delete the file; training then starts over",
        ) from err
    if not isinstance(state, dict):
        raise ModelError(
            path,
            found=f"a {type(state).__name__}",
            expected="a checkpoint written by this product",
            action="delete the file; training then starts over",
        )
    return state
