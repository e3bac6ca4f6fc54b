"""A classifier survives the disk with all that travels with it."""

import numpy as np
import pytest

from model_cases import make_settings
from ncm_kedro.datasets.models.classifier import ClassifierFileDataset
from ncm_kedro.errors import ModelError
from ncm_kedro.learning.models.classifier import SemClassifier
from ncm_kedro.learning.models.predict import build_network

SETTINGS = make_settings(("333", "811"), temperature=1.7)


@pytest.fixture
def dataset(tmp_path):
    return ClassifierFileDataset(filepath=str(tmp_path / "models" / "c.safetensors"))


def test_round_trip(dataset):
    weights = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(3, np.int64)}
    assert not dataset.exists()
    dataset.save(SemClassifier(SETTINGS, weights))
    loaded = dataset.load()
    assert dataset.exists()
    assert loaded.settings == SETTINGS
    for name, array in weights.items():
        np.testing.assert_array_equal(loaded.weights[name], array)


def test_missing_and_foreign_files_are_explained(dataset, tmp_path):
    with pytest.raises(Exception, match="no SEM classifier") as missing:
        dataset.load()
    assert isinstance(missing.value.__cause__ or missing.value, ModelError)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "c.safetensors").write_bytes(b"something else")
    with pytest.raises(Exception, match="no SEM classifier"):
        dataset.load()


def test_weights_of_another_network_are_refused():
    wrong = SemClassifier(SETTINGS, {"nothing": np.zeros(1, np.float32)})
    with pytest.raises(ModelError, match="weights that do not fit"):
        build_network(wrong)
