"""What the repeats are given: folds, drawn blocks, shuffled damage, moved values; and by whom."""

from dataclasses import replace

import numpy as np
import pytest

from ncm_kedro.damage import resampling
from ncm_kedro.damage.resampling import (
    AttributionProblem,
    repeat_cross_validation,
    repeat_explanations,
)
from ncm_kedro.params.damage_attribution import AttributionParams, DamageForestParams

FOREST = DamageForestParams(trees=6, max_leaves=8)
PARAMS = AttributionParams(
    repeats=2, bootstraps=20, permutations=19, perturbations=4, resampled_trees=5, seed=3
)


def pose(sample="cyc10", count=120, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, 4))
    damage = np.clip(0.2 + 0.1 * values[:, 0] + 0.02 * rng.normal(size=count), 0, 1)
    return AttributionProblem(
        sample=sample,
        values_np=values,
        uncertainty_np=np.full((count, 4), [0.0, 0.5, 2.0, 0.0]),
        damage=damage,
        damage_uncertainty=np.full(count, 0.05),
        blocks=np.arange(count) * 12 // count,
        groups=[[0], [1, 2], [3]],
    )


@pytest.fixture(scope="module")
def found():
    return repeat_explanations([pose()], FOREST, PARAMS)[0]


@pytest.fixture
def given(monkeypatch):
    """Every cross-validation: values, damage, folds and settings, in place of running it."""
    seen = []
    explain = resampling.explain_out_of_sample

    def record(values_np, damage, folds, players, **settings):
        seen.append((values_np, damage, folds, settings))
        return explain(values_np, damage, folds, players, **settings)

    monkeypatch.setattr(resampling, "explain_out_of_sample", record)
    return seen


def run_only(purpose, problem, **changes):
    """Run one kind of repeats."""
    params = PARAMS.model_copy(update={"workers": 1, **changes})
    work = getattr(resampling, f"_explain_{purpose}")
    return work(problem, FOREST, params, np.random.default_rng(1))


def test_there_are_as_many_as_asked_for_and_noise_is_last(found):
    assert found.bootstrap_bg.shape == (20, 4)
    assert found.permuted_pg.shape == (19, 4)
    assert found.perturbed_ug.shape == (4, 4)
    assert found.linear_rn.shape == (2, 120)
    assert [each.shap[0].shape for each in found.repeats] == [(120, 4)] * 2
    assert [each.shap[1].shape for each in found.repeats] == [(120, 5)] * 2
    for each in found.repeats:
        np.testing.assert_array_equal(each.rows, np.arange(120))
        np.testing.assert_array_equal(each.damage, pose().damage)
    assert found.bootstrap_bg[:, 0].min() > found.bootstrap_bg[:, 3].max()


@pytest.mark.parametrize("purpose", ["cross_validated", "permuted", "perturbed"])
def test_folds_never_share_a_block(given, purpose):
    problem = pose()
    run_only(purpose, problem)
    folds = given[0][2]
    for block in range(12):
        assert len(set(folds[problem.blocks == block])) == 1
    assert len(set(folds)) == (
        PARAMS.folds if purpose == "cross_validated" else PARAMS.resampled_folds
    )


def test_a_bootstrap_draws_whole_blocks_and_keeps_copies_in_one_fold(given):
    problem = pose()
    run_only("bootstrap", problem)
    values, damage, folds, _ = given[0]
    rows = np.array([int(np.flatnonzero(problem.values_np[:, 0] == v)[0]) for v in values[:, 0]])
    np.testing.assert_array_equal(values[:, :4], problem.values_np[rows])
    np.testing.assert_array_equal(damage, problem.damage[rows])
    counts = np.bincount(rows, minlength=120).reshape(12, 10)
    assert (counts == counts[:, :1]).all()
    assert counts[:, 0].sum() == 12
    for block in np.flatnonzero(counts[:, 0]):
        assert len(set(folds[problem.blocks[rows] == block])) == 1


def test_a_permutation_moves_damage_alone(given):
    problem = pose()
    run_only("permuted", problem)
    values, damage, _, settings = given[0]
    np.testing.assert_array_equal(values[:, :4], problem.values_np)
    np.testing.assert_array_equal(np.sort(damage), np.sort(problem.damage))
    assert (damage != problem.damage).mean() > 0.8
    assert settings["forest"].trees == PARAMS.resampled_trees


def test_a_perturbation_moves_values_within_their_uncertainty(given):
    problem = pose(count=2000)
    run_only("perturbed", problem)
    values, damage, _, _ = given[0]
    moved = values[:, :4] - problem.values_np
    assert not moved[:, [0, 3]].any()
    np.testing.assert_allclose(moved[:, 1:3].std(axis=0), [0.5, 2.0], rtol=0.1)
    assert 0 <= damage.min() <= damage.max() <= 1
    assert (damage - problem.damage).std() == pytest.approx(0.05, rel=0.1)


def test_shuffled_damage_is_not_explained(found):
    assert np.median(found.permuted_r2) < 0.05
    np.testing.assert_allclose(found.permuted_pg.sum(axis=1), found.permuted_r2, atol=1e-12)
    assert found.repeats[0].r2 > 0.5


def test_blocks_are_dealt_anew_for_every_repeat():
    whole = repeat_cross_validation([replace(pose())], FOREST, PARAMS)[0]
    (first, _), (second, _) = whole
    assert not np.array_equal(first.base, second.base)
