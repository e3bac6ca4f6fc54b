"""The files of one measurement.

Layout::

    particles, contacts, profiles, variants, each .parquet   the tables
    cells.npz                                                counts of voxels in cells
    record.json                                              the rest, and the files' SHA-256
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ncm_kedro.datasets.particle_tables import encode_table, read_table
from ncm_kedro.errors import StoreError
from ncm_kedro.particles.measure import Cells, Measurement
from ncm_kedro.whole_files import write_whole

FORMAT, FORMAT_VERSION = "ncm-kedro measurement", 1
RECORD = "record.json"

_TABLES = ("particles", "contacts", "profiles", "variants")
_COUNTS = ("edge_vx", "valid", "filled")
_CELLS = "cells.npz"


def write_measurement(folder: Path, measurement: Measurement, fingerprint: str) -> None:
    """Write the files of a measurement; the record comes last and says that they are complete.

    Parameters
    ----------
    folder
        Made anew; its parent exists.
    measurement
        What was measured.
    fingerprint
        Identity of what it was made from.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    contents = {
        f"{name}.parquet": encode_table(getattr(measurement, name), measurement.name, "plain")
        for name in _TABLES
    }
    buffer = BytesIO()
    np.savez_compressed(buffer, **{name: getattr(measurement.cells, name) for name in _COUNTS})
    contents[_CELLS] = buffer.getvalue()
    for file, content in contents.items():
        write_whole(folder / file, content)
    record = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "fingerprint": fingerprint,
        "name": measurement.name,
        "voxel_size_um": list(measurement.voxel_size_um),
        "shape_zyx": list(measurement.shape_zyx),
        "axis_to_collector": measurement.axis_to_collector,
        "sha256": {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()},
    }
    write_whole(folder / RECORD, json.dumps(record, indent=2).encode())
    sync_folder(folder)


def read_measurement(folder: Path) -> Measurement:
    """Read the files of a measurement.

    Parameters
    ----------
    folder
        Written by `write_measurement`.

    Raises
    ------
    StoreError
        If a file is missing, damaged or of another format.
    """
    record = _read_record(folder / RECORD)
    try:
        for file, digest in record["sha256"].items():
            _check_content(folder / file, digest)
        depth, height, width = (float(edge) for edge in record["voxel_size_um"])
        size_z, size_y, size_x = (int(size) for size in record["shape_zyx"])
        return Measurement(
            name=str(record["name"]),
            voxel_size_um=(depth, height, width),
            shape_zyx=(size_z, size_y, size_x),
            axis_to_collector=record["axis_to_collector"],
            cells=_read_cells(folder / _CELLS),
            **{name: read_table(folder / f"{name}.parquet") for name in _TABLES},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(folder / RECORD, repr(error)) from error


def read_fingerprint(path: Path) -> str | None:
    """Read whose work a folder holds from a JSON file in it.

    Parameters
    ----------
    path
        A record, or a file that names a ``fingerprint`` alone.

    Returns
    -------
    str or None
        None where the file is missing, cannot be read, or is of another format.
    """
    try:
        content = json.loads(path.read_bytes())
        known = content.get("version", FORMAT_VERSION) == FORMAT_VERSION
        return str(content["fingerprint"]) if known else None
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_cells(path: Path) -> Cells:
    with np.load(BytesIO(path.read_bytes())) as stored:
        depth, height, width = (int(edge) for edge in stored["edge_vx"])
        return Cells((depth, height, width), stored["valid"], stored["filled"])


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
        known = (record["format"], record["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, repr(error)) from error
    if known != (FORMAT, FORMAT_VERSION):
        raise _unreadable(path, f"{known[0]}, version {known[1]}")
    return dict(record)


def _check_content(path: Path, digest: str) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise _unreadable(path, str(error)) from error
    if found != digest:
        raise _unreadable(path, "not the bytes that were written")


def _unreadable(path: Path, problem: str) -> StoreError:
    return StoreError(
        path,
        found=f"a measurement that cannot be read ({problem})",
        expected=f"{FORMAT}, version {FORMAT_VERSION}, as it was written",
        action=f"delete the folder {path.parent.name} and run the pipeline that writes it again",
    )
