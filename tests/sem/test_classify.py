"""Frames are covered by tiles, resampled to the model's pixel size, and averaged."""

import cv2
import numpy as np
import pytest

from ncm_kedro.errors import FrameError
from ncm_kedro.params.sem_classify import ClassifyParams
from ncm_kedro.sem.inference.classify import (
    build_frame_classifier,
    describe_prediction,
    plan_tiles,
)


@pytest.fixture(scope="module")
def frame_classifier(classifier):
    return build_frame_classifier(classifier, ClassifyParams(device="cpu", threads=1))


@pytest.fixture
def frame_yx():
    return np.random.default_rng(5).integers(30, 220, (150, 200)).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "overlap"), [(64, 64, 0.0), (150, 200, 0.0), (896, 1280, 0.5), (65, 64, 0)]
)
def test_tiles_cover_every_pixel_and_stay_inside(height, width, overlap):
    corners = plan_tiles(height, width, 64, overlap)
    covered = np.zeros((height, width), bool)
    for x, y in corners:
        assert 0 <= x <= width - 64
        assert 0 <= y <= height - 64
        covered[y : y + 64, x : x + 64] = True
    assert covered.all()
    gaps = np.diff(np.unique(corners[:, 0]))
    assert (gaps <= 64 * (1 - overlap) + 1).all()


def test_the_answer_is_the_mean_of_its_tiles(frame_classifier, frame_yx):
    prediction = frame_classifier.classify_frame(frame_yx, 0.25, "f")
    np.testing.assert_allclose(
        prediction.probabilities, prediction.tiles.probabilities.mean(axis=0)
    )
    assert len(prediction.tile_xy_px) == 3 * 4


def test_another_pixel_size_is_resampled_to_the_models(frame_classifier, frame_yx):
    coarse = cv2.resize(frame_yx, (100, 75), interpolation=cv2.INTER_AREA)
    prediction = frame_classifier.classify_frame(coarse, 0.5, "f")
    assert prediction.tile_px == pytest.approx(32.0)
    assert len(prediction.tile_xy_px) == 3 * 4


def test_a_frame_below_one_crop_is_refused(frame_classifier, frame_yx):
    with pytest.raises(FrameError, match="at least one crop of 64 px"):
        frame_classifier.classify_frame(frame_yx[:60], 0.25, "small.jpg")


@pytest.mark.parametrize(
    ("limits", "pixel_size_um", "expected"),
    [
        ({"max_scale": 8}, 1000.0, "within a factor of 8"),
        ({"max_scale": 8}, 0.001, "within a factor of 8"),
        ({"max_tiles": 11}, 0.25, "at most 11 tiles"),
    ],
)
def test_a_frame_beyond_the_limits_is_refused_before_work(
    classifier, frame_yx, limits, pixel_size_um, expected
):
    limited = build_frame_classifier(classifier, ClassifyParams(device="cpu", threads=1, **limits))
    with pytest.raises(FrameError, match=expected):
        limited.classify_frame(frame_yx, pixel_size_um, "f")


def test_composition_is_summed_over_its_states(frame_classifier, frame_yx):
    row = describe_prediction(
        frame_classifier.classifier, frame_classifier.classify_frame(frame_yx, 0.25, "f")
    )
    assert row["composition"] == "811"
    assert row["p_811"] + row["p_811_cycled"] == pytest.approx(1.0)
    assert row["predicted"] == ("811" if row["p_811"] > 0.5 else "811_cycled")
