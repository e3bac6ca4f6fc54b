"""The baseline learns a simulated texture; another model is evaluated on the same centres."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ncm_kedro.errors import ModelError
from ncm_kedro.sem.inference import evaluation
from ncm_kedro.sem.inference.evaluation import (
    centre_crops,
    find_unseen_crops,
    predict_by_texture,
    predict_on_test,
)


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


def test_an_unknown_class_is_none_of_the_true_ones(crop_set, classifier):
    other_model = replace(
        classifier, settings=classifier.settings.model_copy(update={"classes": ("333", "523")})
    )
    assert (predict_on_test(crop_set, other_model, device="cpu") == 2).all()


def test_classes_are_matched_by_name(crop_set, classifier, monkeypatch):
    labels = crop_set.indices["test"].label
    turned = replace(
        classifier,
        settings=classifier.settings.model_copy(update={"classes": crop_set.classes[::-1]}),
    )
    told = SimpleNamespace(probabilities=np.eye(2)[1 - labels])
    monkeypatch.setattr(evaluation, "predict_crops", lambda *_, **__: told)
    np.testing.assert_array_equal(predict_on_test(crop_set, turned, device="cpu"), labels)


def test_crops_on_trained_regions_are_recognised_in_other_frames_too():
    """A second frame shows the place of the first one, 10 px further."""
    manifest = pd.DataFrame(
        {
            "frame_id": ["a", "b", "c"], "mosaic": ["m", "m", "n"],
            "mosaic_x_px": [0.0, 10.0, 0.0], "mosaic_y_px": [0.0, 0.0, 0.0],
            "width_px": 200, "height_px": 100,
        }
    )  # fmt: skip
    crops = pd.DataFrame(
        [("a", 0, 0), ("a", 100, 0), ("b", 85, 0), ("b", 95, 0), ("c", 0, 0)],
        columns=["frame_id", "x_px", "y_px"],
    ).assign(size_px=40)
    seen = [("a", 0, 0, 100, 100), ("gone", 0, 0, 9, 9)]
    unseen = find_unseen_crops(crops, manifest, seen)
    assert unseen.tolist() == [False, True, False, True, True]
    assert find_unseen_crops(crops, manifest, []).all()
