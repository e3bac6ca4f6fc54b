"""Statistics of the repeats: intervals, ranks, p-values and scores with known values."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ncm_kedro.damage.explaining import Explained
from ncm_kedro.damage.resampling import (
    AttributionProblem,
    Repeated,
    repeat_explanations,
)
from ncm_kedro.damage.significance import (
    IMPORTANCE_COLUMNS,
    NOISE,
    compare_importance,
    tabulate_attributes_alone,
    tabulate_importance,
    tabulate_ranks,
    tabulate_scores,
)
from ncm_kedro.params.damage_attribution import AttributionParams, DamageForestParams

FOREST = DamageForestParams(trees=20, max_leaves=16, feature_fraction=0.5)
PARAMS = AttributionParams(
    repeats=2, bootstraps=99, permutations=99, perturbations=4, resampled_trees=6,
    resampled_folds=2, folds=4, workers=2,
)  # fmt: skip
LABELS = ("driver", "brake", "pair", "idle")
MEMBERS = ("a", "b", "c, d", "e")
GROUPS = [[0], [1], [2, 3], [4]]


def pose(sample="cyc10", weights=(1.0, -0.6, 0.0, 0.0, 0.0), count=240, seed=0, noise=0.3):
    """Damage is linear in five attributes, of which c and d are alike."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, 5))
    values[:, 3] = values[:, 2] + 0.1 * values[:, 3]
    damage = 0.3 + 0.05 * (values @ np.array(weights) + noise * rng.normal(size=count))
    return AttributionProblem(
        sample=sample, values_np=values, uncertainty_np=np.zeros((count, 5)), damage=damage,
        damage_uncertainty=np.zeros(count), blocks=np.arange(count) * 12 // count, groups=GROUPS,
    )  # fmt: skip


def tabulate(problem, found, params=PARAMS):
    return tabulate_importance(problem, found, LABELS, MEMBERS, params)


def score(problem, found, params=PARAMS):
    return tabulate_scores(problem, found, params, np.random.default_rng(0))


def make_found(worth, draws, permuted, **changes):
    """Repeats of a single explanation whose parts of R2 are given: base 0, damage 1."""
    worth = np.array(worth, dtype=float)
    total = 1 - np.sqrt(1 - worth.sum())  # parts are shap * (2 - total)
    shap = np.tile(worth / (2 - total), (4, 1))
    explained = Explained(
        np.arange(4), np.ones(4), np.zeros(4), shap.sum(axis=1), (shap, np.zeros((4, 6)))
    )
    empty = np.empty((0, len(worth)))
    made = Repeated((explained,), np.zeros((1, 4)), np.array(draws, dtype=float),
                    np.array(permuted, dtype=float), np.zeros(19), empty)  # fmt: skip
    return replace(made, **changes)


@pytest.fixture(scope="module")
def linear():
    problem = pose()
    return problem, repeat_explanations([problem], FOREST, PARAMS)[0]


def test_p_values_count_the_worse_of_both_shares():
    draws = np.column_stack([np.linspace(-0.1, 0.5, 99), np.full(99, 0.1), np.zeros(99)])
    permuted = np.zeros((99, 3))
    permuted[:9, 1] = 0.2
    worth = [0.2, 0.1, 0.0]
    problem = replace(pose(count=4), groups=[[0], [1]])
    table = tabulate_importance(
        problem, make_found(worth, draws, permuted), ["a", "b"], ["a", "b"], PARAMS
    )
    np.testing.assert_allclose(table["explained"], worth, atol=1e-12)
    below = np.count_nonzero(draws[:, 0] <= 1e-12)
    assert below == 17
    np.testing.assert_allclose(table["p_value"], [18 / 100, 10 / 100, 1.0])
    np.testing.assert_allclose(table["q_value"], [0.18, 0.18, np.nan])
    assert table["group"].tolist() == ["a", "b", NOISE]


