"""The baseline learns a simulated texture; another model is evaluated on the same centres."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from ncm_kedro.errors import ModelError
from ncm_kedro.sem.crops.crop_set import build_crop_set
from ncm_kedro.sem.inference import evaluation
from ncm_kedro.sem.inference.evaluation import centre_crops, predict_by_texture, score_on_test


def test_texture_baseline_tells_planted_grains_apart(crop_set):
    probabilities = predict_by_texture(crop_set, seed=0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    assert (probabilities.argmax(axis=1) == crop_set.indices["test"].label).all()


def test_centres_stay_where_the_frame_allows(crop_set):
    index = crop_set.indices["test"]
    smaller = centre_crops(index, crop_set.bank, 32)
    np.testing.assert_array_equal(smaller.x_px + 16, index.x_px + 36)
    larger = centre_crops(index, crop_set.bank, 128)
    larger.check_inside(crop_set.bank)


def test_a_crop_beyond_the_frame_is_refused(crop_set):
    with pytest.raises(ModelError, match="crops of 201 px"):
        centre_crops(crop_set.indices["test"], crop_set.bank, 201)


def test_a_rival_with_foreign_class_names_scores_nothing(crop_set, classifier):
    other_model = replace(
        classifier, settings=classifier.settings.model_copy(update={"classes": ("333", "523")})
    )
    assert score_on_test(crop_set, other_model, device="cpu") == 0.0


def test_a_constant_rival_scores_one_over_k(crop_set, classifier):
    weights = {name: np.zeros_like(array) for name, array in classifier.weights.items()}
    constant = replace(classifier, weights=weights)
    assert score_on_test(crop_set, constant, device="cpu") == pytest.approx(0.5)


def test_a_rival_is_scored_by_mean_recall_and_foreign_names_are_wrong(
    tables, classifier, monkeypatch
):
    frames, manifest, crops = tables
    few = (crops["split"] == "test") & (crops["class"] == "811_cycled")
    crop_set = build_crop_set(frames, crops.drop(crops.index[few][4:]), manifest)
    labels = crop_set.indices["test"].label
    other_model = replace(
        classifier, settings=classifier.settings.model_copy(update={"classes": ("811", "622")})
    )
    told = SimpleNamespace(probabilities=np.eye(2)[labels])
    monkeypatch.setattr(evaluation, "predict_crops", lambda *_, **__: told)
    assert np.bincount(labels).tolist() == [12, 4]
    assert score_on_test(crop_set, other_model, device="cpu") == 0.5
