"""Guarantees for unseen areas hold, however alike the crops of one area are."""

import numpy as np
import pytest

from ncm_kedro.learning.evaluation.conformal import (
    count_areas_needed,
    rank_areas,
    weigh_areas,
)


def draw_crops(rng, n_areas, area_effect, most=60):
    """Scores with a random effect per area, areas of very unequal size."""
    count = rng.integers(1, most, n_areas)
    area = np.repeat(np.arange(n_areas), count)
    score = area_effect * rng.normal(size=n_areas)[area] + rng.normal(size=len(area))
    return score, [f"a{k}" for k in area]


def test_areas_weigh_alike_whatever_their_number_of_crops():
    weights = weigh_areas(["a", "b", "b", "b", "a"])
    assert weights.sum() == pytest.approx(1.0)
    assert weights[[0, 4]].sum() == pytest.approx(0.5)
    assert weights[[1, 2, 3]].sum() == pytest.approx(0.5)


def test_one_crop_per_area_is_the_textbook_quantile():
    score = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))
    ranks = rank_areas(score, [str(k) for k in range(99)])
    assert ranks.measure_p(np.array([0.0, 90.0, 91.0, 200.0])) == pytest.approx(
        [1.0, 0.11, 0.10, 0.01]
    )


def test_a_dozen_areas_cannot_tell_a_small_rate_from_zero():
    assert count_areas_needed(0.1) == 9
    assert count_areas_needed(0.05) == 19


def measure_alarms(rng, n_areas, area_effect, *, repeats, most=60, by_crop=False):
    """Share of crops of new areas with p at most 0.1, mean over repeated experiments."""
    shares = []
    for _ in range(repeats):
        score, areas = draw_crops(rng, n_areas, area_effect, most)
        new, new_areas = draw_crops(rng, 40, area_effect)
        names = [str(k) for k in range(len(score))] if by_crop else areas
        alarmed = rank_areas(score, names).measure_p(new) <= 0.1
        shares.append((alarmed * weigh_areas(new_areas)).sum())
    return float(np.mean(shares))


@pytest.mark.parametrize("area_effect", [0.0, 1.0, 4.0])
def test_false_alarms_on_new_areas_are_on_target_for_any_likeness_within_areas(area_effect):
    share = measure_alarms(np.random.default_rng(1), 99, area_effect, repeats=150)
    assert share == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("area_effect", [0.0, 1.0, 4.0])
def test_few_areas_err_on_the_safe_side_within_the_theorem(area_effect):
    share = measure_alarms(np.random.default_rng(2), 19, area_effect, repeats=300)
    assert 0.1 - 2 / 20 <= share <= 0.1 + 0.01


def test_counting_crops_in_place_of_areas_would_break_the_promise():
    rng = np.random.default_rng(4)
    options = {"repeats": 300, "most": 200}
    assert measure_alarms(rng, 9, 4.0, **options) <= 0.11
    assert measure_alarms(rng, 9, 4.0, **options, by_crop=True) > 0.13
