"""Correlations with damage against analytic values and oracles."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ncm_kedro.damage.latent.correlation import (
    DIFFERENCE_COLUMNS,
    INDEPENDENCE_CAVEAT,
    SAMPLE_COLUMNS,
    _resample_blocks,
    correlate_columns,
    correlate_damage,
    find_p_values,
)
from ncm_kedro.errors import SettingsError, TableError
from ncm_kedro.params.damage_attribution import DamageCorrelationParams
from ncm_kedro.particles.statistics import adjust_discoveries


def draw_rows(sample, slopes, count=1000, seed=0, blocks=20):
    """Damage of variance 1 and attributes of simulated correlation with it."""
    rng = np.random.default_rng(seed)
    damage = rng.normal(size=count)
    columns = {
        name: r * damage + np.sqrt(1 - r**2) * rng.normal(size=count) for name, r in slopes.items()
    }
    return pd.DataFrame(
        {"sample": sample, "particle_id": np.arange(count), "damage": damage, **columns,
         "block": np.arange(count) * blocks // count}
    )  # fmt: skip


def test_correlations_match_numpy_and_flat_columns_have_none():
    values = np.random.default_rng(0).normal(size=(40, 4)) + 1e3
    np.testing.assert_allclose(correlate_columns(values), np.corrcoef(values.T), atol=1e-9)
    values[:, 2] = 0.1
    found = correlate_columns(values)
    assert np.isnan(found[2]).all()
    assert np.isfinite(found[[0, 1, 3]][:, [0, 1, 3]]).all()
    assert np.isnan(correlate_columns(values[:1])).all()


def test_p_values_and_rates_know_what_is_not_defined():
    assert np.isnan(find_p_values(np.array([0.9]), 3)).all()
    assert find_p_values(np.array([1.0]), 10)[0] == 0
    found = adjust_discoveries(np.array([0.01, np.nan, 0.04, 0.02]))
    np.testing.assert_allclose(found, [0.03, np.nan, 0.04, 0.03])
    assert np.isnan(adjust_discoveries(np.array([np.nan]))).all()


def test_subsamples_have_the_mean_and_the_spread_of_theory():
    rows = draw_rows("s", {"a": 0.6, "b": 0.0}, count=4000)
    params = DamageCorrelationParams(draws=800, draw_size=500)
    table = correlate_damage(rows, ["a", "b"], params).by_sample
    assert tuple(table.columns) == SAMPLE_COLUMNS
    assert table["draw_size"].tolist() == [500, 500]
    for row in table.itertuples():
        # Delta method, with the correction for drawing without replacement.
        theory = (1 - row.r**2) / np.sqrt(500) * np.sqrt(1 - 500 / 4000)
        assert row.r_sd == pytest.approx(theory, rel=0.1)
        assert row.r_mean == pytest.approx(row.r, abs=4 * theory / np.sqrt(800) + 1e-3)
        assert row.r == pytest.approx(np.corrcoef(rows[row.attribute], rows["damage"])[0, 1])


def test_small_samples_draw_a_share():
    table = correlate_damage(draw_rows("s", {"a": 0.5}, count=100), ["a"],
                             DamageCorrelationParams()).by_sample  # fmt: skip
    assert table["draw_size"].tolist() == [80]
    assert table["r_sd"].item() > 0


def test_a_planted_change_is_found_and_no_other():
    rows = pd.concat([
        draw_rows("cyc10", {"a": 0.6, "b": 0.3, "c": 0.0}),
        draw_rows("cyc50", {"a": 0.1, "b": 0.3, "c": 0.0}, seed=1),
        draw_rows("cyc90", {"a": 0.1, "b": 0.3, "c": 0.0}, seed=2),
    ], ignore_index=True)  # fmt: skip
    found = correlate_damage(rows, ["a", "b", "c"], DamageCorrelationParams()).differences
    assert tuple(found.columns) == DIFFERENCE_COLUMNS
    assert found.attrs["caveat"] == INDEPENDENCE_CAVEAT
    pairs = found[["sample_a", "sample_b"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [["cyc10", "cyc50"], ["cyc50", "cyc90"]]
    assert (found["q_value"] <= 0.01).tolist() == [True] + [False] * 5
    change = found.iloc[0]
    assert change["difference_low"] < -0.5 < change["difference_high"] < 0
    assert change["difference_mean"] == pytest.approx(change["difference"], abs=0.05)
    rest = found.iloc[1:]
    assert ((rest["difference_low"] < rest["difference"])
            & (rest["difference"] < rest["difference_high"])).all()  # fmt: skip


def test_block_resamples_match_those_of_the_particles_themselves():
    rows = draw_rows("s", {"a": 0.5, "b": -0.2}, count=120, blocks=6)
    values = rows[["damage", "a", "b"]].to_numpy()
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    blocks, params = rows["block"].to_numpy(), DamageCorrelationParams(resamples=100)
    found = _resample_blocks(values, blocks, params, number=2)
    drawn = np.random.default_rng([params.seed, 2, 1]).multinomial(6, np.full(6, 1 / 6), size=100)
    for counts, r in zip(drawn[:10], found[:10], strict=True):
        together = np.concatenate([values[blocks == n] for n in range(6) for _ in range(counts[n])])
        np.testing.assert_allclose(r, np.corrcoef(together.T)[0, 1:], atol=1e-9)


def test_intervals_are_wider_where_neighbours_are_alike():
    rng = np.random.default_rng(0)
    independent = pd.concat([draw_rows(s, {"a": 0.0}, seed=n) for n, s in enumerate("pq")])
    shared = independent.copy()
    for column in ("damage", "a"):
        shared[column] += np.repeat(2 * rng.normal(size=40), 50)
    widths = []
    for rows in (independent, shared):
        found = correlate_damage(rows, ["a"], DamageCorrelationParams()).differences.iloc[0]
        widths.append(found["difference_high"] - found["difference_low"])
    assert widths[1] > 3 * widths[0]


def test_few_blocks_have_no_interval_and_one_sample_no_difference():
    params = DamageCorrelationParams()
    rows = pd.concat([draw_rows(s, {"a": 0.3}, blocks=4) for s in "pq"])
    found = correlate_damage(rows, ["a"], params).differences
    assert found[["difference_low", "difference_high"]].isna().all(axis=None)
    assert found["p_value"].notna().all()
    one = correlate_damage(rows[rows["sample"] == "p"], ["a"], params)
    assert one.differences.empty
    assert tuple(one.differences.columns) == DIFFERENCE_COLUMNS


def test_same_seed_same_numbers_and_a_sample_does_not_depend_on_later_ones():
    first, second = draw_rows("p", {"a": 0.3}), draw_rows("q", {"a": 0.3}, seed=1)
    params = DamageCorrelationParams()
    both = correlate_damage(pd.concat([first, second]), ["a"], params)
    again = correlate_damage(pd.concat([first, second]), ["a"], params)
    pd.testing.assert_frame_equal(both.differences, again.differences)
    alone = correlate_damage(first, ["a"], params).by_sample
    pd.testing.assert_frame_equal(both.by_sample.head(1), alone)


def test_tables_that_cannot_be_used_are_refused():
    rows, params = draw_rows("s", {"a": 0.3}), DamageCorrelationParams()
    with pytest.raises(SettingsError, match="target 'damage' among the attributes"):
        correlate_damage(rows, ["a", "damage"], params)
    with pytest.raises(TableError, match="without a block"):
        correlate_damage(rows.drop(columns="block"), ["a"], params)
    with pytest.raises(TableError, match="sample s: found 9 usable particles"):
        correlate_damage(rows.head(9), ["a"], params)
