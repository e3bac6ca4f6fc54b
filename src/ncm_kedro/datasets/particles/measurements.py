"""The files of one measurement.

Layout::

    particles, contacts, profiles, variants, each .parquet   the tables
    cells.npz                                                counts of voxels in cells
    record.json                                              the rest, and the files' SHA-256

A folder of measurements, one folder per sample, written so that a run may be killed.

Layout::

    <sample>/             the files of `measurement_files`
    <sample>.partial/     plan.json, whose work it is; work/, what finished blocks returned; result/
    <sample>.old/         the previous measurement, for the moment of the exchange

A partial folder is gone on with where its ``plan.json`` names the fingerprint of the plan, else it
is removed. Its ``result`` takes the place of the old folder by two renames; `_recover` mends a
kill between the two.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.datasets.files import (
    FolderDataset,
    describe_space,
    lock_store,
    read_rejections,
    report_write_errors,
    write_rejections,
)
from ncm_kedro.datasets.particles.tables import encode_table, read_table
from ncm_kedro.errors import Rejections, SettingsError, StoreError
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


_PLAN = "plan.json"
_PARTIAL, _OLD = ".partial", ".old"
_KEPT = "finished measurements are intact, and finished blocks are not measured again"
_log = logging.getLogger(__name__)


class MeasurementFolder(FolderDataset):
    """Measurements as ``<filepath>/<sample>/``; saving makes them, and can be resumed."""

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
        self._recover_all()
        aside = read_rejections(self._filepath)
        folders = [path for path in self._list_folders() if path.name not in aside]
        if not folders and not aside:
            raise StoreError(
                self._filepath,
                found="no finished measurement",
                expected=f"folders <sample> with a {RECORD}",
                action="run the pipeline that writes this data set to its end",
            )
        return Measurements({path.name: read_measurement(path) for path in folders}, aside)

    def save(self, data: Mapping[str, MeasurementPlan | MeasurementMaker]) -> None:
        """Measure what is not measured yet; others stay as they are.

        A sample that cannot be read or measured is rejected, whatever it raises, and the others
        continue. Its finished blocks stay, unless its content is what is wrong.

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
        self._check(data)
        rejections = Rejections()
        with report_write_errors(self._filepath, _KEPT), lock_store(self._filepath):
            self._filepath.mkdir(parents=True, exist_ok=True)
            for name, plan in data.items():
                with rejections.catch(name, self._filepath / name):
                    self._save_one(plan if isinstance(plan, MeasurementPlan) else plan())
                if name in rejections and rejections[name].__cause__ is None:
                    shutil.rmtree(self._beside(name, _PARTIAL), ignore_errors=True)
            write_rejections(self._filepath, rejections.reasons)
        rejections.check_left(len(data))

    def content_hash(self) -> str | None:
        """Return a hash over the fingerprints of what `load` reads, None where there is none."""
        aside = read_rejections(self._filepath)
        told = [
            f"{path.name} {read_fingerprint(path / RECORD)}"
            for path in self._list_folders()
            if path.name not in aside
        ]
        return hashlib.sha256("\n".join(told).encode()).hexdigest() if told else None

    def _check(self, samples: Iterable[str]) -> None:
        names = list(samples)
        if not names:
            raise StoreError(
                self._filepath,
                found="no sample to measure",
                expected="a labelled volume of at least one sample",
                action="look in the log for why no sample was left",
            )
        for name in names:
            if name.endswith((_PARTIAL, _OLD)):
                raise SettingsError(
                    f"sample {name}",
                    found=f"a name that ends in {_PARTIAL} or {_OLD}",
                    expected="another name: these ends mark unfinished work",
                    action="rename the sample's tomogram",
                )

    def _save_one(self, plan: MeasurementPlan) -> None:
        folder, partial = self._filepath / plan.name, self._beside(plan.name, _PARTIAL)
        self._recover(plan.name)
        if read_fingerprint(folder / RECORD) == plan.fingerprint:
            _log.info("%s is up to date", folder)
            shutil.rmtree(partial, ignore_errors=True)
            return
        work, result = partial / "work", partial / "result"
        if read_fingerprint(partial / _PLAN) != plan.fingerprint:
            if partial.exists():
                _log.warning("%s: unfinished work of another input, setting or version is removed "
                             "and done again", folder)  # fmt: skip
                shutil.rmtree(partial)
            partial.mkdir()
            write_atomic(partial / _PLAN, json.dumps({"fingerprint": plan.fingerprint}).encode())
        if read_fingerprint(result / RECORD) != plan.fingerprint:
            _log.info("%s: measuring, %s", folder, describe_space(self._filepath))
            work.mkdir(exist_ok=True)
            write_measurement(result, plan.compute(work), plan.fingerprint)
        self._publish(plan.name)

    def _publish(self, sample: str) -> None:
        """Exchange a finished result for the old measurement."""
        folder, old = self._filepath / sample, self._beside(sample, _OLD)
        partial = self._beside(sample, _PARTIAL)
        if folder.is_dir():
            folder.rename(old)
        (partial / "result").rename(folder)
        sync_folder(self._filepath)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(partial, ignore_errors=True)

    def _recover(self, sample: str) -> None:
        """Mend an exchange that was killed between its two renames."""
        folder, old = self._filepath / sample, self._beside(sample, _OLD)
        if not old.is_dir():
            return
        if folder.is_dir():
            shutil.rmtree(old)
        elif read_fingerprint(self._beside(sample, _PARTIAL) / "result" / RECORD) is not None:
            self._publish(sample)
        else:
            old.rename(folder)

    def _recover_all(self) -> None:
        interrupted = list(self._filepath.glob(f"*{_OLD}"))
        if interrupted:
            with report_write_errors(self._filepath, _KEPT), lock_store(self._filepath):
                for path in interrupted:
                    self._recover(path.name.removesuffix(_OLD))

    def _list_folders(self) -> list[Path]:
        return sorted(
            record.parent
            for record in self._filepath.glob(f"*/{RECORD}")
            if not record.parent.name.endswith((_PARTIAL, _OLD))
        )

    def _beside(self, sample: str, suffix: str) -> Path:
        return self._filepath / f"{sample}{suffix}"

    def _exists(self) -> bool:
        return bool(self._list_folders())
