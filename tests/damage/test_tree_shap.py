"""SHAP values of forests against an oracle and against all coalitions."""

from itertools import combinations
from math import factorial

import numpy as np
import pytest

from ncm_kedro.damage.forest import bin_values, grow_forest
from ncm_kedro.damage.tree_shap import explain_forest
from ncm_kedro.errors import SettingsError
from ncm_kedro.params.damage_attribution import DamageForestParams
from table_phantoms.oracle import make_explainer


def draw_problem(count, columns, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, columns))
    return values, values[:, 0] * values[:, 1] + np.abs(values[:, 2]) + rng.normal(size=count)


@pytest.mark.parametrize("settings", [{}, {"max_leaves": 300, "min_leaf": 1}, {"trees": 1}])
def test_values_are_those_of_the_shap_library(settings):
    values, target = draw_problem(300, 14)
    params = DamageForestParams(**{"trees": 8, "max_leaves": 16, **settings})
    forest = grow_forest(
        bin_values(values), target, np.arange(300), params, np.random.default_rng(0)
    )
    mine, base = explain_forest(forest, values[:60], [[n] for n in range(14)])
    np.testing.assert_allclose(mine, make_explainer(forest).shap_values(values[:60]), atol=1e-9)
    np.testing.assert_allclose(mine.sum(axis=1) + base, forest.predict(values[:60]), atol=1e-9)


def predict_conditional(forest, tree, node, row, known):
    """Prediction for a row of which some columns are known (Lundberg 2020, algorithm 1)."""
    feature = forest.feature[tree, node]
    if feature < 0:
        return forest.value[tree, node]
    left, right = forest.left[tree, node], forest.right[tree, node]
    if feature in known:
        nearer = left if row[feature] <= forest.threshold[tree, node] else right
        return predict_conditional(forest, tree, nearer, row, known)
    both = [
        forest.cover[tree, child] * predict_conditional(forest, tree, child, row, known)
        for child in (left, right)
    ]
    return sum(both) / forest.cover[tree, node]


def test_a_group_is_one_player_of_the_game():
    values, target = draw_problem(200, 6)
    params = DamageForestParams(trees=4, max_leaves=20, min_leaf=2, feature_fraction=1.0)
    forest = grow_forest(
        bin_values(values), target, np.arange(200), params, np.random.default_rng(0)
    )
    groups = [[0, 1], [2], [3, 4, 5]]
    mine, _ = explain_forest(forest, values[:5], groups)
    for row, found in zip(values[:5], mine, strict=True):
        for player in range(3):
            others = [n for n in range(3) if n != player]
            worth = 0.0
            for size in range(3):
                for coalition in combinations(others, size):
                    without = {c for n in coalition for c in groups[n]}
                    gain = np.mean(
                        [
                            predict_conditional(forest, t, 0, row, without | set(groups[player]))
                            - predict_conditional(forest, t, 0, row, without)
                            for t in range(4)
                        ]
                    )
                    worth += factorial(size) * factorial(2 - size) / factorial(3) * gain
            assert found[player] == pytest.approx(worth, abs=1e-12)


def test_rows_do_not_depend_on_their_company():
    values, target = draw_problem(2500, 4)
    forest = grow_forest(
        bin_values(values), target, np.arange(2500), DamageForestParams(trees=3),
        np.random.default_rng(0),
    )  # fmt: skip
    players = [[n] for n in range(4)]
    together, _ = explain_forest(forest, values, players)
    alone, _ = explain_forest(forest, values[2100:2101], players)
    np.testing.assert_allclose(together[2100], alone[0], atol=1e-14)


def test_a_stump_less_tree_shares_nothing_out():
    values, target = draw_problem(12, 3)
    params = DamageForestParams(trees=2, min_leaf=20)
    forest = grow_forest(
        bin_values(values), target, np.arange(12), params, np.random.default_rng(0)
    )
    worth, base = explain_forest(forest, values, [[0], [1], [2]])
    assert not worth.any()
    assert base == pytest.approx(forest.predict(values)[0])


def test_too_many_players_are_refused():
    values, target = draw_problem(50, 31)
    forest = grow_forest(
        bin_values(values), target, np.arange(50), DamageForestParams(trees=1),
        np.random.default_rng(0),
    )  # fmt: skip
    with pytest.raises(SettingsError, match="31 attributes"):
        explain_forest(forest, values, [[n] for n in range(31)])
