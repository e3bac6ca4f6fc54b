"""The tomography pipeline, as a user runs it: phantom to labels, edits, a detector."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import zarr
from mlflow.tracking import MlflowClient

from conftest import run_kedro
from ncm_kedro.contracts.particles import validate_attributes
from ncm_kedro.contracts.tomo import ParticleListTable, SegmentationScores, TomogramTable
from ncm_kedro.datasets.tomograms.folder import VolumeFolder

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]
DETECTOR = "test-nmc-particle-detector"
KILLS = 10


def run_pipelines(project: Path, names: str) -> None:
    result = run_kedro(project, "run", "--env", "test", "--pipelines", names)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]


@pytest.fixture(scope="module")
def finished(project):
    """The project after phantoms were made and segmented."""
    arguments = ("--pipelines", "synthesise", "--nodes", "synthesise_tomograms")
    result = run_kedro(project, "run", "--env", "test", *arguments)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    run_pipelines(project, "tomo_segment")
    return project


def load_labels(project: Path, name: str = "particle_labels"):
    folder = project / "data" / "test" / "07_model_output" / name
    return VolumeFolder(filepath=str(folder), kind="label").load()["cyc10"]


def test_tables_and_page(finished):
    data = finished / "data" / "test"
    TomogramTable.validate(pd.read_parquet(data / "02_intermediate" / "tomogram_table.parquet"))
    particles = pd.read_parquet(data / "07_model_output" / "tomo_particles.parquet")
    ParticleListTable.validate(particles)
    labels = np.asarray(load_labels(finished).array[:])
    assert particles["particle_id"].tolist() == np.unique(labels)[1:].tolist()
    assert particles["voxel_count"].sum() == (labels > 0).sum()
    scores = pd.read_parquet(data / "08_reporting" / "tomo" / "scores.parquet")
    SegmentationScores.validate(scores)
    assert {"default", "paper", "otsu_watershed"} == set(scores["method"])
    assert (data / "08_reporting" / "tomo" / "report.html").stat().st_size > 100_000


def test_a_second_run_keeps_every_volume(finished):
    store = finished / "data" / "test" / "07_model_output" / "particle_labels" / "cyc10.ome.zarr"
    before = (store / "zarr.json").stat().st_mtime_ns
    run_pipelines(finished, "tomo_segment")
    assert (store / "zarr.json").stat().st_mtime_ns == before


def test_edits_come_back_with_a_log(finished):
    run_pipelines(finished, "tomo_review")
    folder = finished / "data" / "test" / "08_reporting" / "tomo" / "review" / "cyc10"
    project = json.loads((folder / "project.json").read_text())
    labels = load_labels(finished)
    values = np.asarray(labels.array[:])
    gone = int(np.unique(values)[1])
    store = folder / project["edits"]
    assert store.resolve().is_relative_to(finished / "data" / "test" / "01_raw")
    edited = zarr.create_array(store, shape=values.shape, dtype=np.uint32)
    edited[:] = np.where(values == gone, 0, values)
    edited.attrs["original_fingerprint"] = project["labels_fingerprint"]
    edited.attrs["voxel_size_um"] = project["voxel_size_um"]
    run_pipelines(finished, "tomo_review")
    reviewed = np.asarray(load_labels(finished, "particle_labels_reviewed").array[:])
    np.testing.assert_array_equal(reviewed, edited[:])
    log = pd.read_parquet(finished / "data/test/08_reporting/tomo/review_log.parquet")
    assert log["kind"].tolist() == ["deleted"]
    assert log["particles_before"].tolist() == [str(gone)]
    np.testing.assert_array_equal(np.asarray(load_labels(finished).array[:]), values)


def test_particles_are_measured_on_the_labels_that_were_corrected(finished):
    run_pipelines(finished, "particle_features")
    data = finished / "data" / "test"
    file = data / "07_model_output" / "particle_attributes" / "cyc10.parquet"
    values = np.asarray(load_labels(finished, "particle_labels_reviewed").array[:])
    ids, counts = np.unique(values[values > 0], return_counts=True)
    attributes = pd.read_parquet(file)
    validate_attributes({"cyc10": attributes})
    assert attributes["particle_id"].tolist() == ids.tolist()
    assert attributes["voxel_count"].tolist() == counts.tolist()
    fields = {field.name: field.metadata for field in pq.read_schema(file)}
    assert fields["volume_um3"][b"unit"] == b"um3"
    assert fields["volume_um3"][b"paper_name"] == b"Volume"
    reporting = data / "08_reporting" / "particles"
    exported = json.loads((reporting / "pybamm" / "cyc10.json").read_text())
    assert 0 < exported["Positive electrode active material volume fraction"] < 1
    assert (reporting / "report.html").stat().st_size > 100_000


def test_a_second_measurement_is_kept_and_its_tables_are_the_same(finished):
    output = finished / "data" / "test" / "07_model_output"
    record = output / "particle_measurements" / "cyc10" / "record.json"
    file = output / "particle_attributes" / "cyc10.parquet"
    before = record.stat().st_mtime_ns, file.read_bytes()
    run_pipelines(finished, "particle_features")
    assert (record.stat().st_mtime_ns, file.read_bytes()) == before


def test_without_the_edits_the_labels_of_the_segmentation_are_measured(finished):
    data = finished / "data" / "test"
    shutil.rmtree(data / "01_raw" / "tomogram_edits")
    run_pipelines(finished, "particle_features")
    ids = np.unique(np.asarray(load_labels(finished).array[:]))[1:]
    attributes = pd.read_parquet(data / "07_model_output" / "particle_attributes" / "cyc10.parquet")
    assert attributes["particle_id"].tolist() == ids.tolist()
    run_pipelines(finished, "tomo_review")
    assert not list((data / "07_model_output" / "particle_labels_reviewed").glob("*.ome.zarr"))


def test_damage_is_attributed_and_the_model_registered(finished):
    run_pipelines(finished, "damage_attribution")
    data = finished / "data" / "test"
    importance = pd.read_parquet(data / "07_model_output" / "damage" / "importance.parquet")
    assert importance["sample"].unique().tolist() == ["cyc10"]
    assert (importance["kind"] == "noise").sum() == 1
    assert (data / "08_reporting" / "damage" / "report.html").stat().st_size > 100_000
    client = MlflowClient(f"sqlite:///{finished}/mlruns/mlflow.db")
    version = client.get_model_version_by_alias("test-nmc-damage-attribution", "candidate")
    figures = [item.path for item in client.list_artifacts(version.run_id, "figures/damage")]
    assert "figures/damage/importance.png" in figures
    assert "cyc10.forest.r2" in " ".join(client.get_run(version.run_id).data.metrics)


def test_a_detector_is_trained_judged_and_registered(finished):
    run_pipelines(finished, "tomo_train")
    client = MlflowClient(f"sqlite:///{finished}/mlruns/mlflow.db")
    version = client.get_model_version_by_alias(DETECTOR, "candidate")
    assert version.tags["promoted"] == "false", "a network of two epochs beat the starter"
    assert "the detector in use" in version.tags["promotion_reasons"]
    figures = finished / "data" / "test" / "08_reporting" / "figures" / "tomo_train"
    assert (figures / "curves.png").is_file()
    assert (figures / "examples.png").is_file()


def test_killed_at_random_moments_the_labels_are_those_of_an_unbroken_run(finished):
    """Each run is interrupted after a random time; the last one is let through."""
    unbroken = np.asarray(load_labels(finished).array[:])
    data = finished / "data" / "test"
    for name in ("02_intermediate", "07_model_output"):
        shutil.rmtree(data / name)
    rng = np.random.default_rng(7)
    command = [
        sys.executable, "-m", "kedro", "run", "--env", "test", "--nodes",
        "ingest_tomograms,tabulate_tomograms,fuse_three_directions,label_particles",
    ]  # fmt: skip
    for _ in range(KILLS):
        started = subprocess.Popen(
            command, cwd=finished, env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        time.sleep(rng.uniform(4, 16))
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
    result = subprocess.run(command, cwd=finished, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:]
    np.testing.assert_array_equal(np.asarray(load_labels(finished).array[:]), unbroken)
