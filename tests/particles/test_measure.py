"""Measuring end to end: interrupted and resumed, any block size, and inconsistent input."""

import logging
import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import solids

from ncm_kedro.errors import TomogramError
from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.particles.attributes import tabulate_attributes, tabulate_details
from ncm_kedro.particles.columns import ATTRIBUTE_NAMES, IDENTITY_COLUMNS
from ncm_kedro.particles.measure import measure_specimen
from ncm_kedro.particles.specimen import Specimen
from ncm_kedro.tomo.volumes import blocks

VOXEL = (0.1, 0.08, 0.07)
PARAMS = AttributeParams(crack_width=True, profile_bins=5)
TABLES = ("particles", "contacts", "profiles")


def compute_with(workers=1, edge=32, **settings):
    return TomoComputeParams(workers=workers, block_edge_vx=edge, **settings)


@pytest.fixture(scope="module")
def specimen():
    labels, cracks, grey = solids.draw_scene((48, 56, 72), 16, seed=3, voxel_um=VOXEL)
    view = np.ones(labels.shape, np.uint8)
    view[:, 50:, 60:] = 0
    shades = np.clip(grey, 0, 255).astype(np.uint8)
    return Specimen("one", labels, VOXEL, shades, cracks, view, "-z")


@pytest.fixture(scope="module")
def unbroken(specimen):
    return measure_specimen(specimen, PARAMS, compute_with())


def assert_same(found, expected):
    for name in TABLES:
        pd.testing.assert_frame_equal(
            getattr(found, name), getattr(expected, name), check_exact=True
        )
    np.testing.assert_array_equal(found.cells.valid, expected.cells.valid)
    np.testing.assert_array_equal(found.cells.filled, expected.cells.filled)
    assert found.shape_zyx == expected.shape_zyx


def test_the_scene_is_worth_it(unbroken):
    assert len(unbroken.particles) > 10
    assert len(unbroken.contacts) > 4
    assert unbroken.profiles["crack_voxels"].sum() > 100
    assert unbroken.cells.valid.min() == 0


@pytest.mark.parametrize(("workers", "edge"), [(2, 16), (1, 64)])
def test_workers_and_blocks_change_no_bit(specimen, unbroken, workers, edge):
    assert_same(measure_specimen(specimen, PARAMS, compute_with(workers, edge)), unbroken)


def die_in_a_child(specimen, work, marks):
    """Measure in a forked child, which has all that is compiled; kill it at a block's end."""
    child = os.fork()
    if child == 0:
        write, left = blocks._write_result, iter(range(marks))

        def write_or_die(path, result):
            if next(left, None) is None:
                os._exit(9)
            write(path, result)

        blocks._write_result = write_or_die
        try:
            measure_specimen(specimen, PARAMS, compute_with(), work)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("marks", [5, 12, 17])
def test_killed_and_resumed_is_unbroken(specimen, unbroken, tmp_path, marks):
    """There are twelve blocks: 5 ends among the sums, 12 between the passes, 17 in the second."""
    assert die_in_a_child(specimen, tmp_path, marks) == 9
    done = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert len(done) == marks
    assert_same(measure_specimen(specimen, PARAMS, compute_with(2), tmp_path), unbroken)
    assert all(path.stat().st_mtime_ns == moment for path, moment in done.items())
    assert len(list(tmp_path.rglob("*.npz"))) == 24


def test_a_finished_record_is_enough(specimen, unbroken, tmp_path, monkeypatch):
    measure_specimen(specimen, PARAMS, compute_with(), tmp_path)
    unread = replace(specimen, labels=Unreadable(specimen.labels))
    assert_same(measure_specimen(unread, PARAMS, compute_with(), tmp_path), unbroken)


