"""Finished results of long work, each in a file that is whole or not there.

Files are named by a digest of everything that a result depends on, so that what is found is valid.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.errors import StoreError
from ncm_kedro.sem.crops.crop_set import SPLITS, CropSet
from ncm_kedro.sem.inference.evaluation import measure_textures

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


def read_cached(path: Path, parse: Callable[[dict[str, Any]], _T]) -> _T | None:
    """Return a result that is kept; None where there is none that can be read.

    Parameters
    ----------
    path
        Where it is kept.
    parse
        Turns what the file holds into the result; it may raise on a damaged file.
    """
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        _LOG.warning("%s cannot be read and is made again", path)
        return None


def write_cached(path: Path, result: Mapping[str, Any]) -> None:
    """Keep a result, whole or not at all.

    Parameters
    ----------
    path
        Where to.
    result
        Ready for JSON.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    _write_store(path, json.dumps(result).encode())


def cache_textures(crop_set: CropSet, path: Path) -> NDArray[np.float32]:
    """Measure the texture of all crops once, and keep it.

    Parameters
    ----------
    crop_set
        Frames and crops.
    path
        Where to, named by everything that the textures depend on.

    Returns
    -------
    ndarray, (N, F)
        The crops of training, validation and test, one after the other.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    if path.is_file():
        return np.asarray(np.load(path), dtype=np.float32)
    features = np.concatenate([measure_textures(crop_set, split) for split in SPLITS])
    buffer = io.BytesIO()
    np.save(buffer, features)
    _write_store(path, buffer.getvalue())
    return features


def _write_store(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    except OSError as error:
        raise StoreError(
            path,
            found=f"a result that cannot be written ({error.strerror})",
            expected="a folder that can be written to, with room",
            action="free disk space, then run again: what is finished is kept",
        ) from error
