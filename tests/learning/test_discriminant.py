"""The last layer as a linear discriminant: known Gaussians, networks that hold it, training on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from test_train import SMALL, make_loader, make_model, run_fit

from ncm_kedro.learning.evaluation.ood import CropOutputs
from ncm_kedro.learning.models.networks import build_model
from ncm_kedro.learning.models.predict import predict_outputs
from ncm_kedro.learning.training.discriminant import fit_discriminant
from ncm_kedro.params.tune_train import NormaliseParams, TrainParams

START = SMALL.model_copy(
    update={"last_layer": "discriminant", "trainable": "last_layer", "drop_rate": 0.0}
)
NONE = START.model_copy(update={"epochs": 0})


def draw_outputs(means, covariance, count, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(means)
    features = rng.multivariate_normal(np.zeros(len(covariance)), covariance, count)
    features = (features + np.asarray(means)[labels]).astype(np.float32)
    nothing = np.zeros((count, len(means)), np.float32)
    return CropOutputs(nothing, labels.astype(np.int64), nothing[:, 0], features)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_two_correlated_features_are_read_together(n_classes):
    """Classes that overlap in each feature and part in their difference only."""
    covariance = 4.0 * np.array([[1.0, 0.98], [0.98, 1.0]])
    means = [(place, -place) for place in range(n_classes)]
    train, test = (draw_outputs(means, covariance, 2_000, seed) for seed in (0, 1))
    found = fit_discriminant(train, test)
    hits = found.predict_logits(test.features).argmax(axis=1) == test.labels
    assert hits.mean() > 0.97
    alone = np.abs(test.features[:, :1] - np.asarray(means)[:, 0]).argmin(axis=1) == test.labels
    assert alone.mean() < 0.7


def test_it_is_scikit_learns():
    train, test = (draw_outputs(np.eye(3), np.diag([1, 2, 0.5]), 90, seed) for seed in (0, 1))
    found = fit_discriminant(train, test)
    standard = (train.features - found.mean) / found.std
    model = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage=found.shrinkage, priors=np.full(3, 1 / 3)
    ).fit(standard, train.labels)
    expected = model.decision_function((test.features - found.mean) / found.std)
    found_logits = found.predict_logits(test.features)
    np.testing.assert_allclose(
        found_logits - found_logits[:, :1], expected - expected[:, :1], atol=1e-4
    )


@pytest.mark.parametrize("name", ["test_resnet", "ncm_texture_net", "ncm_pooled_lite0"])
def test_a_network_yields_the_logits_of_its_discriminant(name):
    params = NONE.model_copy(update={"model": name, "input_px": 16})
    loaders = make_loader(params, train=True), make_loader(params, train=False)
    network = build_model(name, num_classes=3)
    outputs = [
        predict_outputs(network, batches, device="cpu", precision="float32") for batches in loaders
    ]
    found = fit_discriminant(*outputs)
    found.write_to(network)
    after = predict_outputs(network, loaders[1], device="cpu", precision="float32")
    expected = found.predict_logits(outputs[1].features)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(after.logits, expected, atol=2e-3 * scale)


def test_it_classifies_before_the_first_epoch(tmp_path):
    result = run_fit(NONE, tmp_path)
    assert [record.epoch for record in result.history] == [0]
    assert result.best_epoch == 0
    assert result.best_score == result.history[0].validation_score > 0.6
    again = run_fit(NONE, tmp_path)
    assert again.history == result.history


def test_training_on_leaves_the_layers_below_as_they_were(tmp_path):
    before = make_model(START).state_dict()
    result = run_fit(START, tmp_path)
    assert [record.epoch for record in result.history] == [0, 1, 2, 3]
    after = result.model.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 0},
        {"model": "ncm_pooled_lite0", "normalise": NormaliseParams(method="per_image")},
    ],
)
def test_settings_that_train_nothing_or_undo_the_scale_are_refused(settings):
    with pytest.raises(ValidationError):
        TrainParams(**settings)
