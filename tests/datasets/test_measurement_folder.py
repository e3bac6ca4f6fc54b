"""Measurements on disk: round trips, kills, full disks, damage, rejected samples."""

import dataclasses
import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError

from killing import assert_killed, die, die_at
from ncm_kedro.datasets import files as rejections
from ncm_kedro.datasets.files import lock_store
from ncm_kedro.datasets.particles import measurements as measurement_folder
from ncm_kedro.datasets.particles.measurements import MeasurementFolder
from ncm_kedro.errors import SettingsError, StoreError, TomogramError
from ncm_kedro.hooks import ContentHashed
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.particles.measure import Cells, Measurement
from ncm_kedro.particles.plan import MeasurementPlan
from ncm_kedro.tomo.volumes.blocks import list_blocks, run_blocks

LAST_WRITE = 8  # plan, four tables, cells, record; then the list of rejections
BLOCKS = list_blocks((32, 32, 48), (16, 16, 16))
COMPUTE = TomoComputeParams(workers=1)


def make_measurement(name, sums):
    """Make a measurement whose tables hang on what the blocks returned."""
    ids = np.arange(1, len(sums) + 1)
    return Measurement(
        name=name, voxel_size_um=(0.1, 0.07, 1 / 3), shape_zyx=(64, 48, 48),
        axis_to_collector="-z" if name == "a" else None,
        particles=pd.DataFrame({
            "particle_id": ids, "sum": sums, "width_um": np.where(ids % 2, sums / 3, np.nan),
            "is_cut": ids % 3 == 0, "voxels": ids.astype(np.uint64),
        }),
        contacts=pd.DataFrame({"particle_id": ids, "neighbour_id": ids + 1, "area_um2": sums}),
        profiles=pd.DataFrame({"particle_id": ids, "shell": 0, "voxel_count": ids}).iloc[:0],
        cells=Cells((8, 8, 8), np.full((8, 6, 6), 512), np.arange(288).reshape(8, 6, 6)),
    )  # fmt: skip


class Meter:
    """Measures block by block, counts the blocks, and can fail at one of them."""

    def __init__(self, name="a", factor=1.0, fail_at=None, error=None):
        self.name, self.factor, self.fail_at, self.error = name, factor, fail_at, error
        self.done = []

    def __call__(self, work: Path) -> Measurement:
        def add(block):
            if block.index == self.fail_at:
                raise self.error
            self.done.append(block.index)
            return {"sum": np.array([self.factor * (1 + block.index) / 7])}

        parts = run_blocks(add, BLOCKS, finished=work / "sums", compute=COMPUTE, title="add")
        return make_measurement(self.name, np.concatenate([part["sum"] for part in parts]))


def plan_of(meter, fingerprint="f1"):
    return {meter.name: MeasurementPlan(meter.name, fingerprint, meter)}


def measure(factor=1.0, name="a"):
    sums = np.array([factor * (1 + block.index) / 7 for block in BLOCKS])
    return make_measurement(name, sums)


def assert_same(found, expected):
    for field in dataclasses.fields(Measurement):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(other, pd.DataFrame):
            pd.testing.assert_frame_equal(one, other)
        elif isinstance(other, Cells):
            assert one.edge_vx == other.edge_vx
            np.testing.assert_array_equal(one.valid, other.valid, strict=True)
            np.testing.assert_array_equal(one.filled, other.filled, strict=True)
        else:
            assert one == other
            assert type(one) is type(other)


