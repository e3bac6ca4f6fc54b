"""Promotion is earned on the same test regions, by an interval, and a rejection gives reasons."""

import json

import numpy as np
import pytest

from ncm_kedro.learning.evaluation.promotion import (
    Comparison,
    Promotion,
    compare_predictions,
    decide_promotion,
)
from ncm_kedro.params.tune_train import EvaluationParams

PARAMS = EvaluationParams(n_bootstrap=500)
NAMES = ("network", "texture")


def draw(rng, chances, *, n_regions=24, crops=10, spread=0.0):
    """Labels of 4 classes, and predictions that are right with these chances, region by region."""
    region = np.repeat(np.arange(n_regions), crops)
    labels = region % 4
    difficulty = rng.normal(0, spread, n_regions)[region]
    found = []
    for chance in chances:
        is_right = rng.random(len(labels)) < np.clip(chance + difficulty, 0, 1)
        found.append(np.where(is_right, labels, (labels + 1) % 4))
    return labels, *found, [f"r{number}" for number in region]


def compare(rng, chances, **how):
    *arrays, regions = draw(rng, chances, **how)
    return compare_predictions(NAMES, *arrays, regions=regions, params=PARAMS)


def make_comparison(low, reference="texture"):
    return Comparison("network", reference, 0.8, 0.7, low, 0.2, 20)


def test_a_clear_margin_wins_and_a_chance_lead_does_not():
    rng = np.random.default_rng(0)
    clear = compare(rng, (0.85, 0.5))
    assert clear.is_won
    assert clear.low < clear.score - clear.reference_score < clear.high
    leads = [compare(rng, (0.7, 0.7), n_regions=16) for _ in range(200)]
    ahead = [c for c in leads if c.score > c.reference_score]
    assert len(ahead) > 60
    assert sum(c.is_won for c in leads) <= 16  # nominally 5 of 200; few regions, thus more


def test_one_region_a_class_is_no_certainty():
    """Equal models whose skill differs from region to region, 12 regions of 12 classes."""
    rng = np.random.default_rng(0)
    wins = 0
    for _ in range(200):
        region = np.repeat(np.arange(12), 10)
        found = []
        for _ in range(2):
            skill = np.clip(0.6 + rng.normal(0, 0.15, 12), 0, 1)[region]
            found.append(np.where(rng.random(120) < skill, region, (region + 1) % 12))
        names = [str(number) for number in region]
        wins += compare_predictions(NAMES, region, *found, regions=names, params=PARAMS).is_won
    assert wins <= 24  # nominally 5; drawn within classes it is near 100


def test_regions_that_are_hard_for_both_cancel():
    """The difference of models that fail together is known better than either score."""
    paired = compare(np.random.default_rng(1), (0.75, 0.6), spread=0.25, crops=40)
    assert paired.is_won
    *arrays, regions = draw(np.random.default_rng(1), (0.7, 0.7))
    same = compare_predictions(
        NAMES, arrays[0], arrays[1], arrays[1], regions=regions, params=PARAMS
    )
    assert (same.low, same.high) == (0.0, 0.0)
    assert not same.is_won


def test_too_few_regions_prove_nothing():
    few = compare(np.random.default_rng(0), (0.99, 0.3), n_regions=7)
    assert few.low is None
    decision = decide_promotion([few])
    assert not decision.promoted
    assert "no interval" in decision.reasons[0]


@pytest.mark.parametrize(
    ("lows", "leaking", "expected"),
    [
        ((0.01,), False, True),
        ((0.0,), False, False),
        ((0.01, -0.01), False, False),
        ((0.01, 0.02), False, True),
        ((0.01, 0.02), True, False),
    ],
)
def test_every_interval_must_lie_above_zero(lows, leaking, expected):
    names = ("texture", "production model")
    comparisons = [make_comparison(low, name) for low, name in zip(lows, names, strict=False)]
    decision = decide_promotion(comparisons, replaces="3", leaking=leaking)
    assert decision.promoted is expected
    assert ("does not beat" in "; ".join(decision.reasons)) == (min(lows) <= 0)


def test_a_decision_survives_its_report():
    decision = decide_promotion([make_comparison(0.1)], replaces="4", notes=["a note"])
    assert Promotion.from_dict(json.loads(json.dumps(decision.to_dict()))) == decision
    assert "a note" in decision.reasons
