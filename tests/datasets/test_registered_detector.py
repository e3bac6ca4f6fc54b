"""The detector on a real registry: versions, aliases, a served prediction, provenance."""

import json

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError
from mlflow.tracking import MlflowClient
from mlflow_warnings import WITH_MLFLOW

from ncm_kedro.datasets.models.detector import DetectorFolderDataset, RegisteredDetectorDataset
from ncm_kedro.datasets.models.versions import Release
from ncm_kedro.errors import ModelError
from ncm_kedro.learning.evaluation.promotion import Promotion
from ncm_kedro.tomo.detector.detector import STARTER_FOLDER

NAME = "nmc-particle-detector"

pytestmark = WITH_MLFLOW


@pytest.fixture
def registry(track, tmp_path):
    with track(tmp_path) as folder:
        yield folder


def draw_balls() -> bytes:
    rng = np.random.default_rng(0)
    section = rng.normal(80, 8, (192, 192)).astype(np.float32)
    for y, x in ((50, 50), (60, 130), (140, 90)):
        cv2.circle(section, (x, y), 24, 180, -1)
    section = cv2.GaussianBlur(section, (0, 0), 1.0).clip(0, 255).astype(np.uint8)
    return cv2.imencode(".png", section)[1].tobytes()


def make_release(*, promoted: bool) -> Release:
    return Release(
        model=STARTER_FOLDER,
        promotion=Promotion(promoted, ("because of a test",)),
        metrics={"ap_50": 0.9},
        tags={"fingerprint": "abc"},
        example=pd.DataFrame({"image": [draw_balls()]}),
    )


def test_auto_takes_the_starter_until_a_version_is_in_production(registry):
    dataset = RegisteredDetectorDataset(model_name=NAME)
    assert dataset.load().folder == STARTER_FOLDER
    dataset.save(make_release(promoted=False))
    client = MlflowClient()
    assert int(client.get_model_version_by_alias(NAME, "candidate").version) == 1
    assert dataset.load().folder == STARTER_FOLDER
    dataset.save(make_release(promoted=True))
    assert int(client.get_model_version_by_alias(NAME, "production").version) == 2
    tags = client.get_model_version(NAME, "2").tags
    assert (tags["ap_50"], tags["promoted"]) == ("0.9000", "true")
    loaded = dataset.load()
    assert loaded.folder != STARTER_FOLDER
    assert (
        loaded.fingerprint
        == RegisteredDetectorDataset(model_name=NAME, source="starter").load().fingerprint
    )


def test_a_registry_that_is_down_is_no_starter_model(registry, monkeypatch):
    def fail(*_):
        raise ConnectionError("connection refused")

    monkeypatch.setattr(MlflowClient, "get_model_version_by_alias", fail)
    with pytest.raises(DatasetError, match=r"detector: starter"):
        RegisteredDetectorDataset(model_name=NAME).load()
    starter = RegisteredDetectorDataset(model_name=NAME, source="starter")
    assert starter.load().folder == STARTER_FOLDER


def test_the_starter_model_is_said_to_be_used(registry, caplog):
    RegisteredDetectorDataset(model_name=NAME).load()
    assert [record.levelname for record in caplog.records if "starter" in record.message] == [
        "WARNING"
    ]


def test_a_served_version_finds_the_balls_and_names_what_it_cannot_read(registry):
    RegisteredDetectorDataset(model_name=NAME).save(make_release(promoted=True))
    served = mlflow.pyfunc.load_model(f"models:/{NAME}@production")
    answer = served.predict(pd.DataFrame({"image": [draw_balls(), b"no image"]}))
    found = answer[answer["row"] == 0]
    assert len(found) == 3
    centres = found[["y_px", "x_px"]].to_numpy()
    for y, x in ((50, 50), (60, 130), (140, 90)):
        assert np.hypot(*(centres - (y, x)).T).min() < 6
    assert np.array(json.loads(found["outline"].iloc[0])).shape[1] == 2
    assert answer.loc[answer["row"] == 1, "problem"].notna().all()


def test_a_folder_and_a_missing_model(registry, tmp_path):
    copy = DetectorFolderDataset(filepath=str(tmp_path / "copy"))
    copy.save(STARTER_FOLDER)
    source = RegisteredDetectorDataset(model_name=NAME, source=str(tmp_path / "copy"))
    assert source.load().fingerprint == copy.load().fingerprint
    missing = RegisteredDetectorDataset(model_name=NAME, source=f"models:/{NAME}@candidate")
    with pytest.raises(Exception, match="no such version") as caught:
        missing.load()
    assert isinstance(caught.value.__cause__, ModelError) or isinstance(caught.value, ModelError)
