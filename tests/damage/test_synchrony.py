"""Similarity of neighbours' damage: simulated fields, analytic graphs, brute force, chance."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest

from ncm_kedro.damage import autocorrelation as ns
from ncm_kedro.damage.grouping import assign_blocks
from ncm_kedro.damage.synchrony import QUANTITIES, evaluate_synchrony, measure_synchrony
from ncm_kedro.errors import TableError
from ncm_kedro.params.damage_attribution import AttributionParams

PARAMS = AttributionParams()
SIDE = 20


def make_ring(count):
    here = np.arange(count)
    return np.stack([here, (here + 1) % count], axis=1)


def make_sheet(sharing, seed, sample="a", side=SIDE):
    """Make particles on a square grid; each one's damage shares in its four neighbours'."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(side, side))
    near = sum(np.roll(own, shift, axis) for shift in (-1, 1) for axis in (0, 1))
    places = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1)
    centres = 5.0 * places.reshape(-1, 2) + rng.uniform(0, 0.5, (side * side, 2))
    return pd.DataFrame({
        "sample": sample, "particle_id": np.arange(1, side**2 + 1),
        "block": assign_blocks(centres, 16),
        "damage": 1 / (1 + np.exp(2 - 0.5 * (own + sharing * near).ravel())),
        "z_um": 1.0, "y_um": centres[:, 0], "x_um": centres[:, 1],
    })  # fmt: skip


def touch_sheet(side=SIDE):
    number = np.arange(1, side**2 + 1).reshape(side, side)
    pairs = np.concatenate([
        np.stack([number[1:].ravel(), number[:-1].ravel()], axis=1),
        np.stack([number[:, 1:].ravel(), number[:, :-1].ravel()], axis=1),
    ])  # fmt: skip
    both = np.concatenate([pairs, pairs[:, ::-1]])
    return pd.DataFrame(both, columns=["particle_id", "neighbour_id"]).assign(area_um2=1.0)


def join_sheets(first, second):
    return pd.concat([first, second.assign(block=second["block"] + 100)], ignore_index=True)


def pick(table, quantity="morans_i", sample="a"):
    own = table[table["sample_b"].isna() & (table["sample_a"] == sample)]
    return own.set_index("quantity").loc[quantity]


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr(ns, "PERMUTATIONS", 9)


@pytest.mark.parametrize("count", [8, 30, 200])
def test_waves_on_a_ring_have_the_analytic_value(count):
    ring, place = make_ring(count), np.arange(count)
    wave = 3.0 + np.cos(2 * np.pi * place / count)
    assert ns.measure_moran(wave, ring) == pytest.approx(np.cos(2 * np.pi / count))
    assert ns.measure_moran((-1.0) ** place, ring) == pytest.approx(-1.0)
    assert ns.measure_pair_difference((-1.0) ** place, ring) == pytest.approx(
        2 * (count - 1) / count
    )


def test_brute_force_over_all_pairs():
    rng = np.random.default_rng(3)
    values = rng.exponential(size=40)
    weights = np.triu(rng.random((40, 40)) < 0.1, 1)
    weights[:, 7] = weights[7] = False  # a particle on its own
    pairs = np.argwhere(weights)
    both = (weights | weights.T).astype(float)
    z = values - values.mean()
    moran = 40 / both.sum() * sum(
        both[i, j] * z[i] * z[j] for i in range(40) for j in range(40)
    ) / (z**2).sum()  # fmt: skip
    apart = np.abs(values[:, None] - values)
    ratio = apart[weights].mean() / apart[~np.eye(40, dtype=bool)].mean()
    assert ns.measure_moran(values, pairs) == pytest.approx(moran)
    assert ns.measure_pair_difference(values, pairs) == pytest.approx(ratio)


def test_expectations_hold_over_all_permutations():
    pairs = np.array([[0, 1], [1, 2], [2, 3], [0, 3], [1, 3]])
    values = np.array([0.1, 0.0, 0.7, 0.3, 0.35, 0.9])
    dealt = [np.array(order) for order in permutations(values)]
    assert np.mean([ns.measure_moran(v, pairs) for v in dealt]) == pytest.approx(-1 / 5)
    assert np.mean([ns.measure_pair_difference(v, pairs) for v in dealt]) == pytest.approx(1.0)