def test_parts_sum_to_the_r2_of_the_repeats(linear):
    problem, found = linear
    table = tabulate(problem, found)
    assert table["explained"].sum() == pytest.approx(np.mean([e.r2 for e in found.repeats]))
    alone = tabulate_attributes_alone(problem, found, list("abcde"))
    noise = np.mean([each.share_r2(1)[-1] for each in found.repeats])
    assert alone["explained"].sum() + noise == pytest.approx(table["explained"].sum())
    assert alone["attribute"].tolist() == list("abcde")


def test_drivers_are_found_with_their_signs_and_nothing_else_is(linear):
    problem, found = linear
    table = tabulate(problem, found)
    assert tuple(table.columns) == IMPORTANCE_COLUMNS
    assert table["group"].tolist()[:2] == ["driver", "brake"]
    assert table["group"].tolist()[-1] == NOISE
    assert table["significant"].tolist() == [True, True, False, False, False]
    assert table["p_value"].iloc[:2].max() == pytest.approx(0.01)
    directions = table.set_index("group")["direction"]
    assert directions["driver"] > 0.9
    assert directions["brake"] < -0.9
    alone = tabulate_attributes_alone(problem, found, list("abcde")).set_index("attribute")
    assert alone.loc["a", "direction"] == directions["driver"]


def test_intervals_are_ordered_and_hold_what_they_are_of(linear):
    table = tabulate(*linear)
    assert (table["explained_low"] < table["explained"]).all()
    assert (table["explained"] < table["explained_high"]).all()
    groups = table[table["kind"] == "group"]
    assert groups["rank"].tolist() == [1, 2, 3, 4]
    assert (groups["rank_low"] <= groups["rank"]).all()
    assert (groups["rank"] <= groups["rank_high"]).all()
    assert table.loc[4, ["rank", "rank_low", "rank_high", "q_value"]].isna().all()


def test_ranks_without_any_uncertainty_are_not_tabulated(linear):
    problem, found = linear
    none = tabulate_ranks(problem, found, LABELS)
    assert none.empty
    assert list(none.columns) == ["sample", "group", "draw", "rank", "explained"]
    unsure = replace(problem, uncertainty_np=np.full((240, 5), 0.01))
    told = tabulate_ranks(unsure, found, LABELS)
    assert len(told) == 4 * 4
    wide = told.pivot(index="draw", columns="group", values="rank")
    assert (np.sort(wide.to_numpy(), axis=1) == [1, 2, 3, 4]).all()
    assert (wide["driver"] == 1).all()
    rows = told.set_index(["draw", "group"])["explained"]
    assert rows[2, "pair"] == found.perturbed_ug[2, 2]


def test_a_loud_measurement_hides_a_driver():
    quiet = pose()
    loud = replace(quiet, uncertainty_np=np.full((240, 5), [4.0, 0, 0, 0, 0]))
    moved = repeat_explanations([loud], FOREST, PARAMS)[0]
    table = tabulate_ranks(loud, moved, LABELS)
    first = table[table["rank"] == 1]["group"]
    assert (first == "brake").all()


def test_samples_of_one_law_do_not_differ_and_those_of_two_laws_do():
    same = (1.0, -0.6, 0.0, 0.0, 0.0)
    other = (0.3, -1.0, 0.0, 0.0, 0.0)
    problems = [pose("a", same), pose("b", same, seed=1), pose("c", other, seed=2)]
    found = repeat_explanations(problems, FOREST, PARAMS)
    named = [(problem.sample, each) for problem, each in zip(problems, found, strict=True)]
    table = compare_importance(named, LABELS, PARAMS)
    assert table[["sample_a", "sample_b"]].drop_duplicates().to_numpy().tolist() == [
        ["a", "b"], ["b", "c"],
    ]  # fmt: skip
    alike = table[table["sample_a"] == "a"].set_index("group")
    assert ((alike["low"] < 0) & (alike["high"] > 0)).all()
    assert (alike["q_value"] > 0.05).all()
    differ = table[table["sample_a"] == "b"].set_index("group")
    assert differ.loc["driver", "high"] < 0
    assert differ.loc["brake", "low"] > 0
    assert (differ.loc[["driver", "brake"], "q_value"] <= 0.05).all()
    assert (differ.loc[["pair", "idle"], "p_value"] > 0.05).all()
    first, second = (
        tabulate(problem, each).set_index("group")["explained"]
        for problem, each in zip(problems[:2], found[:2], strict=True)
    )
    np.testing.assert_allclose(alike["difference"], (second - first)[alike.index])


