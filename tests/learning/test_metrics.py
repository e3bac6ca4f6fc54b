from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as reference

from ncm_kedro.errors import TableError
from ncm_kedro.learning.evaluation.metrics import (
    count_confusion,
    evaluate_predictions,
    score_confusion,
    score_with_intervals,
)
from ncm_kedro.params.tune_train import EvaluationParams

CLASSES = ("333", "333_cycled", "811", "811_cycled")
COMPOSITIONS = ("333", "333", "811", "811")
STATES = ("pristine", "cycled", "pristine", "cycled")


def make_predictions(count: int = 400) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, count)
    logits = rng.normal(0, 1, (count, 4)) + 1.5 * np.eye(4)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probabilities, labels, [f"a{labels[i]}_{i % 5}" for i in range(count)]


def evaluate(probabilities, labels, areas, **settings):
    return evaluate_predictions(
        probabilities,
        labels,
        areas,
        class_names=CLASSES,
        compositions=COMPOSITIONS,
        states=STATES,
        params=EvaluationParams(n_bootstrap=500, **settings),
    )


def test_scores_equal_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    labels, predicted = rng.integers(0, 5, 300), rng.integers(0, 5, 300)
    confusion = count_confusion(labels, predicted, 5)
    np.testing.assert_array_equal(confusion, reference.confusion_matrix(labels, predicted))
    scores = score_confusion(confusion)
    assert scores["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    expected = reference.balanced_accuracy_score(labels, predicted)
    assert scores["balanced_accuracy"] == pytest.approx(expected)
    expected = reference.f1_score(labels, predicted, average="macro")
    assert scores["macro_f1"] == pytest.approx(expected)


def test_classes_without_crops_do_not_count():
    scores = score_confusion(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    assert scores["balanced_accuracy"] == pytest.approx((0.75 + 1.0) / 2)
    assert scores["macro_f1"] == pytest.approx((6 / 7 + 8 / 9) / 2)


def test_marginal_prediction_is_not_the_group_of_the_likeliest_class():
    probabilities = np.array([[0.4, 0.0, 0.3, 0.3]])
    report = evaluate(probabilities, np.array([2]), ["a"])
    assert report["class"]["accuracy"]["value"] == 0.0
    assert report["composition"]["accuracy"]["value"] == 1.0


def test_report_is_complete_and_ready_for_json():
    probabilities, labels, areas = make_predictions()
    report = json.loads(json.dumps(evaluate(probabilities, labels, areas), allow_nan=False))
    assert report["n_crops"] == 400
    assert report["n_areas"] == 20
    for role, size in (("class", 4), ("composition", 2), ("state", 2)):
        part = report[role]
        assert len(part["names"]) == len(part["per_class"]) == size
        assert np.sum(part["confusion"]) == 400
        for score in ("accuracy", "balanced_accuracy", "macro_f1"):
            assert part[score]["low"] <= part[score]["value"] <= part[score]["high"]
    assert report["class"]["per_class"]["333"]["areas"] == 5
    predicted = probabilities.argmax(axis=1)
    expected = reference.classification_report(
        labels, predicted, target_names=CLASSES, output_dict=True
    )
    for name in CLASSES:
        found = report["class"]["per_class"][name]
        assert found["precision"] == pytest.approx(expected[name]["precision"])
        assert found["recall"] == pytest.approx(expected[name]["recall"])
        assert found["f1"] == pytest.approx(expected[name]["f1-score"])
        assert found["crops"] == expected[name]["support"]
    nll = reference.log_loss(labels, probabilities)
    assert report["calibration"]["negative_log_likelihood"] == pytest.approx(nll)


def test_resampling_areas_gives_the_wider_interval_that_clusters_need():
    """20 areas, all crops of an area right or wrong together: a crop adds no evidence."""
    rng = np.random.default_rng(2)
    area = np.repeat(np.arange(20), 50)
    labels = area % 2
    right = rng.random(20) < 0.7
    predicted = np.where(right[area], labels, 1 - labels)
    params = EvaluationParams(n_bootstrap=2000)
    by_area = score_with_intervals(labels, predicted, area.astype(str), 2, params)["accuracy"]
    each = np.arange(1000).astype(str)
    by_crop = score_with_intervals(labels, predicted, each, 2, params)["accuracy"]
    exact = binomtest(int(right.sum()), 20).proportion_ci()
    assert by_area["high"] - by_area["low"] == pytest.approx(exact.high - exact.low, rel=0.1)
    ratio = (by_area["high"] - by_area["low"]) / (by_crop["high"] - by_crop["low"])
    assert ratio == pytest.approx(np.sqrt(50), rel=0.25)


def test_interval_does_not_depend_on_order_but_on_seed():
    probabilities, labels, areas = make_predictions()
    order = np.random.default_rng(3).permutation(len(labels))
    first = evaluate(probabilities, labels, areas)
    turned = evaluate(probabilities[order], labels[order], [areas[i] for i in order])
    assert turned["class"] == first["class"]
    other = evaluate(probabilities, labels, areas, seed=1)
    assert other["class"]["accuracy"]["low"] != first["class"]["accuracy"]["low"]
    wide = evaluate(probabilities, labels, areas, confidence=0.99)
    assert wide["class"]["accuracy"]["low"] < first["class"]["accuracy"]["low"]


def test_few_areas_give_no_interval_and_say_so():
    labels = np.arange(8) % 4
    report = evaluate(np.eye(4)[labels], labels, [str(i % 7) for i in range(8)])
    assert report["class"]["macro_f1"] == {"value": 1.0, "low": None, "high": None}
    assert "7 independent areas" in report["notes"][0]
    enough = evaluate(np.eye(4)[labels], labels, [str(i) for i in range(8)])
    assert enough["notes"] == []
    assert enough["calibration"]["expected_error"] == 0.0


def test_a_perfect_score_on_few_areas_is_not_certain():
    labels = np.arange(240) % 4
    params = EvaluationParams(n_bootstrap=100)
    lows = []
    for n_areas in (8, 12, 60):
        areas = [str(i * n_areas // 240) for i in range(240)]
        score = score_with_intervals(labels, labels, areas, 4, params)["accuracy"]
        assert score["high"] == 1.0
        lows.append(score["low"])
    assert 0.4 < lows[0] < lows[1] < lows[2] < 1.0


def test_errors_spread_over_many_areas_tell_that_they_do_not_cluster():
    """The same score is surer where each area has an error than where one area has them all."""
    labels, areas = np.arange(400) % 4, np.repeat(np.arange(20), 20).astype(str)
    params = EvaluationParams(n_bootstrap=500)
    widths = []
    for wrong in (np.arange(400) % 20 == 0, np.arange(400) < 20):
        predicted = np.where(wrong, (labels + 1) % 4, labels)
        score = score_with_intervals(labels, predicted, areas, 4, params)["accuracy"]
        assert score["value"] == pytest.approx(0.95)
        widths.append(score["high"] - score["low"])
    assert 3 * widths[0] < widths[1]


def draw_areas_of_a_classifier(rng, areas_per_class, accuracies, likeness, crops=20):
    """Labels, predictions and areas; crops of an area are right together, more or less."""
    labels, predicted, areas = [], [], []
    n_classes = len(accuracies)
    for label, (count, accuracy) in enumerate(zip(areas_per_class, accuracies, strict=True)):
        scale = (1.0 - likeness) / likeness
        for number in range(count):
            right = rng.random(crops) < rng.beta(accuracy * scale, (1.0 - accuracy) * scale)
            wrong = (label + rng.integers(1, n_classes, crops)) % n_classes
            predicted += np.where(right, label, wrong).tolist()
            labels += [label] * crops
            areas += [f"{label}/{number}"] * crops
    return np.array(labels), np.array(predicted), areas


@pytest.mark.parametrize(
    ("areas_per_class", "accuracy", "likeness"),
    [([1] * 12, 0.9, 0.2), ([1] * 12, 0.9, 0.9), ([2] * 4, 0.9, 0.9), ([10] * 4, 0.97, 0.9)],
)
def test_intervals_hold_the_true_score_as_often_as_they_say(areas_per_class, accuracy, likeness):
    """At least 92 % of 500 experiments, nominally 95 %, with one area a class as with ten.

    Where whole areas are wrong together a test may see none of them, and must not be sure.
    """
    rng = np.random.default_rng(11)
    params = EvaluationParams(n_bootstrap=200)
    accuracies = accuracy + (1.0 - accuracy) * np.linspace(-0.5, 0.5, len(areas_per_class))
    held = 0
    for _ in range(500):
        drawn = draw_areas_of_a_classifier(rng, areas_per_class, accuracies, likeness)
        score = score_with_intervals(*drawn, len(accuracies), params)["balanced_accuracy"]
        held += score["low"] <= accuracies.mean() <= score["high"]
    assert held / 500 >= 0.92


def test_lengths_that_disagree_are_named():
    probabilities, labels, areas = make_predictions(10)
    with pytest.raises(TableError, match="10 labels, 9 areas"):
        evaluate(probabilities, labels, areas[:9])
    with pytest.raises(TableError, match="0 labels"):
        evaluate(probabilities[:0], labels[:0], [])
