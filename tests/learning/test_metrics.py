from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as reference

from ncm_kedro.errors import TableError
from ncm_kedro.learning.evaluation.metrics import (
    count_confusion,
    evaluate_predictions,
    score_confusion,
    score_with_intervals,
    sum_over_groups,
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


def test_resamples_that_miss_a_class_do_not_drag_macro_f1_down():
    """Two areas a class: many resamples miss one; the interval stays around the value."""
    labels = np.repeat(np.arange(6), 40)
    rng = np.random.default_rng(4)
    predicted = np.where(rng.random(240) < 0.9, labels, rng.integers(0, 6, 240))
    areas = [f"{label}_{i % 2}" for i, label in enumerate(labels)]
    part = score_with_intervals(labels, predicted, areas, 6, EvaluationParams(n_bootstrap=1000))
    f1, recall = part["macro_f1"], part["balanced_accuracy"]
    width = recall["high"] - recall["low"]
    assert f1["high"] - f1["low"] < 2 * width
    assert f1["low"] > f1["value"] - width


def test_marginals_by_hand():
    summed, names = sum_over_groups(np.array([[0.1, 0.2, 0.3, 0.4]]), COMPOSITIONS)
    assert names == ("333", "811")
    np.testing.assert_allclose(summed, [[0.3, 0.7]])
    summed, names = sum_over_groups(np.array([[0.1, 0.2, 0.3, 0.4]]), STATES)
    assert names == ("cycled", "pristine")
    np.testing.assert_allclose(summed, [[0.6, 0.4]])


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
    share = right.mean()
    expected = 2 * 1.96 * np.sqrt(share * (1 - share) / 20)
    assert by_area["high"] - by_area["low"] == pytest.approx(expected, rel=0.15)
    ratio = (by_area["high"] - by_area["low"]) / (by_crop["high"] - by_crop["low"])
    assert ratio == pytest.approx(np.sqrt(50), rel=0.15)


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


def test_perfect_predictions():
    labels = np.arange(8) % 4
    report = evaluate(np.eye(4)[labels], labels, [str(i) for i in range(8)])
    assert report["class"]["macro_f1"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert report["calibration"]["expected_error"] == 0.0


def test_lengths_that_disagree_are_named():
    probabilities, labels, areas = make_predictions(10)
    with pytest.raises(TableError, match="10 labels, 9 areas"):
        evaluate(probabilities, labels, areas[:9])
    with pytest.raises(TableError, match="0 labels"):
        evaluate(probabilities[:0], labels[:0], [])


def test_no_resample_loses_a_class():
    """A classifier that always predicts class 0 has a balanced accuracy of 1/K in every draw."""
    labels = np.repeat(np.arange(4), 6)
    areas = [f"{label}/{crop % 3}" for crop, label in enumerate(labels)]
    scores = score_with_intervals(
        labels, np.zeros_like(labels), areas, 4, EvaluationParams(n_bootstrap=200)
    )
    entry = scores["balanced_accuracy"]
    assert entry["low"] == pytest.approx(0.25)
    assert entry["high"] == pytest.approx(0.25)
