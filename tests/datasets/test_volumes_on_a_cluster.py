"""Ingestion, fusion and labels on a real dask cluster, a worker killed half-way: same volumes."""

import logging
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ncm_kedro.datasets.tomograms.folder import VolumeFolder
from ncm_kedro.datasets.tomograms.raw import RawTomogramFolder
from ncm_kedro.params.tomo_phantoms import TomoPhantomParams, TomoSampleParams
from ncm_kedro.params.tomo_segment import (
    TomoComputeParams,
    TomoFusionParams,
    TomoInstanceParams,
    TomoVolumeParams,
)
from ncm_kedro.synthetic.tomo.volume import plan_phantoms, write_phantom
from ncm_kedro.tomo.detector.detector import load_detector
from ncm_kedro.tomo.fusion.fusion import plan_probability
from ncm_kedro.tomo.instances.instances import plan_labels
from ncm_kedro.tomo.volumes.ingest import plan_tomogram

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
PHANTOM = TomoPhantomParams(
    samples={"one": TomoSampleParams()}, shape_zyx=(48, 96, 96), voxel_size_um=0.3
)
EDGE_VX = 32


def segment(raw: Path, out: Path, compute: TomoComputeParams) -> dict[str, np.ndarray]:
    """Run the pipeline's three steps; return labels, cracks and probability."""
    settings = compute.model_dump()
    tomogram = RawTomogramFolder(filepath=str(raw)).load()["one"]
    images = VolumeFolder(filepath=str(out / "tomograms"), kind="image", compute=settings)
    images.save([plan_tomogram(tomogram, TomoVolumeParams(), compute)])
    volume = images.load()["one"]
    maps = VolumeFolder(filepath=str(out / "probability"), kind="image", compute=settings)
    fusion = TomoFusionParams(particle_diameter_um=9.0, slab_vx=32)
    maps.save([plan_probability(volume, load_detector(precision="f32"), fusion, compute)])
    probability = maps.load()["one"]
    found = VolumeFolder(filepath=str(out / "labels"), kind="label", compute=settings)
    found.save([plan_labels(volume, probability, TomoInstanceParams(), compute)])
    labels = found.load()["one"]
    return {
        "probability": np.asarray(probability.array[:]),
        "labels": np.asarray(labels.array[:]),
        "cracks": np.asarray(labels.extras["cracks"][:]),
    }


def kill_one(cluster, after_s: float, killed: list[int]) -> None:
    time.sleep(after_s)
    pid = next(iter(cluster.workers.values())).pid
    os.kill(pid, signal.SIGKILL)
    killed.append(pid)


def test_a_cluster_that_loses_a_worker_gives_the_same_volumes(tmp_path):
    from distributed import LocalCluster

    for plan in plan_phantoms(PHANTOM):
        write_phantom(plan, tmp_path / "raw", tmp_path / "truth")
    alone = TomoComputeParams(workers=2, block_edge_vx=EDGE_VX)
    expected = segment(tmp_path / "raw", tmp_path / "threads", alone)
    assert expected["labels"].max() >= 3
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
    ) as cluster:
        compute = TomoComputeParams(dask_address=cluster.scheduler_address, block_edge_vx=EDGE_VX)
        killed: list[int] = []
        killer = threading.Thread(target=kill_one, args=(cluster, 6.0, killed))
        killer.start()
        found = segment(tmp_path / "raw", tmp_path / "cluster", compute)
        assert killed, "the work was over before the worker was killed"
        killer.join()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