class Unreadable:
    def __init__(self, array):
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, region):
        raise AssertionError("read again")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_loses_a_worker_measures_the_same(specimen, unbroken):
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
    ) as cluster:
        killed = []

        def kill_one():
            time.sleep(4.0)  # a worker compiles for longer than that
            killed.append(next(iter(cluster.workers.values())).pid)
            os.kill(killed[0], signal.SIGKILL)

        killer = threading.Thread(target=kill_one)
        killer.start()
        compute = compute_with(dask_address=cluster.scheduler_address)
        found = measure_specimen(specimen, PARAMS, compute)
        assert killed, "the work was over before the worker was killed"
        killer.join()
    assert_same(found, unbroken)


# Input that is not what it seems.


def measure(labels, voxel_um=(0.1, 0.1, 0.1), **settings):
    params = AttributeParams(**settings)
    found = measure_specimen(Specimen("one", labels, voxel_um), params, compute_with())
    return tabulate_attributes(found, params), tabulate_details(found, params)


@pytest.mark.parametrize("settings", [{}, {"preset": "paper"}, {"profile_bins": 3}])
def test_no_particle_is_an_empty_table_of_the_same_kind(unbroken, settings):
    params = AttributeParams(**settings)
    tables = measure(np.zeros((20, 20, 20), np.uint32), **settings)
    full = tabulate_attributes(unbroken, params), tabulate_details(unbroken, params)
    for table, expected in zip(tables, full, strict=True):
        assert len(table) == 0
        numbers = [name for name in expected if name not in ("sample", "flags")]
        pd.testing.assert_series_equal(table[numbers].dtypes, expected[numbers].dtypes)
        assert list(table) == list(expected)
    assert list(tables[0]) == [*IDENTITY_COLUMNS, *ATTRIBUTE_NAMES]


@pytest.mark.parametrize("preset", ["corrected", "paper"])
def test_particles_of_one_voxel_are_rows_with_a_flag(preset):
    labels = np.zeros((24, 24, 24), np.uint32)
    labels[4:20:4, 4:20:4, 4:20:4] = np.arange(1, 65).reshape(4, 4, 4)
    table, details = measure(labels, preset=preset)
    assert (table["voxel_count"] == 1).all()
    np.testing.assert_allclose(table["volume_um3"], 1e-3)
    shape = ["sphericity", "elongation", "vs_ratio", "roughness_outer", "surface_outer_um2"]
    assert table[[*shape, "yaw_deg"]].isna().all().all()
    assert table["distance_nearest_um"].notna().all()
    assert not np.isinf(table[list(ATTRIBUTE_NAMES)].to_numpy(dtype=float)).any()
    assert details["flags"].str.split(",").map(lambda f: "small" in f).all()


def draw_mask():
    rng = np.random.default_rng(0)
    return rng.random((36, 40, 44)) < 0.6


@pytest.mark.parametrize(
    "labels",
    [
        draw_mask().astype(np.uint8),
        draw_mask().astype(np.uint8) + 1,
        np.ones((20, 20, 20), int),
        np.pad(draw_mask().astype(np.uint8) + 1, ((4, 4), (0, 0), (0, 0))),
    ],
    ids=["mask", "phases", "one", "between collector and separator"],
)
def test_phases_and_masks_are_refused(labels):
    with pytest.raises(TomogramError, match="a label for each particle"):
        measure(labels)


def test_a_particle_too_large_to_cut_out_is_flagged():
    labels = np.zeros((40, 40, 40), np.uint32)
    labels[8:32, 8:32, 8:32], labels[2:6, 2:6, 2:6] = 9, 4
    table, details = measure(labels, max_cutout_vx=8192, min_shape_vx=10)
    assert details["flags"].tolist() == ["", "too_large"]
    large = table.iloc[1]
    assert large[["damage", "surface_inner_um2", "roughness_outer"]].isna().all()
    assert table.iloc[0]["damage"] == 0
    whole, _ = measure(labels)
    same = ["volume_um3", "surface_outer_um2", "sphericity", "x_um", "contact"]
    np.testing.assert_allclose(large[same].to_numpy(float), whole.iloc[1][same].to_numpy(float))
