"""Samples are compared by statistics with known values, and paired with the ground truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ncm_kedro.params.particle_features import ParticleFigureParams
from ncm_kedro.particles.columns import ATTRIBUTE_NAMES, find_unit, order_samples
from ncm_kedro.particles.statistics import (
    COMPARISON_COLUMNS,
    REPLICATE_CAVEAT,
    adjust_holm,
    bootstrap_median,
    compare_ranks,
    compare_samples,
    estimate_cliffs_delta,
    name_effect,
    pair_with_truth,
)

PARAMS = ParticleFigureParams(resamples=400)


def make_attributes(sample, count=80, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    values = {name: rng.gamma(4.0, 1.0, count) + shift for name in ATTRIBUTE_NAMES}
    return pd.DataFrame(
        {
            "sample": sample, "particle_id": np.arange(1, count + 1),
            "touches_border": np.arange(count) % 4 == 0, "voxel_count": 500,
            "orientation_defined": True, **values,
        }
    )  # fmt: skip


def list_cycles(**cycles):
    return pd.DataFrame({"sample": list(cycles), "cycles": list(cycles.values())}, dtype=object)


def test_samples_are_ordered_by_cycles_then_name():
    table = list_cycles(late=50.0, b=10.0, a=10.0, unknown=None)
    assert order_samples(["unknown", "late", "b", "a", "not listed"], table) == [
        "a", "b", "late", "not listed", "unknown",
    ]  # fmt: skip
    assert order_samples([], table) == []


def test_a_row_per_pair_and_attribute():
    tables = {name: make_attributes(name, seed=n) for n, name in enumerate(("late", "b", "a"))}
    found = compare_samples(tables, list_cycles(late=50.0, b=10.0, a=10.0), PARAMS)
    assert tuple(found.columns) == COMPARISON_COLUMNS
    pairs = list(dict.fromkeys(zip(found["sample_a"], found["sample_b"], strict=True)))
    assert pairs == [("a", "b"), ("a", "late"), ("b", "late")]
    assert tuple(found["attribute"][:24]) == ATTRIBUTE_NAMES
    assert found.attrs["caveat"] == REPLICATE_CAVEAT
    assert (found["n_a"] == 60).all()
    assert found.equals(compare_samples(tables, list_cycles(late=50.0, b=10.0, a=10.0), PARAMS))


def test_units_go_by_the_preset():
    tables = {"a": make_attributes("a"), "b": make_attributes("b")}
    assert find_unit("orientation_isotropy", tables) == "1"
    for table in tables.values():
        table.attrs["preset"] = "paper"
    assert find_unit("orientation_isotropy", tables) == "degree"
    assert find_unit("volume_um3", tables) == "um3"
    found = compare_samples(tables, list_cycles(a=1.0, b=2.0), PARAMS).set_index("attribute")
    assert found.loc["orientation_isotropy", "unit"] == "degree"
    assert found.loc["damage", "unit"] == "1"


def test_grey_values_have_the_unit_of_their_tomogram():
    tables = {"a": make_attributes("a"), "b": make_attributes("b")}
    assert find_unit("electron_density", tables) == "grey value"
    tables["a"].attrs["grey_unit"] = "e/A3"
    assert find_unit("electron_density", {"a": tables["a"]}) == "e/A3"
    assert find_unit("homogeneity", {"a": tables["a"]}) == "1/(e/A3)"
    mixed = find_unit("electron_density", tables)
    assert "e/A3" in mixed
    assert "grey value" in mixed
    assert find_unit("volume_um3", tables) == "um3"


def test_a_planted_shift_is_found_with_its_sign():
    tables = {"a": make_attributes("a", 400), "b": make_attributes("b", 400, seed=1)}
    tables["b"]["damage"] += 2.0
    found = compare_samples(tables, list_cycles(a=10.0, b=50.0), PARAMS).set_index("attribute")
    damage = found.loc["damage"]
    assert damage["difference_low"] < 2.0 < damage["difference_high"]
    assert damage["delta_low"] < damage["cliffs_delta"] < damage["delta_high"]
    assert damage["p_holm"] < 1e-6
    assert damage["effect"] == "large"
    others = found.drop(index=["damage", "yaw_deg", "pitch_deg", "roll_deg"])
    assert (others["p_holm"] > 0.05).all()
    swapped = compare_samples(tables, list_cycles(a=50.0, b=10.0), PARAMS).set_index("attribute")
    assert swapped.loc["damage", "cliffs_delta"] == pytest.approx(-damage["cliffs_delta"])


def test_border_particles_and_nulls_do_not_count():
    tables = {"a": make_attributes("a"), "b": make_attributes("b", seed=1)}
    clean = compare_samples(tables, list_cycles(a=1.0, b=2.0), PARAMS)
    for table in tables.values():
        table.loc[table["touches_border"], list(ATTRIBUTE_NAMES)] = 1e9
    pd.testing.assert_frame_equal(compare_samples(tables, list_cycles(a=1.0, b=2.0), PARAMS), clean)
    tables["a"]["contact"] = np.nan
    found = compare_samples(tables, list_cycles(a=1.0, b=2.0), PARAMS).set_index("attribute")
    assert found.loc["contact", "n_a"] == 0
    assert found.loc["contact", list(COMPARISON_COLUMNS[6:16])].isna().all()


def test_angles_have_no_order_and_are_not_tested():
    tables = {"a": make_attributes("a"), "b": make_attributes("b", seed=1)}
    found = compare_samples(tables, list_cycles(a=1.0, b=2.0), PARAMS).set_index("attribute")
    assert found.loc[["yaw_deg", "pitch_deg", "roll_deg"], "p_value"].isna().all()
    assert "not tested" in found.loc["roll_deg", "note"]
    known = found["p_value"].dropna()
    assert len(known) == 21
    np.testing.assert_allclose(found["p_holm"].dropna(), adjust_holm(known.to_numpy()))


@pytest.mark.parametrize("count", [0, 1])
def test_few_or_no_samples_and_particles(count):
    table = list_cycles(a=1.0, b=2.0)
    for samples in ({}, {"a": make_attributes("a", 9)}):
        empty = compare_samples(samples, table, PARAMS)
        assert len(empty) == 0
        assert tuple(empty.columns) == COMPARISON_COLUMNS
    few = {"a": make_attributes("a", 9), "b": make_attributes("b", 2 * count)}
    found = compare_samples(few, table, PARAMS)
    assert (found["n_b"] == count).all()
    assert found["cliffs_delta"].notna().sum() == 21 * count
    assert found["delta_low"].isna().all()


@pytest.mark.parametrize("count", [1, 2, 7, 12])
def test_medians_are_drawn_as_resampling_draws_them(count):
    values = np.random.default_rng(5).normal(size=count)
    drawn = bootstrap_median(values, 20_000, np.random.default_rng(1))
    rng = np.random.default_rng(2)
    resampled = np.median(values[rng.integers(0, count, (20_000, count))], axis=1)
    assert np.isin(np.round(drawn, 12), np.round((values[:, None] + values) / 2, 12)).all()
    shares = np.linspace(0.05, 0.95, 19)
    for share in np.quantile(resampled, shares):
        assert np.mean(drawn <= share + 1e-12) == pytest.approx(
            np.mean(resampled <= share + 1e-12), abs=0.02
        )


def test_cliffs_delta_counts_pairs():
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 9, 30).astype(float), rng.integers(2, 11, 21).astype(float)
    sign = np.sign(b[None, :] - a[:, None])
    delta, low, high = estimate_cliffs_delta(a, b, 0.95)
    assert delta == pytest.approx(sign.mean())
    assert -1.0 <= low < delta < high <= 1.0
    rank = stats.mannwhitneyu(b, a).statistic
    assert delta == pytest.approx(2 * rank / (len(a) * len(b)) - 1)
    back = estimate_cliffs_delta(b, a, 0.95)
    np.testing.assert_allclose(back, [-delta, -high, -low])


def test_interval_of_cliffs_delta_covers_it():
    rng = np.random.default_rng(4)
    true = 2 * stats.norm.cdf(0.6 / np.sqrt(2)) - 1
    held = 0
    for _ in range(400):
        _, low, high = estimate_cliffs_delta(rng.normal(size=40), rng.normal(0.6, size=30), 0.95)
        held += low <= true <= high
    assert 0.92 <= held / 400 <= 0.98


def test_samples_apart_have_a_one_sided_interval():
    delta, low, high = estimate_cliffs_delta(np.arange(40.0), np.arange(50.0, 90.0), 0.95)
    assert (delta, high) == (1.0, 1.0)
    assert 0.8 < low < 1.0
    assert estimate_cliffs_delta(np.arange(50.0, 90.0), np.arange(40.0), 0.95) == (-1.0, -1.0, -low)


def test_equal_values_do_not_differ():
    same = np.ones(30)
    assert compare_ranks(same, same) == 1.0
    delta, low, high = estimate_cliffs_delta(same, same, 0.95)
    assert delta == 0.0
    assert low < 0.0 < high


def test_holm_by_hand():
    found = adjust_holm(np.array([0.01, np.nan, 0.04, 0.03, 0.5]))
    np.testing.assert_allclose(found, [0.04, np.nan, 0.09, 0.09, 0.5])
    assert np.isnan(adjust_holm(np.array([np.nan]))).all()


@pytest.mark.parametrize(
    ("delta", "word"),
    [(0.1, "negligible"), (-0.2, "small"), (0.4, "medium"), (-0.9, "large"), (np.nan, "")],
)
def test_words_for_effects(delta, word):
    assert name_effect(delta) == word


def make_truth(count=12, seed=7):
    rng = np.random.default_rng(seed)
    centre = np.stack(np.meshgrid([5.0, 15.0], [5.0, 15.0], [5.0, 15.0, 25.0]), -1).reshape(-1, 3)
    truth = pd.DataFrame(centre[:count], columns=["z_um", "y_um", "x_um"])
    return truth.assign(
        sample="s", particle_id=np.arange(1, count + 1), diameter_um=6.0, damage=rng.random(count),
        elongation=1.2, contact_neighbours=np.arange(count) % 5, voxel_count=1000 + truth.index,
        touches_border=False,
    )  # fmt: skip


def measure_truth(truth, ids, moved_um=0.0):
    table = make_attributes("s", len(truth)).assign(touches_border=False, particle_id=ids)
    for name in ("z_um", "y_um", "x_um", "damage", "elongation"):
        table[name] = truth[name].to_numpy() + (moved_um if name == "x_um" else 0.0)
    details = pd.DataFrame(
        {
            "sample": "s", "particle_id": ids, "equivalent_diameter_um": 6.0,
            "touching_particles": truth["contact_neighbours"], "flags": "",
        }
    )  # fmt: skip
    return table, details


def test_numbers_pair_particles_of_the_same_labels():
    truth = make_truth()
    table, details = measure_truth(truth, truth["particle_id"].to_numpy())
    pairs = pair_with_truth(
        table.iloc[3:], details.iloc[3:], truth, same_labels=True, voxel_size_um=(0.4, 0.2, 0.2)
    )
    assert pairs["truth_id"].tolist() == pairs["particle_id"].tolist() == list(range(4, 13))
    np.testing.assert_allclose(pairs["volume_um3_true"], 0.016 * truth["voxel_count"][3:])
    np.testing.assert_allclose(pairs["z_um_true"] - pairs["z_um_measured"], 0.2)
    np.testing.assert_array_equal(pairs["damage_true"], pairs["damage_measured"])


def test_nearest_centres_pair_particles_of_other_labels():
    truth = make_truth()
    ids = np.arange(101, 113)
    table, details = measure_truth(truth, ids, moved_um=1.0)
    order = np.random.default_rng(0).permutation(12)
    pairs = pair_with_truth(table.iloc[order], details, truth, same_labels=False)
    assert (pairs["particle_id"] - 100 == pairs["truth_id"]).all()
    np.testing.assert_allclose(pairs["distance_um"], 1.0)
    np.testing.assert_array_equal(pairs["touching_particles_true"],
                                  pairs["touching_particles_measured"])  # fmt: skip
    np.testing.assert_allclose(pairs["volume_um3_true"], np.pi / 6 * 216.0)
    far, details = measure_truth(truth, ids, moved_um=4.0)
    assert len(pair_with_truth(far, details, truth, same_labels=False)) == 0


def test_a_piece_takes_no_partner_from_the_nearer_one():
    truth = make_truth(1)
    table, details = measure_truth(pd.concat([truth, truth]), np.array([1, 2]))
    table.loc[table["particle_id"] == 1, "x_um"] += 2.0
    pairs = pair_with_truth(table, details, truth, same_labels=False)
    assert pairs["particle_id"].tolist() == [2]


def test_no_particle_gives_no_pair():
    truth = make_truth()
    table, details = measure_truth(truth, truth["particle_id"].to_numpy())
    for same in (False, True):
        assert len(pair_with_truth(table[:0], details[:0], truth, same_labels=same)) == 0
        assert len(pair_with_truth(table, details, truth[:0], same_labels=same)) == 0