def read_tree(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture
def folder(tmp_path):
    return MeasurementFolder(filepath=str(tmp_path / "deep" / "m"))


def test_round_trip(folder):
    folder.save(plan_of(Meter("b")) | plan_of(Meter("a")))
    loaded = folder.load()
    assert list(loaded) == ["a", "b"]
    assert loaded.rejections == {}
    assert_same(loaded["a"], measure())
    assert_same(loaded["b"], measure(name="b"))
    assert sorted(p.name for p in folder._filepath.iterdir()) == ["a", "b", "rejections.json"]
    assert sorted(p.name for p in (folder._filepath / "a").iterdir()) == [
        "cells.npz", "contacts.parquet", "particles.parquet", "profiles.parquet", "record.json",
        "variants.parquet",
    ]  # fmt: skip


def test_keeps_what_is_up_to_date_and_replaces_what_is_not(folder):
    folder.save(plan_of(Meter()))
    known = folder.content_hash()
    again = Meter(factor=2.0)
    folder.save(plan_of(again))
    assert not again.done
    assert_same(folder.load()["a"], measure())
    assert folder.content_hash() == known
    folder.save(plan_of(again, "f2"))
    assert_same(folder.load()["a"], measure(2.0))
    assert folder.content_hash() != known
    folder.save(plan_of(Meter("b")))
    assert list(folder.load()) == ["a", "b"]
    assert isinstance(folder, ContentHashed)


def test_a_stopped_run_goes_on_and_gives_the_same_bytes(tmp_path, folder):
    broken = Meter(fail_at=7, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        folder.save(plan_of(broken))
    assert not folder.exists()
    with pytest.raises(DatasetError, match="no finished measurement"):
        folder.load()
    resumed = Meter()
    folder.save(plan_of(resumed))
    assert len(broken.done) == 7
    assert set(broken.done).isdisjoint(resumed.done)
    whole = MeasurementFolder(filepath=str(tmp_path / "w"))
    whole.save(plan_of(Meter()))
    assert read_tree(whole._filepath) == read_tree(folder._filepath)


class Death(BaseException):
    __init__ = die


def save_and_die(folder, moment):
    meter = Meter(fail_at=7, error=Death) if moment == "a block" else Meter()
    if moment == "the second table":
        measurement_folder.write_atomic = die_at(2, measurement_folder.write_atomic)
    if moment == "the exchange":
        Path.rename = die_at(2, Path.rename)
    if moment == "clean-up":
        shutil.rmtree = die_at(1, shutil.rmtree)
    folder.save(plan_of(meter, "f2"))


@pytest.mark.parametrize("moment", ["a block", "the second table", "the exchange", "clean-up"])
def test_a_killed_process_loses_nothing(folder, moment):
    folder.save(plan_of(Meter(factor=3.0)))
    assert_killed(save_and_die, folder, moment)
    loaded = folder.load()["a"]
    is_new = moment in ("the exchange", "clean-up")
    assert_same(loaded, measure() if is_new else measure(3.0))
    resumed = Meter()
    folder.save(plan_of(resumed, "f2"))
    assert_same(folder.load()["a"], measure())
    done = {"a block": list(range(7, len(BLOCKS)))}
    assert resumed.done == done.get(moment, [])
    assert sorted(p.name for p in folder._filepath.iterdir()) == ["a", "rejections.json"]


def test_does_not_go_on_with_another_plan(folder):
    with pytest.raises(KeyboardInterrupt):
        folder.save(plan_of(Meter(fail_at=7, error=KeyboardInterrupt())))
    other = Meter(factor=2.0)
    folder.save(plan_of(other, "f2"))
    assert len(other.done) == len(BLOCKS)
    assert_same(folder.load()["a"], measure(2.0))


@pytest.mark.parametrize("state", ["the old alone", "both"])
def test_recovers_from_a_kill_between_the_renames(folder, state):
    folder.save(plan_of(Meter()))
    store = folder._filepath / "a"
    old = store.with_name("a.old")
    if state == "both":
        shutil.copytree(store, old)
    else:
        store.rename(old)
    assert_same(folder.load()["a"], measure())
    assert not old.exists()


@pytest.mark.parametrize("kind", [TomogramError, StoreError])
def test_a_bad_sample_is_set_aside_and_its_old_measurement_stays(folder, kind):
    folder.save(plan_of(Meter()))
    error = kind("a.tif", found="NaN", expected="numbers", action="mend it")
    bad = plan_of(Meter(fail_at=3, error=error), "f2")
    folder.save(bad | plan_of(Meter("b")))
    loaded = folder.load()
    assert list(loaded) == ["b"]
    assert "found NaN" in loaded.rejections["a"]
    assert not (folder._filepath / "a.partial").exists()
    folder.save(plan_of(Meter()) | plan_of(Meter("b")))
    assert_same(folder.load()["a"], measure())
    with pytest.raises(DatasetError, match="found NaN"):
        folder.save(bad)


def test_other_errors_stop_the_run(folder):
    error = SettingsError("x", found="1", expected="2", action="mend it")
    with pytest.raises(DatasetError, match="found 1; expected 2"):
        folder.save(plan_of(Meter(fail_at=0, error=error)) | plan_of(Meter("b")))
    assert not folder.exists()


@pytest.mark.parametrize("at", [1, 4, LAST_WRITE - 1, LAST_WRITE])
def test_a_full_disk_while_files_are_written(folder, monkeypatch, at):
    folder.save(plan_of(Meter()))
    calls = []
    write_atomic = measurement_folder.write_atomic

    def fail(path, content):
        calls.append(path)
        if len(calls) == at:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_atomic(path, content)

    meter = Meter(factor=2.0)
    with monkeypatch.context() as patch:
        for module in (measurement_folder, rejections):
            patch.setattr(module, "write_atomic", fail)
        with pytest.raises(DatasetError, match="No space left"):
            folder.save(plan_of(meter, "f2"))
    assert_same(folder.load()["a"], measure(2.0 if at == LAST_WRITE else 1.0))
    folder.save(plan_of(meter, "f2"))
    assert_same(folder.load()["a"], measure(2.0))
    assert len(meter.done) == len(BLOCKS)


def damage(path, how):
    if how == "gone":
        path.unlink()
        return
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    half = bytes(content[: len(content) // 2])
    path.write_bytes({"flip": bytes(content), "cut": half, "empty": b""}[how])


@pytest.mark.parametrize(
    ("file", "how"),
    [("particles.parquet", "flip"), ("contacts.parquet", "cut"), ("contacts.parquet", "gone"),
     ("cells.npz", "flip"), ("cells.npz", "empty")],
)  # fmt: skip
def test_a_damaged_file_is_named(folder, file, how):
    folder.save(plan_of(Meter()) | plan_of(Meter("b")))
    damage(folder._filepath / "b" / file, how)
    with pytest.raises(DatasetError, match=rf"m/b/{file}: found a measurement that cannot be read"):
        folder.load()


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"format": "ncm-kedro measurement", "version": 1}',
                '{"format": "ncm-kedro measurement", "version": 2}'],
)  # fmt: skip
def test_a_damaged_record_is_named_and_its_sample_measured_again(folder, content):
    folder.save(plan_of(Meter()))
    (folder._filepath / "a" / "record.json").write_text(content)
    with pytest.raises(DatasetError, match=r"a/record.json: found a measurement that cannot"):
        folder.load()
    meter = Meter()
    folder.save(plan_of(meter))
    assert len(meter.done) == len(BLOCKS)
    assert_same(folder.load()["a"], measure())


def test_a_second_run_is_refused(folder):
    folder.save(plan_of(Meter()))
    with lock_store(folder._filepath), pytest.raises(DatasetError, match="another run"):
        folder.save(plan_of(Meter(), "f2"))


def test_plans_are_checked(folder):
    with pytest.raises(DatasetError, match="no sample to measure"):
        folder.save({})
    with pytest.raises(DatasetError, match=r"a name that ends in .partial or .old"):
        folder.save(plan_of(Meter("a.old")))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write it")
def test_a_folder_without_rights_is_reported(folder):
    folder._filepath.mkdir(parents=True)
    folder._filepath.chmod(0o500)
    try:
        with pytest.raises(DatasetError, match="Permission denied"):
            folder.save(plan_of(Meter()))
    finally:
        folder._filepath.chmod(0o700)
