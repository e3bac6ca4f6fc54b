"""The registry in trouble, in another place, and with two runs at once."""

import shutil
import threading

import mlflow
import pandas as pd
import pytest
from kedro.io import DatasetError
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from mlflow.tracking import MlflowClient
from mlflow_warnings import WITH_MLFLOW

from ncm_kedro.datasets.models.attribution import RegisteredAttributionDataset
from ncm_kedro.datasets.models.classifier import RegisteredClassifierDataset
from ncm_kedro.datasets.models.detector import RegisteredDetectorDataset
from ncm_kedro.datasets.models.versions import Release, find_version, tag_version
from ncm_kedro.learning.evaluation.promotion import Comparison, Promotion, decide_promotion
from ncm_kedro.tomo.detector.detector import STARTER_FOLDER

NAME = "model"

pytestmark = WITH_MLFLOW


@pytest.fixture
def project(tmp_path, track):
    folder = tmp_path / "a project"
    with track(folder / "mlruns"):
        yield folder


def release(promotion=None) -> Release:
    promotion = promotion or Promotion(True, ("because of a test",))
    example = pd.DataFrame({"image": [b"no image"]})
    return Release(STARTER_FOLDER, promotion, {"ap_50": 0.9}, {}, example)


@pytest.mark.parametrize("trouble", [
    MlflowException("database is locked", error_code=TEMPORARILY_UNAVAILABLE),
    MlflowException("bad gateway"), ConnectionError("connection refused"),
])  # fmt: skip
@pytest.mark.parametrize("make", [
    lambda: RegisteredClassifierDataset(model_name=NAME, missing_ok=True),
    lambda: RegisteredAttributionDataset(model_name=NAME),
    lambda: RegisteredDetectorDataset(model_name=NAME),
])  # fmt: skip
def test_a_registry_that_is_down_is_not_a_registry_without_model(
    project, monkeypatch, make, trouble
):
    def fail(*_):
        raise trouble

    monkeypatch.setattr(MlflowClient, "get_model_version_by_alias", fail)
    with pytest.raises(DatasetError, match="registry that does not answer"):
        make().load()


def test_a_damaged_database_is_no_missing_model(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 100)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    try:
        with pytest.raises(DatasetError, match="registry that does not answer"):
            RegisteredClassifierDataset(model_name=NAME, missing_ok=True).load()
    finally:
        mlflow.set_tracking_uri(None)


def test_missing_files_are_not_a_missing_model(project):
    RegisteredDetectorDataset(model_name=NAME).save(release())
    shutil.rmtree(project / "mlruns" / "artifacts" / "models")
    for dataset in (
        RegisteredDetectorDataset(model_name=NAME),
        RegisteredClassifierDataset(model_name=NAME, missing_ok=True),
    ):
        with pytest.raises(DatasetError, match="files that cannot be read"):
            dataset.load()


@pytest.mark.parametrize("keep", [False, True])
def test_models_survive_moving_or_copying_the_project(project, tmp_path, keep):
    RegisteredDetectorDataset(model_name=NAME).save(release())
    there = tmp_path / "else where" / "project"
    shutil.copytree(project, there)
    if not keep:
        shutil.rmtree(project)
    mlflow.set_tracking_uri(f"sqlite:///{there}/mlruns/mlflow.db")
    mlflow.set_experiment("test")
    loaded = RegisteredDetectorDataset(model_name=NAME).load()
    assert loaded.folder != STARTER_FOLDER
    assert loaded.version == "1"
    if keep:
        shutil.rmtree(project)  # nothing of the copy depends on it
    served = mlflow.pyfunc.load_model(f"models:/{NAME}@production")
    assert served.predict(pd.DataFrame({"image": [b"x"]}))["problem"].notna().all()
    with mlflow.start_run() as run:
        mlflow.log_text("a", "a.txt")
    assert str(there) in run.info.artifact_uri.replace("%20", " ")
    assert not project.exists()


def test_a_location_elsewhere_that_is_only_unavailable_stays(project):
    """Such as a network drive that is not mounted now."""
    elsewhere = str(project.parent / "drive" / "artifacts")
    number = mlflow.create_experiment("elsewhere", artifact_location=elsewhere)
    (project / "mlruns" / "artifacts").mkdir(exist_ok=True)
    find_version(f"models:/{NAME}@production")
    assert mlflow.get_experiment(number).artifact_location == elsewhere


def test_models_survive_renaming_the_folder_of_the_database(project, tmp_path):
    RegisteredDetectorDataset(model_name=NAME).save(release())
    (project / "mlruns").rename(tmp_path / "registry")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/registry/mlflow.db")
    assert RegisteredDetectorDataset(model_name=NAME).load().version == "1"


def register(client, count):
    client.create_registered_model(NAME)
    return [client.create_model_version(NAME, "source").version for _ in range(count)]


def decide(replaces):
    won = Comparison("network", "texture", 0.8, 0.7, 0.05, 0.2, 20)
    return decide_promotion([won], replaces=replaces)


def test_of_two_runs_at_once_one_wins_and_the_other_says_so(project, caplog):
    client = MlflowClient()
    numbers = [str(number) for number in register(client, 4)]
    start = threading.Barrier(len(numbers))

    def promote(number):
        start.wait()
        tag_version(NAME, number, promotion=decide(None), tags={}, metrics={})

    runs = [threading.Thread(target=promote, args=(number,)) for number in numbers]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    _, winner = find_version(f"models:/{NAME}@production")
    tags = {number: client.get_model_version(NAME, number).tags for number in numbers}
    assert [n for n in numbers if tags[n]["promoted"] == "true"] == [winner]
    for number in set(numbers) - {winner}:
        assert f"version {winner} went into production" in tags[number]["promotion_reasons"]
    assert sum("not promoted" in record.message for record in caplog.records) == 3


def test_production_is_taken_only_from_the_version_compared_with(project):
    client = MlflowClient()
    register(client, 4)
    for number, replaces, expected in (("1", None, "1"), ("2", "1", "2"), ("3", "1", "2"),
                                       ("4", "2", "4")):  # fmt: skip
        tag_version(NAME, number, promotion=decide(replaces), tags={}, metrics={})
        assert find_version(f"models:/{NAME}@production") == (True, expected)
    assert "+0.100" in client.get_model_version(NAME, "4").tags["minus_texture"]


def test_what_was_compared_with_nothing_does_not_take_production_from_a_newer_one(project):
    client = MlflowClient()
    register(client, 2)
    alone = Promotion(True, ("explains every sample",))
    for number in ("2", "1"):
        tag_version(NAME, number, promotion=alone, tags={}, metrics={})
    assert find_version(f"models:/{NAME}@production") == (True, "2")
