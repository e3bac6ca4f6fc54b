"""Writing a synthetic data set to a folder, whole or not at all."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from PIL import Image
from tqdm import tqdm

from ncm_kedro.errors import StoreError
from ncm_kedro.synthetic.sem.frames import SyntheticFrame, Truth

MARKER = ".ncm_synthetic"
"""File that tells a folder of synthetic frames from a user's own data."""


def write_sem_frames(frames: Iterable[SyntheticFrame], folder: Path) -> pd.DataFrame:
    """Write frames, sidecars and stray files as a user would lay them down.

    Everything is written beside the folder first and takes its place at the end; a failed run
    leaves what was there.

    Parameters
    ----------
    frames
        From `iter_sem_frames`; consumed one at a time.
    folder
        Data root, ``<folder>/<class>/<file>``. One that holds synthetic frames is replaced.

    Returns
    -------
    DataFrame
        The truth, a row per frame; `acquired_at` is a timestamp.

    Raises
    ------
    StoreError
        If the folder holds anything but synthetic frames, cannot be written, or there are no
        frames.
    """
    folder = Path(folder)
    _check_replaceable(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise _explain(folder, error) from error
    try:
        draft.chmod(0o755)
        rows = [
            _write_frame(frame, draft)
            for frame in tqdm(frames, desc="SEM frames", disable=not sys.stderr.isatty())
        ]
        if not rows:
            raise StoreError(
                folder, found="no frames", expected="at least one", action="check the settings"
            )
        (draft / MARKER).write_text("Synthetic SEM frames; replaced by every run.\n")
        _put_in_place(draft, folder)
    except OSError as error:
        raise _explain(folder, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    truth = pd.DataFrame(rows)
    truth["acquired_at"] = pd.to_datetime(truth["acquired_at"], format="ISO8601")
    return truth


def _write_frame(frame: SyntheticFrame, root: Path) -> Truth:
    """Write one frame with its sidecar and stray files; return its row of the truth."""
    path = root / frame.file
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame.image_yx).save(path, format="JPEG", quality=frame.jpeg_quality)
    if frame.sidecar_bytes is not None:
        path.with_name(path.name + ".txt").write_bytes(frame.sidecar_bytes)
    for name, content in frame.stray_files.items():
        (root / name).write_bytes(content)
    return frame.truth


def _check_replaceable(folder: Path) -> None:
    """Refuse a folder that holds a user's own data."""
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARKER).is_file()):
        raise StoreError(
            folder,
            found="data that this pipeline did not write",
            expected="a new or empty folder, or one of synthetic frames",
            action="move the data away or let `synthesise` write elsewhere",
        )


def _put_in_place(draft: Path, folder: Path) -> None:
    """Let the finished draft take the folder's place; on failure put the old one back."""
    if not folder.exists():
        draft.rename(folder)
        return
    old = draft.with_name(draft.name + ".old")
    folder.rename(old)
    try:
        draft.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _explain(folder: Path, error: OSError) -> StoreError:
    """Turn a failure of the file system into words."""
    return StoreError(
        folder,
        found=os.strerror(error.errno) if error.errno else str(error),
        expected="a place with room that can be written to",
        action="free space or choose another folder; nothing that was there has changed",
    )
