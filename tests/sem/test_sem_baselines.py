"""The baseline learns a simulated texture; another model is evaluated on the same centres."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ncm_kedro.errors import ModelError
from ncm_kedro.params.tune_train import EvaluationParams
from ncm_kedro.sem.crops.crop_set import build_crop_set
from ncm_kedro.sem.inference import evaluation
from ncm_kedro.sem.inference.evaluation import (
    centre_crops,
    compare_with_production,
    find_unseen_crops,
    measure_all_textures,
    predict_by_texture,
    predict_on_test,
)

FRAME_PX = 200


def test_texture_baseline_tells_planted_grains_apart(crop_set):
    probabilities = predict_by_texture(crop_set, measure_all_textures(crop_set), seed=0)
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


@pytest.fixture
def two_places(tables):
    """The crops in ten areas, each frame a mosaic of its own."""
    frames, manifest, crops = tables
    crops = crops.assign(area=[f"{frame}/{n % 5}" for n, frame in enumerate(crops["frame_id"])])
    places = {"mosaic": manifest["frame_id"], "mosaic_x_px": 0.0, "mosaic_y_px": 0.0}
    manifest = manifest.assign(**places, width_px=FRAME_PX, height_px=FRAME_PX)
    return build_crop_set(frames, crops, manifest), manifest


@pytest.mark.parametrize(
    ("trained_on", "n_compared"),
    [("train", 1), ("none recorded", 1), ("half of the test frames", 0), ("test", 0)],
)
def test_production_is_no_reference_where_it_was_trained(
    two_places, classifier, trained_on, n_compared
):
    crop_set, manifest = two_places
    frames = sorted(set(crop_set.tables["train" if trained_on == "train" else "test"]["frame_id"]))
    count = {"none recorded": 0, "half of the test frames": 1}.get(trained_on, len(frames))
    regions = tuple((frame, 0, 0, FRAME_PX, FRAME_PX) for frame in frames[:count])
    settings = classifier.settings.model_copy(update={"training_regions": regions})
    production = replace(classifier, settings=settings, version="3")
    labels = crop_set.indices["test"].label
    comparisons, notes = compare_with_production(
        ("network", "production"), crop_set, manifest, labels, production,
        params=EvaluationParams(n_bootstrap=100), device="cpu",
    )  # fmt: skip
    assert len(comparisons) == n_compared
    assert bool(notes) == (trained_on != "train")
    if n_compared:
        assert comparisons[0].n_regions == 10
