"""Out-of-distribution crops are detected; each part against a known value."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.evaluation.ood import (
    CropOutputs,
    FrameOutputs,
    fit_detector,
    measure_distance,
)
from ncm_kedro.params.tune_train import OODParams

MEANS = np.array([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0]])


def draw_outputs(rng, count, shift=(0.0, 0.0, 0.0), energy=-5.0):
    labels = np.arange(count) % 2
    noise = 0.5 * rng.normal(size=(count, 3))
    return CropOutputs(
        logits=np.zeros((count, 2), np.float32),
        labels=labels,
        energy=(energy + rng.normal(size=count)).astype(np.float32),
        features=(MEANS[labels] + noise + np.asarray(shift)).astype(np.float32),
    )


def name_areas(count, n_areas):
    return [f"a{k % n_areas}" for k in range(count)]


def fit(train, validate, areas, params=None, foreign=None):
    """Fit on frames of five validation crops each, and on foreign crops that lie far off."""
    rng = np.random.default_rng(10)
    n_frames = len(areas) // 5
    frames = FrameOutputs(
        draw_outputs(rng, 5 * n_frames), np.repeat(np.arange(n_frames), 5), tuple(areas[:n_frames])
    )
    return fit_detector(
        train, validate, areas, params or OODParams(), frames=frames,
        foreign=foreign or draw_outputs(rng, 40, shift=(0.0, 0.0, 30.0)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def detector():
    rng = np.random.default_rng(0)
    return fit(draw_outputs(rng, 4000), draw_outputs(rng, 1000), name_areas(1000, 100))


@pytest.mark.parametrize("neighbours", [1, 7])
def test_distance_is_that_of_the_nearest_neighbours(neighbours):
    rng = np.random.default_rng(1)
    train, points = rng.normal(size=(300, 16)), 9.0 * rng.normal(size=(2500, 16))
    oracle = NearestNeighbors(n_neighbors=neighbours).fit(train)
    expected = oracle.kneighbors(points)[0][:, -1]
    np.testing.assert_allclose(measure_distance(points, train, neighbours), expected, rtol=1e-4)


def test_what_is_far_out_in_the_same_direction_is_far():
    """Scaled to length one, features of twice the length would lie on those of the training."""
    rng = np.random.default_rng(3)
    train, validate = draw_outputs(rng, 400), draw_outputs(rng, 200)
    found = fit(train, validate, name_areas(200, 50))
    twice = replace(draw_outputs(rng, 100), features=2.0 * draw_outputs(rng, 100).features)
    assert found.evaluate(twice).unknown.mean() > 0.9


def test_another_direction_is_flagged_though_the_features_lie_near():
    """Features of a tenth of the length: one standard deviation is far for their direction."""
    rng = np.random.default_rng(14)

    def draw(count, angle):
        direction = np.array([np.cos(angle), np.sin(angle), 0.0])
        length = rng.uniform(0.5, 20.0, count)[:, None]
        noise = 0.02 * length * rng.normal(size=(count, 3))
        features = (length * direction + noise).astype(np.float32)
        return replace(draw_outputs(rng, count), features=features)

    found = fit(draw(400, 0.3), draw(200, 0.3), name_areas(200, 50))
    assert found.evaluate(draw(100, 0.3)).unknown.mean() < 0.15
    assert found.evaluate(draw(100, 0.6)).unknown.mean() > 0.9


def test_a_direction_between_the_classes_is_flagged_whatever_else_varies():
    """Three classes and their scatter in two dimensions, ten times as much in twenty others."""
    rng = np.random.default_rng(15)

    def draw(count, turn_deg=0.0):
        labels = np.arange(count) % 3
        angles = np.deg2rad(120 * labels + turn_deg)
        directed = 4 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        features = np.hstack([directed, np.zeros((count, 20))]) + rng.normal(
            scale=[0.4] * 2 + [4.0] * 20, size=(count, 22)
        )
        return replace(
            draw_outputs(rng, count), labels=labels, features=features.astype(np.float32)
        )

    far = replace(draw(40), features=60 * rng.normal(size=(40, 22)).astype(np.float32))
    frames = FrameOutputs(draw(200), np.repeat(np.arange(40), 5), tuple(name_areas(40, 40)))
    found = fit_detector(
        draw(600), draw(200), name_areas(200, 50), OODParams(), frames=frames, foreign=far
    )
    assert found.evaluate(draw(200)).unknown.mean() < 0.15
    assert found.evaluate(draw(200, turn_deg=60.0)).unknown.mean() > 0.9


def test_fewer_training_crops_than_neighbours_are_enough():
    rng = np.random.default_rng(2)
    detector = fit(draw_outputs(rng, 4), draw_outputs(rng, 40), name_areas(40, 20))
    assert detector.neighbours == 4


def test_known_crops_raise_as_many_alarms_as_allowed(detector):
    evaluated = detector.evaluate(draw_outputs(np.random.default_rng(3), 2000))
    assert evaluated.unknown.mean() == pytest.approx(0.05, abs=0.02)
    assert (evaluated.p <= 0.5).mean() == pytest.approx(0.5, abs=0.05)
    assert detector.notes == ()


@pytest.mark.parametrize(
    "strange", [{"shift": (0.0, 0.0, 6.0)}, {"energy": 3.0}], ids=["features", "energy"]
)
def test_either_measure_alone_raises_the_flag(detector, strange):
    evaluated = detector.evaluate(draw_outputs(np.random.default_rng(4), 500, **strange))
    assert evaluated.unknown.mean() > 0.95
    assert np.median(evaluated.p) < 0.015


def test_material_that_the_network_is_surest_of_is_flagged_by_its_distance(detector):
    rng = np.random.default_rng(8)
    sure = draw_outputs(rng, 300, shift=(0.0, 0.0, 8.0), energy=-200.0)
    assert detector.evaluate(sure).unknown.mean() > 0.95


def test_flag_p_value_and_threshold_agree(detector):
    evaluated = detector.evaluate(draw_outputs(np.random.default_rng(5), 1000, shift=(0, 0, 1.5)))
    np.testing.assert_array_equal(evaluated.unknown, evaluated.score > detector.threshold)


def test_few_areas_still_flag_and_say_what_the_rate_rests_on():
    rng = np.random.default_rng(6)
    detector = fit(draw_outputs(rng, 400), draw_outputs(rng, 100), name_areas(100, 4))
    assert "4 validation mosaics" in detector.notes[0]
    assert detector.evaluate(draw_outputs(rng, 50, shift=(0, 0, 30.0))).unknown.all()


def test_new_mosaics_alarm_as_often_as_asked_though_there_are_twelve():
    """Within two points, with offsets of each mosaic that its crops share."""
    rng = np.random.default_rng(12)

    def draw(n_mosaics):
        outputs = draw_outputs(rng, 20 * n_mosaics)
        outputs.energy[:] += np.repeat(rng.normal(size=n_mosaics), 20).astype(np.float32)
        return outputs, np.repeat(np.arange(n_mosaics), 20).astype(str).tolist()

    train, rates = draw_outputs(rng, 300), []
    for _ in range(60):
        detector = fit(train, *draw(12))
        rates.append(detector.evaluate(draw(60)[0]).unknown.mean())
    assert np.mean(rates) == pytest.approx(0.05, abs=0.02)


def test_a_network_that_takes_patterns_for_micrographs_raises_no_flag():
    rng = np.random.default_rng(13)
    parts = draw_outputs(rng, 400), draw_outputs(rng, 200), name_areas(200, 50)
    blind = fit(*parts, foreign=draw_outputs(rng, 40))
    assert blind.foreign_auroc == pytest.approx(0.5, abs=0.15)
    assert not blind.is_reliable
    assert blind.notes[0].startswith("no flag")
    assert fit(*parts).is_reliable


@pytest.mark.parametrize("areas", [4, 12, 19, 60])
def test_the_asked_share_of_validation_crops_alarms_however_many_mosaics(areas):
    rng = np.random.default_rng(8)
    validate = draw_outputs(rng, 1200)
    detector = fit(draw_outputs(rng, 400), validate, name_areas(1200, areas))
    assert detector.evaluate(validate).unknown.mean() == pytest.approx(0.05, abs=0.005)


def test_one_odd_validation_crop_does_not_blind_the_flag():
    rng = np.random.default_rng(9)
    validate = draw_outputs(rng, 600)
    validate.features[17] = (0.0, 0.0, -40.0)
    detector = fit(draw_outputs(rng, 400), validate, name_areas(600, 12))
    assert detector.evaluate(draw_outputs(rng, 50, shift=(0, 0, 6.0))).unknown.mean() > 0.95


def test_a_network_that_collapsed_raises_no_flag():
    """All features are zero, of three classes: nothing parts them."""
    rng = np.random.default_rng(16)

    def draw(count):
        zeros = np.zeros((count, 3), np.float32)
        return replace(draw_outputs(rng, count), labels=np.arange(count) % 3, features=zeros)

    found = fit(draw(300), draw(100), name_areas(100, 50), foreign=draw(40))
    assert not found.is_reliable
    assert np.isfinite(found.evaluate(draw(50)).score).all()


def test_features_that_are_not_finite_are_refused():
    rng = np.random.default_rng(7)
    broken = draw_outputs(rng, 10)
    broken.features[3, 0] = np.nan
    with pytest.raises(ModelError, match="not finite"):
        fit(draw_outputs(rng, 10), broken, name_areas(10, 5))
