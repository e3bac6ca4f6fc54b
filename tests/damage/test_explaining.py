"""One cross-validated explanation: its parts, simulated models, and held-out particles."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from ncm_kedro.damage.explaining import explain_out_of_sample, predict_linearly, score_r2
from ncm_kedro.params.damage_attribution import DamageForestParams

FOREST = DamageForestParams(trees=30, max_leaves=24, feature_fraction=1.0)


def deal(count, folds=4):
    return np.arange(count) * folds // count


def explain(values, damage, players=None, seed=0, **settings):
    players = players or [[[column] for column in range(values.shape[1])]]
    settings = {"forest": FOREST, "rng": np.random.default_rng(seed), **settings}
    return explain_out_of_sample(values, damage, deal(len(damage)), players, **settings)


def draw_values(count=400, columns=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, columns)), rng


@pytest.fixture(scope="module")
def simulated():
    """Column 0 raises damage, column 1 lowers it, columns 2 and 3 mean nothing."""
    values, rng = draw_values(800)
    damage = 0.2 * values[:, 0] - 0.1 * values[:, 1] + 0.05 * rng.normal(size=800)
    players = [[[0, 1], [2], [3]], [[0], [1], [2], [3]]]
    return values, damage, explain(values, damage, players).sort()


def test_parts_of_r2_sum_to_r2_for_every_set_of_players(simulated):
    _, damage, found = simulated
    by_hand = 1 - ((damage - found.prediction) ** 2).sum() / ((damage - found.base) ** 2).sum()
    assert found.r2 == pytest.approx(by_hand)
    for players in range(2):
        assert found.share_r2(players).sum() == pytest.approx(by_hand, abs=1e-12)
        answer = found.base + found.shap[players].sum(axis=1)
        np.testing.assert_allclose(answer, found.prediction, atol=1e-12)
    assert by_hand > 0.8


def test_a_step_shows_as_a_jump_at_its_threshold():
    values, rng = draw_values(800)
    damage = 0.3 * (values[:, 0] > 0.5) + 0.02 * rng.normal(size=800)
    found = explain(values, damage).sort()
    shap, driver = found.shap[0][:, 0], values[:, 0]
    below, above = shap[driver < 0.4], shap[driver > 0.6]
    jump = above.mean() - below.mean()
    assert jump == pytest.approx(0.3, abs=0.03)
    assert max(below.std(), above.std()) < 0.1 * jump


def test_noise_brings_nothing_or_costs_a_little():
    parts = []
    for seed in range(12):
        values, rng = draw_values(250, 3, seed)
        damage = values[:, 0] + 0.5 * rng.normal(size=250)
        parts.append(explain(values, damage, seed=seed).share_r2())
    noise = np.array(parts)[:, 1:]
    error = noise.mean(axis=1).std(ddof=1) / np.sqrt(len(noise))
    assert -0.02 < noise.mean() < 2 * error
    assert np.abs(noise).max() < 0.05


def test_identical_columns_in_one_group_get_their_sum():
    values, rng = draw_values(600, 3)
    damage = values[:, 0] + 0.5 * values[:, 1] + 0.3 * rng.normal(size=600)
    alone = explain(values, damage).share_r2()
    twice = np.column_stack([values, values[:, 0]])
    players = [[[0, 3], [1], [2]], [[0], [1], [2], [3]]]
    found = explain(twice, damage, players)
    grouped, apart = found.share_r2(0), found.share_r2(1)
    assert min(apart[0], apart[3]) > 0.2
    assert max(apart[0], apart[3]) < 0.7 * alone[0]
    assert grouped[0] == pytest.approx(apart[0] + apart[3], rel=0.05)
    assert grouped[0] == pytest.approx(alone[0], rel=0.1)


def test_a_forest_has_not_seen_what_it_explains():
    values, rng = draw_values(200)
    damage = rng.normal(size=200)
    spoilt = np.where(deal(200) == 0, 100.0, damage)
    first, second = explain(values, damage).sort(), explain(values, spoilt).sort()
    held_out = deal(200) == 0
    np.testing.assert_array_equal(first.prediction[held_out], second.prediction[held_out])
    np.testing.assert_array_equal(first.shap[0][held_out], second.shap[0][held_out])
    assert (second.prediction[~held_out] > first.prediction[~held_out]).all()


def test_as_many_particles_are_explained_as_asked_for():
    values, rng = draw_values(300)
    found = explain(values, rng.normal(size=300), max_explained=60)
    assert len(set(found.rows)) == len(found.rows) == 60
    assert set(deal(300)[found.rows]) == {0, 1, 2, 3}


def test_damage_that_does_not_vary_has_nothing_to_share_out():
    values, _ = draw_values(100)
    found = explain(values, np.full(100, 0.2))
    assert found.r2 == 0.0
    assert not found.share_r2().any()
    assert explain(values, np.zeros(100)).r2 == 0.0
    assert score_r2(np.ones(3), np.zeros(3), np.ones(3)) == 0.0


def test_the_linear_model_is_a_cross_validated_ridge():
    values, rng = draw_values(160)
    damage = values @ [0.3, -0.2, 0.0, 0.1] + 0.2 * rng.normal(size=160)
    folds, expected = deal(160), np.empty(160)
    for fold in range(4):
        inside, outside = folds != fold, folds == fold
        scaler = StandardScaler().fit(values[inside])
        model = Ridge(alpha=1e-3 * inside.sum()).fit(
            scaler.transform(values[inside]), damage[inside]
        )
        expected[outside] = model.predict(scaler.transform(values[outside]))
    np.testing.assert_allclose(predict_linearly(values, damage, folds), expected, atol=1e-10)


def test_the_linear_model_bears_columns_that_say_the_same():
    values, _ = draw_values(120, 2)
    doubled = np.column_stack([values, 3 * values[:, 0], np.ones(120)])
    damage = values[:, 0]
    answer = predict_linearly(doubled, damage, deal(120))
    assert score_r2(damage, answer, np.zeros(120)) > 0.999
