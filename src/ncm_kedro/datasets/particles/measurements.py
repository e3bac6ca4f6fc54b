"""A folder of measurements, one folder per sample.

Layout::

    <sample>/particles, contacts, profiles, variants, each .parquet   the tables
    <sample>/cells.npz          counts of voxels in cells
    <sample>/record.json        the rest, and the files' SHA-256
    <sample>.partial            plan.json, the fingerprint of the plan whose work this is; the
                                folders work, what finished blocks returned, and result, the
                                files of a measurement
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.datasets.particles.tables import encode_table, read_table
from ncm_kedro.datasets.published import OLD, PARTIAL, PublishedFolder
from ncm_kedro.errors import SettingsError, StoreError
from ncm_kedro.particles.measure import Cells, Measurement
from ncm_kedro.particles.plan import MeasurementMaker, MeasurementPlan, Measurements

FORMAT, FORMAT_VERSION = "ncm-kedro measurement", 2
RECORD = "record.json"

_TABLES = ("particles", "contacts", "profiles", "variants")
_COUNTS = ("edge_vx", "valid", "filled")
_CELLS = "cells.npz"


def write_measurement(folder: Path, measurement: Measurement, fingerprint: str) -> None:
    """Write the files of a measurement; the record comes last and marks them as complete.

    Parameters
    ----------
    folder
        Made anew; its parent exists.
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
        write_atomic(folder / file, content)
    record = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "fingerprint": fingerprint,
        "name": measurement.name,
        "voxel_size_um": list(measurement.voxel_size_um),
        "shape_zyx": list(measurement.shape_zyx),
        "axis_to_collector": measurement.axis_to_collector,
        "made_from": dict(measurement.made_from),
        "sha256": {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()},
    }
    write_atomic(folder / RECORD, json.dumps(record, indent=2).encode())


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
            made_from=dict(record["made_from"]),
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


_PLAN = "plan.json"
_log = logging.getLogger(__name__)


class MeasurementFolder(PublishedFolder):
    """Measurements as ``<filepath>/<sample>/``; saving makes them, and can be resumed."""

    holds = "measurements"

    def load(self) -> Measurements:
        """Read every measurement of the folder.

        Returns
        -------
        Measurements
            By sample, sorted. A sample that the last save rejected is excluded, even
            where an older measurement of it lies there.

        Raises
        ------
        StoreError
            If there is no measurement, or a damaged one.
        """
        folders, rejected = self._list_finished()
        return Measurements({path.name: read_measurement(path) for path in folders}, rejected)

    def save(self, data: Mapping[str, MeasurementPlan | MeasurementMaker]) -> None:
        """Measure what is not measured yet; others stay as they are.

        A sample that cannot be read or measured is rejected, whatever it raises, and the others
        continue.

        Parameters
        ----------
        data
            One plan per sample, or what makes it. Measurements of samples without a plan are left
            alone.

        Raises
        ------
        StoreError
            If there is no plan, another run writes here, the disk is full, or the folder may not
            be written.
        NcmError
            If not one sample can be used.
        """
        if not data:
            raise StoreError(
                self._filepath,
                found="no sample to measure",
                expected="a labelled volume of at least one sample",
                action="look in the log for why no sample was left",
            )
        for name in data:
            if name.endswith((PARTIAL, OLD)):
                raise SettingsError(
                    f"sample {name}",
                    found=f"a name that ends in {PARTIAL} or {OLD}",
                    expected="another name: these ends mark unfinished work",
                    action="rename the sample's tomogram",
                )
        self._save_all(data)

    def _read_fingerprint(self, result: Path) -> str | None:
        return read_fingerprint(result / RECORD)

    def _find_result(self, partial: Path) -> Path:
        return partial / "result"

    def _is_result(self, path: Path) -> bool:
        return (path / RECORD).is_file()

    def _compute(self, partial: Path, plan: MeasurementPlan) -> None:
        if read_fingerprint(partial / _PLAN) != plan.fingerprint:
            if partial.exists():
                _log.warning("%s: unfinished work of another input, setting or version is removed "
                             "and done again", partial)  # fmt: skip
                shutil.rmtree(partial)
            partial.mkdir()
            write_atomic(partial / _PLAN, json.dumps({"fingerprint": plan.fingerprint}).encode())
        result = self._find_result(partial)
        if self._read_fingerprint(result) != plan.fingerprint:
            work = partial / "work"
            work.mkdir(exist_ok=True)
            write_measurement(result, plan.compute(work), plan.fingerprint)
