"""Blocks cover a volume once; work on them survives a kill and a dead cluster."""

import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ncm_kedro.errors import SettingsError
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.tomo.volumes.blocks import Block, list_blocks, run_blocks

TWO_THREADS = TomoComputeParams(workers=2)


@pytest.mark.parametrize("edges", [(4, 4, 4), (3, 5, 7), (10, 10, 10), (1, 9, 13)])
def test_blocks_cover_every_voxel_once(edges):
    shape = (7, 9, 13)
    count = np.zeros(shape, int)
    blocks = list_blocks(shape, edges)
    for block in blocks:
        count[block.region] += 1
        assert block.shape == count[block.region].shape
    assert (count == 1).all()
    assert [block.index for block in blocks] == list(range(len(blocks)))


def test_a_grown_block_is_cut_at_the_faces_and_holds_its_core():
    volume = np.arange(6 * 7 * 8).reshape(6, 7, 8)
    core = Block(0, (0, 3, 6), (2, 5, 8))
    outer = core.grow((1, 2, 3), volume.shape)
    assert outer.start == (0, 1, 3)
    assert outer.stop == (3, 7, 8)
    np.testing.assert_array_equal(volume[outer.region][core.within(outer)], volume[core.region])


def test_after_a_failure_only_unfinished_blocks_are_run(tmp_path):
    blocks = list_blocks((10, 1, 1), (1, 1, 1))
    calls: list[int] = []
    lock = threading.Lock()

    def task(block, broken=6):
        with lock:
            calls.append(block.index)
        if block.index == broken:
            raise ValueError("killed here")
        return {"index": np.array([block.index])}

    one = TomoComputeParams(workers=1)
    with pytest.raises(ValueError, match="killed here"):
        run_blocks(task, blocks, finished=tmp_path, compute=one, title="t")
    assert calls == [0, 1, 2, 3, 4, 5, 6]
    calls.clear()
    results = run_blocks(
        lambda block: task(block, broken=-1), blocks, finished=tmp_path, compute=one, title="t"
    )
    assert calls == [6, 7, 8, 9]
    assert [int(r["index"][0]) for r in results] == list(range(10))


def test_blocks_without_a_result_are_remembered_too(tmp_path):
    blocks = list_blocks((3, 1, 1), (1, 1, 1))
    assert run_blocks(
        lambda _: None, blocks, finished=tmp_path, compute=TWO_THREADS, title="t"
    ) == [{}, {}, {}]

    def fail(_):
        raise AssertionError("a finished block was run again")

    run_blocks(fail, blocks, finished=tmp_path, compute=TWO_THREADS, title="t")


def return_index(calls):
    def task(block):
        calls.append(block.index)
        return {"index": np.array([block.index])}

    return task


@pytest.mark.parametrize("damage", [b"PK\x03\x04 cut", b""])
def test_a_corrupt_record_costs_its_own_block_alone(tmp_path, damage):
    blocks, calls = list_blocks((5, 1, 1), (1, 1, 1)), []
    run_blocks(return_index([]), blocks, finished=tmp_path, compute=TWO_THREADS, title="t")
    (tmp_path / "000003.npz").write_bytes(damage)
    results = run_blocks(
        return_index(calls), blocks, finished=tmp_path, compute=TWO_THREADS, title="t"
    )
    assert calls == [3]
    assert [int(r["index"][0]) for r in results] == [0, 1, 2, 3, 4]


def test_marks_of_other_blocks_or_another_version_count_for_nothing(tmp_path, caplog):
    coarse, fine = list_blocks((6, 1, 1), (3, 1, 1)), list_blocks((6, 1, 1), (2, 1, 1))
    for blocks, version in ((coarse, 1), (fine, 1), (coarse, 1), (coarse, 2)):
        caplog.clear()
        calls = []
        results = run_blocks(
            return_index(calls), blocks, finished=tmp_path, compute=TWO_THREADS, title="t",
            version=version,
        )  # fmt: skip
        assert sorted(calls) == list(range(len(blocks)))
        assert len(results) == len(blocks)
    assert "computed again" in caplog.text


def test_an_unreachable_cluster_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("ncm_kedro.tomo.volumes.blocks._CONNECT_TIMEOUT_S", 1)
    compute = TomoComputeParams(dask_address="tcp://127.0.0.1:9")
    with pytest.raises(SettingsError, match=r"dask_address tcp://127\.0\.0\.1:9.*set it to null"):
        run_blocks(
            lambda _: None, list_blocks((1, 1, 1), (1, 1, 1)), finished=tmp_path,
            compute=compute, title="t",
        )  # fmt: skip


@dataclass(frozen=True)
class DyingTask:
    """Squares an index; the first worker that gets block 5 dies."""

    grave: Path

    def __call__(self, block):
        if block.index == 5:
            try:
                self.grave.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os._exit(1)
        return {"square": np.array([block.index**2])}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_finishes_although_a_worker_dies(tmp_path):
    from distributed import LocalCluster

    blocks = list_blocks((12, 1, 1), (1, 1, 1))
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
    ) as cluster:
        compute = TomoComputeParams(dask_address=cluster.scheduler_address)
        results = run_blocks(
            DyingTask(tmp_path / "grave"), blocks, finished=tmp_path / "done", compute=compute,
            title="squares",
        )  # fmt: skip
    assert (tmp_path / "grave").exists()
    assert [int(r["square"][0]) for r in results] == [i**2 for i in range(12)]
