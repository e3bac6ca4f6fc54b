"""The forest of small trees: what it learns, and that it is the same whoever grows it."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from ncm_kedro.damage.forest import MAX_BINS, Forest, bin_values, grow_forest
from ncm_kedro.errors import ModelError
from ncm_kedro.params.damage_attribution import DamageForestParams


def draw_problem(count, seed, columns=8):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, columns))
    signal = np.sin(2 * values[:, 0]) + values[:, 1] * (values[:, 2] > 0)
    return values, signal + 0.3 * rng.normal(size=count)


def test_a_step_is_found_at_its_place():
    values = np.arange(60.0)[:, None]
    target = (values[:, 0] > 19.5).astype(float)
    params = DamageForestParams(trees=20, max_leaves=2, min_leaf=1)
    grown = grow_forest(bin_values(values), target, np.arange(60), params, np.random.default_rng(0))
    np.testing.assert_allclose(grown.threshold[:, 0], 19.5, atol=2)
    np.testing.assert_allclose(grown.predict(np.array([[0.0], [59.0]])), [0, 1])


def test_it_predicts_as_well_as_scikit_learn():
    values, target = draw_problem(1500, 1)
    unseen, truth = draw_problem(1500, 2)
    params = DamageForestParams()
    mine = grow_forest(
        bin_values(values), target, np.arange(1500), params, np.random.default_rng(0)
    ).predict(unseen)
    peer = RandomForestRegressor(
        100, max_leaf_nodes=64, min_samples_leaf=5, max_features=1 / 3, random_state=0
    )
    peer.fit(values, target)
    error = ((mine - truth) ** 2).mean()
    peer_error = ((peer.predict(unseen) - truth) ** 2).mean()
    assert error < 1.05 * peer_error
    assert error < 0.45 * truth.var()


def test_nodes_hold_what_they_say():
    values, target = draw_problem(400, 3)
    params = DamageForestParams(trees=5, max_leaves=16, min_leaf=7)
    grown = grow_forest(
        bin_values(values), target, np.arange(400), params, np.random.default_rng(0)
    )
    split = grown.feature >= 0
    trees = np.nonzero(split)[0]
    below = grown.cover[trees, grown.left[split]], grown.cover[trees, grown.right[split]]
    np.testing.assert_array_equal(below[0] + below[1], grown.cover[split])
    assert min(below[0].min(), below[1].min()) >= 7
    means = grown.value[trees, grown.left[split]], grown.value[trees, grown.right[split]]
    mixed = (below[0] * means[0] + below[1] * means[1]) / grown.cover[split]
    np.testing.assert_allclose(mixed, grown.value[split])
    assert (split.sum(axis=1) <= 15).all()


def test_same_seed_same_forest_and_files_keep_it():
    values, target = draw_problem(300, 4)
    params = DamageForestParams(trees=10)
    first, second = (
        grow_forest(bin_values(values), target, np.arange(300), params, np.random.default_rng(9))
        for _ in range(2)
    )
    for name, array in first.to_arrays().items():
        np.testing.assert_array_equal(array, getattr(second, name))
    again = Forest.from_arrays(first.to_arrays())
    np.testing.assert_array_equal(again.predict(values), second.predict(values))


def test_unlisted_rows_teach_nothing():
    values, target = draw_problem(300, 5)
    spoilt = target.copy()
    spoilt[200:] = 1e6
    params = DamageForestParams(trees=10)
    grown = [
        grow_forest(bin_values(values), y, np.arange(200), params, np.random.default_rng(0))
        for y in (target, spoilt)
    ]
    np.testing.assert_array_equal(grown[0].predict(values), grown[1].predict(values))


def test_constant_and_tied_columns():
    values = np.column_stack([np.zeros(90), np.repeat([0.0, 1.0, 2.0], 30)])
    target = np.repeat([1.0, 5.0, 2.0], 30)
    bins = bin_values(values)
    assert [len(edges) for edges in bins.edges] == [0, 2]
    params = DamageForestParams(trees=30, feature_fraction=0.5)
    grown = grow_forest(bins, target, np.arange(90), params, np.random.default_rng(0))
    answer = grown.predict(np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 2.0]]))
    np.testing.assert_allclose(answer, [1, 5, 2], atol=1e-12)


def test_bins_hold_equal_counts_and_edges_lie_between_values():
    values = np.random.default_rng(0).lognormal(size=(5000, 1))
    bins = bin_values(values)
    counts = np.bincount(bins.bins_pn[0], minlength=MAX_BINS)
    assert len(counts) == MAX_BINS
    assert counts.max() - counts.min() <= 2
    below = values[:, 0][:, None] <= bins.edges[0]
    np.testing.assert_array_equal((~below).sum(axis=1), bins.bins_pn[0])


def test_a_value_that_is_no_number_is_refused():
    with pytest.raises(ModelError, match="column 1"):
        bin_values(np.array([[0.0, np.nan], [1.0, 2.0]]))