def test_p_values_are_uniform_without_sharing():
    rng = np.random.default_rng(0)
    pairs = ns.list_nearest(rng.uniform(size=(40, 3)))
    drawn = [
        ns.permute_field({"damage": rng.beta(1, 6, 40)}, pairs, rng) for _ in range(100)
    ]  # fmt: skip
    for name in ("morans_i", "morans_i_ranks", "pair_difference"):
        p_values = np.array([found[name] for found in drawn])
        assert kstest(p_values, "uniform").pvalue > 0.001
        assert (p_values <= 0.05).mean() < 0.10


def test_sharing_is_found_and_chance_is_not():
    contacts = {"a": touch_sheet()}
    shared = measure_synchrony(make_sheet(0.5, 1), contacts, None, PARAMS)
    alone = measure_synchrony(make_sheet(0.0, 2), contacts, None, PARAMS)
    for name in ("morans_i", "morans_i_ranks"):
        row = pick(shared, name)
        assert row["low"] > 0.3
        assert row["p_value"] == pytest.approx(0.002)
        assert row["expected"] == pytest.approx(-1 / (SIDE**2 - 1))
        chance = pick(alone, name)
        assert chance["low"] < 0 < chance["high"]
        assert chance["p_value"] > 0.05
    assert pick(shared, "pair_difference")["high"] < 0.9
    assert pick(shared)["n_pairs"] == 2 * SIDE * (SIDE - 1)
    assert pick(shared)["graph"] == "contact"


def test_checkerboard_repels():
    sheet = make_sheet(0.0, 2)
    board = np.indices((SIDE, SIDE)).sum(axis=0).ravel() % 2
    table = measure_synchrony(
        sheet.assign(damage=0.2 + 0.1 * board), {"a": touch_sheet()}, None, PARAMS
    )
    assert pick(table)["value"] == pytest.approx(-1.0)
    assert pick(table)["p_value"] == pytest.approx(0.002)


def test_what_a_gradient_explains_is_not_in_the_residual():
    sheet = make_sheet(0.0, 4)
    noise = 0.02 * np.random.default_rng(5).normal(size=len(sheet))
    sloped = sheet.assign(damage=0.1 + 0.004 * sheet["x_um"] + noise)
    table = measure_synchrony(sloped, {"a": touch_sheet()}, noise, PARAMS)
    assert pick(table)["value"] > 0.8
    assert abs(pick(table, "morans_i_residual")["value"]) < 0.1
    assert pick(table, "morans_i_residual")["p_value"] > 0.05
    assert set(table["quantity"]) == set(QUANTITIES)


@pytest.mark.usefixtures("few_draws")
def test_intervals_hold_the_true_value():
    contacts = {"a": touch_sheet()}
    for sharing in (0.0, 0.4):
        rows = [
            pick(measure_synchrony(make_sheet(sharing, seed), contacts, None, PARAMS))
            for seed in range(30)
        ]
        true = np.mean([row["value"] for row in rows])
        covered = np.mean([row["low"] <= true <= row["high"] for row in rows])
        assert covered >= 0.86


@pytest.mark.usefixtures("few_draws")
def test_differences_are_found_only_where_there_are_any():
    contacts = {"a": touch_sheet(), "b": touch_sheet()}
    found = []
    for seed in range(25):
        rows = join_sheets(make_sheet(0.3, seed), make_sheet(0.3, 1000 + seed, "b"))
        table = measure_synchrony(rows, contacts, None, PARAMS)
        row = table[table["sample_b"].notna()].set_index("quantity").loc["morans_i"]
        assert (row["p_value"] < 0.05) == (row["low"] > 0 or row["high"] < 0)
        found.append(row["p_value"] < 0.05)
    assert np.mean(found) <= 0.13


