"""The registry on a real SQLite store: versions, aliases, a served prediction."""

import json

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from mlflow_warnings import WITH_MLFLOW

from model_cases import make_classifier, make_settings
from ncm_kedro.datasets.models.classifier import RegisteredClassifierDataset
from ncm_kedro.datasets.models.versions import Release
from ncm_kedro.learning.evaluation.promotion import Promotion
from ncm_kedro.sem.inference.classify import encode_png

NAME = "ncm-sem-classifier"
FRAME_YX = np.random.default_rng(0).integers(30, 220, (80, 100)).astype(np.uint8)

pytestmark = WITH_MLFLOW


@pytest.fixture(scope="module")
def registry(track, tmp_path_factory):
    with track(tmp_path_factory.mktemp("mlruns")) as folder:
        yield folder


def make_release(promoted: bool, seed: int = 0) -> Release:
    return Release(
        model=make_classifier(make_settings(("333", "811")), seed),
        promotion=Promotion(promoted, ("because of a test",)),
        metrics={"test_balanced_accuracy": 0.5},
        tags={"split_hash": "abc"},
        example=pd.DataFrame({"image": [encode_png(FRAME_YX)]}),
        trained_on="7 crops of two classes",
        scores=("balanced accuracy 0.50 (0.40 to 0.60)",),
    )


def test_aliases_follow_the_decision_and_the_model_answers(registry):
    dataset = RegisteredClassifierDataset(model_name=NAME, missing_ok=True)
    assert dataset.load() is None

    dataset.save(make_release(promoted=False))
    client = MlflowClient()
    assert client.get_model_version_by_alias(NAME, "candidate").version == 1
    assert dataset.load() is None

    dataset.save(make_release(promoted=True, seed=1))
    dataset.save(make_release(promoted=False, seed=2))
    assert client.get_model_version_by_alias(NAME, "candidate").version == 3
    production = client.get_model_version_by_alias(NAME, "production")
    assert production.version == 2
    assert production.tags["promoted"] == "true"
    assert production.tags["promotion_reasons"] == "because of a test"

    card = client.get_model_version(NAME, "3").description
    told = ("7 crops of two classes", "split_hash: abc", "0.50 (0.40 to 0.60)", "because of a test")
    assert all(text in card for text in told)
    assert "not earned" in card
    assert set(RegisteredClassifierDataset.cannot) <= set(card.replace("- ", "").splitlines())
    assert "not earned" not in production.description

    uri = mlflow.get_tracking_uri()
    assert dataset.preview(uri) == f"### {NAME}, version 2 (production)\n{production.description}"
    gone = RegisteredClassifierDataset(model_name=NAME, model_uri=f"models:/{NAME}@gone")
    assert gone.preview(uri) == f"### {NAME}, version 3 (candidate)\n{card}"

    loaded = dataset.load()
    expected = make_release(promoted=True, seed=1).model
    for name, array in expected.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], array)

    served = mlflow.pyfunc.load_model(f"models:/{NAME}@production")
    assert [column.name for column in served.metadata.signature.inputs.inputs] == [
        "image",
        "pixel_size_um",
    ]
    answer = served.predict(pd.DataFrame({"image": [encode_png(FRAME_YX), b"broken"]}))
    promised = {column.name for column in served.metadata.signature.outputs.inputs}
    assert set(answer.columns) == promised
    assert {"prediction_set", "unknown", "ood_p_value"} < promised
    assert answer["p_333"].iloc[0] + answer["p_811"].iloc[0] == pytest.approx(1.0)
    assert answer["problem"].iloc[1]
    assert json.loads(answer.to_json(orient="records"))[1]["predicted"] is None


def test_a_missing_model_says_what_to_do(registry):
    dataset = RegisteredClassifierDataset(model_name="never-registered")
    assert not dataset.exists()
    assert dataset.preview(mlflow.get_tracking_uri()) == ""
    assert dataset.preview("sqlite:///nowhere.db") == ""
    with pytest.raises(Exception, match="kedro run --pipelines sem"):
        dataset.load()
