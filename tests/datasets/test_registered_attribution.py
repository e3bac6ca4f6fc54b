"""Damage attribution on a real registry: versions, aliases, a prediction, a missing model."""

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from mlflow_warnings import WITH_MLFLOW

from ncm_kedro.damage.forest import bin_values, grow_forest
from ncm_kedro.damage.model import AttributionModel, predict_particles
from ncm_kedro.datasets.models.attribution import RegisteredAttributionDataset
from ncm_kedro.datasets.models.versions import Release
from ncm_kedro.learning.evaluation.promotion import Promotion
from ncm_kedro.params.damage_attribution import DamageForestParams

NAME = "nmc-damage-attribution"
INPUTS = ("z_um", "contact")

pytestmark = WITH_MLFLOW


@pytest.fixture(scope="module")
def registry(track, tmp_path_factory):
    with track(tmp_path_factory.mktemp("registry")) as folder:
        yield folder


def draw_particles():
    values = np.random.default_rng(0).uniform(0, 1, (80, 2))
    return pd.DataFrame(values, columns=list(INPUTS))


def make_model(weight=0.5):
    """Forests of all particles and of cyc10; damage is a fraction of the depth."""
    values = draw_particles().to_numpy()
    forests = {
        name: grow_forest(
            bin_values(values), weight * values[:, 0], np.arange(80),
            DamageForestParams(trees=5, max_leaves=8), np.random.default_rng(seed),
        )
        for seed, name in enumerate(("all", "cyc10"))
    }  # fmt: skip
    explains = {"cyc10": True, "all": True}
    return AttributionModel(forests, INPUTS, np.zeros(2), np.ones(2), "corrected", explains)


def make_release(model, *, promoted):
    example = draw_particles().head(2).assign(sample="cyc10")
    return Release(
        model=model,
        promotion=Promotion(promoted, ("because of a test",)),
        metrics={"cyc10.r2": 0.7},
        tags={"preset": "corrected"},
        example=example,
    )


def test_versions_take_the_aliases_they_have_earned_and_come_back_whole(registry):
    name = f"{NAME}-versions"
    dataset = RegisteredAttributionDataset(model_name=name)
    assert not dataset.exists()
    good, poor = make_model(), make_model(0.1)
    dataset.save(make_release(good, promoted=True))
    dataset.save(make_release(poor, promoted=False))
    client = MlflowClient()
    versions = {
        alias: int(client.get_model_version_by_alias(name, alias).version)
        for alias in ("production", "candidate")
    }
    assert versions == {"production": 1, "candidate": 2}
    tags = client.get_model_version(name, "2").tags
    assert (tags["cyc10.r2"], tags["promoted"], tags["preset"]) == ("0.7000", "false", "corrected")
    assert dataset.exists()
    candidate = RegisteredAttributionDataset(model_name=name, model_uri=f"models:/{name}@candidate")
    for model, found in ((good, dataset.load()), (poor, candidate.load())):
        pd.testing.assert_frame_equal(
            predict_particles(found, draw_particles()), predict_particles(model, draw_particles())
        )
        assert found.explains == model.explains


def test_a_served_version_answers_and_keeps_to_its_contract(registry):
    model = make_model()
    RegisteredAttributionDataset(model_name=NAME).save(make_release(model, promoted=True))
    served = mlflow.pyfunc.load_model(f"models:/{NAME}@production")
    particles = draw_particles()
    pd.testing.assert_frame_equal(served.predict(particles), predict_particles(model, particles))
    asked = pd.DataFrame(
        {"z_um": [0.2, np.nan, 7.0], "contact": 0.5, "sample": ["cyc10", "cyc10", "cyc99"]}
    )
    answer = served.predict(asked)
    pd.testing.assert_frame_equal(answer, predict_particles(model, asked))
    assert answer["outside"].tolist() == ["", "", "z_um"]
    assert answer["problem"].str[:9].tolist() == ["", "no value ", "no forest"]
    outputs = served.metadata.get_output_schema().input_names()
    assert outputs == list(answer.columns)
    lacking = served.predict(particles.drop(columns="contact"))
    assert (lacking["problem"] == "no value of contact").all()
