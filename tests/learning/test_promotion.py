"""Promotion is earned on the test split, and a rejection gives its reasons."""

import pytest

from ncm_kedro.learning.evaluation.promotion import Candidate, decide_promotion


def make_candidate(name: str, score: float, split: str = "a") -> Candidate:
    return Candidate(name, score, split)


@pytest.mark.parametrize(
    ("candidate", "baseline", "production", "expected"),
    [
        (0.9, 0.8, None, True),
        (0.8, 0.9, None, False),
        (0.9, 0.8, 0.85, True),
        (0.9, 0.8, 0.95, False),
        (0.9, 0.8, 0.9, False),
        (0.8, 0.8, None, False),
    ],
)
def test_only_a_strict_win_over_all_rivals_promotes(candidate, baseline, production, expected):
    decision = decide_promotion(
        make_candidate("network", candidate),
        make_candidate("baseline", baseline),
        None if production is None else make_candidate("production", production),
    )
    assert decision.promoted is expected


def test_refusal_names_the_rival_and_both_scores():
    decision = decide_promotion(
        make_candidate("network", 0.71), make_candidate("texture", 0.84), None
    )
    assert "network does not beat texture" in decision.reasons[0]
    assert "0.710 against 0.840" in decision.reasons[0]


def test_another_split_is_said():
    decision = decide_promotion(
        make_candidate("network", 0.9),
        make_candidate("texture", 0.8),
        make_candidate("old", 0.7, "b"),
    )
    assert any("another split" in reason for reason in decision.reasons)


def test_a_leaking_split_promotes_nothing():
    decision = decide_promotion(
        make_candidate("network", 0.99), make_candidate("texture", 0.5), None, leaking=True
    )
    assert not decision.promoted
    assert any("overlaps" in reason for reason in decision.reasons)
