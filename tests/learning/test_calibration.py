from __future__ import annotations

import numpy as np
import pytest

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.evaluation.calibration import (
    apply_temperature,
    fit_temperature,
    measure_reliability,
)


def draw_calibrated(count: int = 20000, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is the true probability of the labels drawn from it."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (count, classes))
    cumulative = apply_temperature(logits, 1.0).cumsum(axis=1)
    labels = (rng.random((count, 1)) > cumulative).sum(axis=1)
    return logits, np.minimum(labels, classes - 1)


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_known_temperature_is_recovered(factor):
    logits, labels = draw_calibrated()
    assert fit_temperature(logits * factor, labels) == pytest.approx(factor, rel=0.03)


def test_temperature_removes_the_calibration_error_and_keeps_the_class():
    logits, labels = draw_calibrated()
    sharp = logits * 4
    before = measure_reliability(apply_temperature(sharp, 1.0), labels).expected_error
    calibrated = apply_temperature(sharp, fit_temperature(sharp, labels))
    after = measure_reliability(calibrated, labels).expected_error
    assert before > 0.15
    assert after < 0.01
    assert (calibrated.argmax(1) == sharp.argmax(1)).all()
    np.testing.assert_allclose(calibrated.sum(axis=1), 1.0)


def test_perfect_predictions_keep_a_finite_temperature():
    logits = np.eye(3)[[0, 1, 2, 0]] * 10
    temperature = fit_temperature(logits, np.array([0, 1, 2, 0]))
    assert 0.006 < temperature < 1.0


def test_large_logits_do_not_overflow():
    probabilities = apply_temperature(np.array([[5000.0, 0.0]]), 1.0)
    np.testing.assert_array_equal(probabilities, [[1.0, 0.0]])


def test_reliability_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [1.0, 0.0]])
    labels = np.array([0, 1, 1, 0])
    curve = measure_reliability(probabilities, labels, bins=5)
    assert curve.count.tolist() == [0, 0, 1, 0, 3]
    assert curve.confidence[4] == pytest.approx((0.9 + 0.9 + 1.0) / 3)
    assert curve.accuracy[4] == pytest.approx(2 / 3)
    assert np.isnan(curve.accuracy[0])
    expected = (1 * abs(1.0 - 0.6) + 3 * abs(2 / 3 - 2.8 / 3)) / 4
    assert curve.expected_error == pytest.approx(expected)


def test_bad_logits_are_refused():
    with pytest.raises(ModelError, match="no validation crop"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, int))
    with pytest.raises(ModelError, match="not finite"):
        fit_temperature(np.full((2, 3), np.nan), np.zeros(2, int))