def test_scores_of_a_linear_law(linear):
    problem, found = linear
    table = score(problem, found).set_index("model")
    assert table.index.tolist() == ["forest", "linear", "mean"]
    told = 1 - 0.3**2 / (1 + 0.6**2 + 0.3**2)  # what noise leaves
    assert table.loc["linear", "r2"] == pytest.approx(told, abs=0.02)
    assert 0.6 < table.loc["forest", "r2"] < table.loc["linear", "r2"]
    assert table.loc["linear", "mae"] == pytest.approx(0.05 * 0.3 * np.sqrt(2 / np.pi), rel=0.1)
    assert table.loc["mean", ["r2", "r2_low", "r2_high"]].tolist() == [0, 0, 0]
    for value in ("r2", "mae"):
        assert (table[f"{value}_low"] <= table[value]).all()
        assert (table[value] <= table[f"{value}_high"]).all()
    assert table["explains"].tolist() == [True, False, False]
    assert table.loc["forest", "p_value"] == pytest.approx(0.01)
    repeats = np.mean([each.r2 for each in found.repeats])
    assert table.loc["forest", "r2"] == pytest.approx(repeats, abs=0.005)


def test_a_score_that_shuffled_damage_beats_does_not_explain(linear):
    problem, found = linear
    lucky = replace(found, permuted_r2=np.where(np.arange(99) < 10, 0.99, -0.1))
    first = score(problem, lucky).iloc[0]
    assert first["r2_low"] > 0
    assert first["p_value"] == pytest.approx(0.11)
    assert not first["explains"]


@pytest.fixture(scope="module")
def null_worlds():
    """Damage that nothing drives, twenty times, in one run."""
    params = PARAMS.model_copy(update={"bootstraps": 20, "permutations": 19, "perturbations": 0})
    problems = [pose(f"null_{seed}", (0.0,) * 5, 120, seed, 1.0) for seed in range(20)]
    found = repeat_explanations(problems, FOREST, params)
    pairs = list(zip(problems, found, strict=True))
    return (
        found,
        pd.concat([tabulate(*pair, params) for pair in pairs]),
        pd.concat([score(*pair, params).iloc[:1] for pair in pairs]),
    )


def test_where_nothing_drives_damage_p_values_are_not_too_small(null_worlds):
    _, importance, _ = null_worlds
    p_values = importance["p_value"].to_numpy()
    for level in (0.05, 0.1, 0.2):
        assert (p_values <= level).mean() <= level + 2 * np.sqrt(level * (1 - level) / 100)


def test_where_nothing_drives_damage_permutations_are_beaten_by_chance_alone(null_worlds):
    shares = []
    for found in null_worlds[0]:
        worth = np.mean([each.share_r2() for each in found.repeats], axis=0)
        shares.extend((found.permuted_pg >= worth).mean(axis=0))
    assert np.mean(shares) == pytest.approx(0.5, abs=0.1)
    assert 0.04 < np.quantile(shares, 0.1) < 0.25


def test_where_nothing_drives_damage_the_forest_explains_nothing(null_worlds):
    _, _, scores = null_worlds
    assert scores["explains"].mean() <= 0.1
    assert scores["r2"].median() < 0