def test_verdicts():
    contacts = {"a": touch_sheet(), "b": touch_sheet()}
    alone, shared = make_sheet(0.0, 1), make_sheet(0.5, 2)

    def evaluate(first, second, **more):
        rows = join_sheets(first, second.assign(sample="b"))
        return evaluate_synchrony(measure_synchrony(rows, contacts, None, PARAMS, **more))

    up = evaluate(alone, shared)
    assert "more synchronous from a to b, which supports the paper's claim" in up
    assert "a difference of +0." in up
    assert "the opposite of the paper's claim" in evaluate(shared, alone)
    assert "cannot be told: Moran's I" in evaluate(shared, make_sheet(0.5, 3))
    assert "no two samples" in evaluate(alone, shared, comparable=False)
    flat = alone.assign(damage=0.1)
    assert "not defined" in evaluate(flat, shared)


def test_few_contacts_give_way_to_the_six_nearest_in_all_samples():
    rows = join_sheets(make_sheet(0.5, 1), make_sheet(0.5, 2, "b"))
    few = touch_sheet()
    few = few[(few["particle_id"] < 150) & (few["neighbour_id"] < 150)]
    table = measure_synchrony(rows, {"a": touch_sheet(), "b": few}, None, PARAMS)
    assert set(table["graph"]) == {"six nearest"}
    assert pick(table, sample="b")["p_value"] == pytest.approx(0.002)
    missing = measure_synchrony(rows, {}, None, PARAMS)
    pd.testing.assert_frame_equal(missing, table)


def test_nearest_are_symmetric_and_hold_each_ones_six():
    centres = np.random.default_rng(0).uniform(size=(50, 3))
    pairs = {tuple(pair) for pair in ns.list_nearest(centres).tolist()}
    distance = np.linalg.norm(centres[:, None] - centres, axis=2)
    nearest = np.argsort(distance, axis=1)[:, 1:7]
    expected = {tuple(sorted((i, int(j)))) for i in range(50) for j in nearest[i]}
    assert pairs == expected


def test_contacts_with_particles_that_are_not_used_do_not_count():
    contacts = pd.DataFrame({"particle_id": [9, 4, 4, 9, 5], "neighbour_id": [4, 9, 5, 7, 4]})
    pairs = ns.list_contacts(np.array([4, 9, 7]), contacts)
    assert pairs.tolist() == [[0, 1], [1, 2]]


def test_spread_of_damage():
    sheet = make_sheet(0.3, 1)
    table = measure_synchrony(sheet, {"a": touch_sheet()}, None, PARAMS)
    damage = sheet["damage"]
    assert pick(table, "spread")["value"] == pytest.approx(damage.std())
    assert pick(table, "spread_relative")["value"] == pytest.approx(damage.std() / damage.mean())
    lower, upper = damage.quantile([0.25, 0.75])
    logit = np.log(upper / (1 - upper)) - np.log(lower / (1 - lower))
    assert pick(table, "spread_logit")["value"] == pytest.approx(logit)
    assert np.isnan(pick(table, "spread")["expected"])
    intact = sheet.assign(damage=damage.where(damage > damage.quantile(0.4), 0.0))
    row = pick(measure_synchrony(intact, {"a": touch_sheet()}, None, PARAMS), "spread_logit")
    assert np.isnan([row["value"], row["low"], row["high"]]).all()


def test_same_seed_gives_the_same_table(tmp_path):
    rows, contacts = make_sheet(0.2, 1), {"a": touch_sheet()}
    first = measure_synchrony(rows, contacts, None, PARAMS)
    pd.testing.assert_frame_equal(first, measure_synchrony(rows, contacts, None, PARAMS))
    first.to_parquet(tmp_path / "table.parquet")
    assert evaluate_synchrony(pd.read_parquet(tmp_path / "table.parquet")) == evaluate_synchrony(
        first
    )


@pytest.mark.parametrize("residuals", [np.zeros(3), np.full(SIDE**2, np.nan)])
def test_residuals_must_fit(residuals):
    with pytest.raises(TableError, match="residuals"):
        measure_synchrony(make_sheet(0.0, 1), {}, residuals, PARAMS)
