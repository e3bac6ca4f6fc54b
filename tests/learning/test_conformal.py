"""Prediction sets contain the true class at the target rate on unseen areas."""

import numpy as np
import pytest

from ncm_kedro.learning.evaluation.conformal import (
    ConformalSets,
    choose_sets,
    choose_threshold,
    fit_sets,
    measure_likeness,
    name_sets,
    weigh_areas,
)
from ncm_kedro.params.tune_train import ConformalParams

CLASSES = ("333", "523", "811")


def draw_predictions(rng, areas_per_class, area_effect, noise=1.2, crops=12):
    """Probabilities of three classes; areas and crops err, the third class most."""
    count = rng.integers(1, crops, sum(areas_per_class))
    area = np.repeat(np.arange(len(count)), count)
    labels = np.repeat(np.repeat(np.arange(3), areas_per_class), count)
    spread = noise * (1.0 + 0.8 * (labels == 2))[:, np.newaxis]
    own = area_effect * rng.normal(size=(len(count), 3))
    logits = 1.5 * np.eye(3)[labels] + own[area] + spread * rng.normal(size=(len(area), 3))
    scaled = np.exp(logits)
    return scaled / scaled.sum(axis=1, keepdims=True), labels, area.astype(str).tolist()


def measure_coverage(probabilities, labels, areas, sets, only=None):
    hit = choose_sets(probabilities, sets)[np.arange(len(labels)), labels]
    mine = np.ones(len(labels), bool) if only is None else labels == only
    weights = weigh_areas([a for a, keep in zip(areas, mine, strict=True) if keep])
    return float((hit[mine] * weights).sum())


@pytest.mark.parametrize("area_effect", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("kind", ["marginal", "class_conditional"])
def test_coverage_on_new_areas_is_on_target(kind, area_effect):
    rng = np.random.default_rng(5)
    overall, hard = [], []
    for _ in range(25):
        fitted = fit_sets(
            *draw_predictions(rng, (99, 99, 99), area_effect),
            CLASSES,
            ConformalParams(kind=kind, coverage=0.9),
        )
        new = draw_predictions(rng, (150, 150, 150), area_effect)
        overall.append(measure_coverage(*new, fitted))
        hard.append(measure_coverage(*new, fitted, only=2))
    assert np.mean(overall) == pytest.approx(0.9, abs=0.02)
    if kind == "class_conditional":
        assert np.mean(hard) == pytest.approx(0.9, abs=0.02)
    else:
        assert np.mean(hard) < 0.88  # the hard class pays for the easy ones


@pytest.mark.parametrize(("area_effect", "noise"), [(0.0, 1.2), (0.7, 1.2), (3.0, 0.2)])
def test_coverage_is_on_target_with_as_few_areas_as_the_real_data_have(area_effect, noise):
    """Twelve mosaics: within two points, be crops of one independent or nearly all alike."""
    rng = np.random.default_rng(6)
    covered = []
    for _ in range(400):
        known = draw_predictions(rng, (4, 4, 4), area_effect, noise)
        fitted = fit_sets(*known, CLASSES, ConformalParams(kind="marginal"))
        new = draw_predictions(rng, (30, 30, 30), area_effect, noise)
        covered.append(measure_coverage(*new, fitted))
    assert np.mean(covered) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
def test_likeness_within_areas_is_the_share_of_variance_between_them(spread):
    rng = np.random.default_rng(2)
    area = np.repeat(np.arange(400), 10)
    score = np.sqrt(spread) * rng.normal(size=400)[area]
    score = score + np.sqrt(1.0 - spread) * rng.normal(size=4000)
    assert measure_likeness(score, area.astype(str).tolist()) == pytest.approx(spread, abs=0.04)
    assert measure_likeness(score, [str(k) for k in range(4000)]) == 0.0


@pytest.mark.parametrize("level", [0.05, 0.1, 0.3])
def test_threshold_of_many_areas_is_the_quantile(level):
    score = np.random.default_rng(0).permutation(np.linspace(0.0, 1.0, 4001))
    areas = [str(k % 400) for k in range(4001)]
    assert choose_threshold(score, areas, level) == pytest.approx(1.0 - level, abs=0.003)


def test_an_area_of_many_crops_does_not_outweigh_the_others():
    score = np.concatenate([np.arange(20.0), np.full(1000, 100.0)])
    areas = [str(k) for k in range(20)] + ["large"] * 1000
    assert choose_threshold(score, areas, 0.5) == pytest.approx(10.0, abs=1.0)


def test_a_class_with_few_areas_takes_the_common_threshold_and_says_so():
    rng = np.random.default_rng(7)
    probabilities, labels, areas = draw_predictions(rng, (20, 20, 4), 0.5)
    fitted = fit_sets(probabilities, labels, areas, CLASSES, ConformalParams())
    marginal = fit_sets(probabilities, labels, areas, CLASSES, ConformalParams(kind="marginal"))
    assert fitted.thresholds[2] == marginal.thresholds[2]
    assert fitted.n_mosaics == (20, 20, 44)
    assert "811 (4)" in fitted.notes[0]
    assert "9 validation mosaics" in fitted.notes[0]
    assert marginal.notes == ()


def test_too_few_areas_of_all_classes_leave_every_class_in():
    rng = np.random.default_rng(8)
    probabilities, labels, areas = draw_predictions(rng, (2, 2, 2), 0.5)
    fitted = fit_sets(probabilities, labels, areas, CLASSES, ConformalParams())
    assert choose_sets(probabilities, fitted).all()
    assert len(fitted.notes) == 1


def test_sets_by_hand():
    fitted = ConformalSets(coverage=0.9, thresholds=(0.75, 0.5, 0.2), n_mosaics=(9, 9, 9))
    probabilities = np.array([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7], [0.25, 0.0, 0.75]])
    members = choose_sets(probabilities, fitted)
    # In the second row no class reaches its threshold: the most probable one stays.
    assert members.tolist() == [[True, True, False], [False, False, True], [True, False, True]]
    assert name_sets(members, CLASSES) == ["333, 523", "811", "333, 811"]
