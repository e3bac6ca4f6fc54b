"""Attribution end to end on phantoms of a known model: drivers, leakage, invariances."""

from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

from ncm_kedro.damage.attribution import attribute_damage, build_problem
from ncm_kedro.damage.preparation import prepare_damage
from ncm_kedro.damage.significance import NOISE
from ncm_kedro.params.damage_attribution import (
    AttributionParams,
    DamageForestParams,
    DamageTableParams,
)
from ncm_kedro.params.tomo_phantoms import DamageLawParams
from table_phantoms.params import ParticleTableParams
from table_phantoms.tables import draw_particle_tables

FOREST = DamageForestParams(trees=15, max_leaves=32)
FEW = AttributionParams(
    repeats=1, folds=3, bootstraps=20, permutations=19, perturbations=2, resampled_trees=5,
    resampled_folds=2, workers=1,
)  # fmt: skip
DRIVERS = {"z_um": -1, "contact": 1, "volume_um3": 1}


def draw_data(particles=200, **world):
    phantom = draw_particle_tables(ParticleTableParams(particles=particles, **world), 5)
    return prepare_damage(
        phantom.attributes, phantom.details, phantom.table, DamageTableParams(blocks=12)
    )


def pick(data, sample):
    return replace(data, rows=data.rows[data.rows["sample"] == sample], samples=(sample,))


def assert_same(first, second, sample):
    for field in fields(first):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if field.name != "differences":
            a, b = (t[t["sample"] == sample].reset_index(drop=True) for t in (a, b))
        pd.testing.assert_frame_equal(a, b)


@pytest.fixture(scope="module")
def simulated():
    """Two samples of 500 particles, with a known error of measurement."""
    data = draw_data(500, measurement_noise=0.02)
    params = FEW.model_copy(update={"repeats": 2, "bootstraps": 79, "permutations": 79})
    return data, attribute_damage(data, DamageForestParams(trees=30), params)


@pytest.fixture(scope="module")
def small():
    data = draw_data()
    return data, attribute_damage(data, FOREST, FEW)


def test_planted_drivers_are_found_in_both_samples(simulated):
    data, found = simulated
    for sample in ("cyc10", "cyc50"):
        table = found.importance[found.importance["sample"] == sample]
        assert set(DRIVERS) <= set(", ".join(table["members"].head(3)).split(", "))
        assert table["significant"].head(3).all()
        alone = found.attributes[found.attributes["sample"] == sample].set_index("attribute")
        for driver, sign in DRIVERS.items():
            assert sign * alone.loc[driver, "direction"] > 0.8
    scores = found.scores[found.scores["model"] == "forest"]
    assert scores["explains"].all()
    assert tuple(scores["sample"]) == data.samples == ("cyc10", "cyc50")


def test_noise_is_not_found(simulated):
    _, found = simulated
    noise = found.importance[found.importance["kind"] == "noise"]
    assert noise["group"].tolist() == [NOISE, NOISE]
    assert (noise["explained"].abs() < 0.02).all()
    assert (noise["p_value"] > 0.05).all()
    away = found.importance["members"].isin(["elongation", "roughness_outer"])
    assert away.sum() == 4
    assert not found.importance.loc[away, "significant"].any()


def test_shap_values_and_base_sum_to_the_prediction_of_every_particle(simulated):
    data, found = simulated
    assert found.shap["particle_id"].tolist() == data.rows["particle_id"].tolist()
    answer = found.shap["base"] + found.shap[list(data.inputs)].sum(axis=1)
    beside = found.shap["prediction"] - answer  # what the column of noise was given
    assert beside.abs().max() < 0.1 * found.shap["prediction"].std()
    for sample, part in found.shap.groupby("sample"):
        missed = ((part["damage"] - part["prediction"]) ** 2).mean()
        told = found.importance.loc[found.importance["sample"] == sample, "explained"].sum()
        assert 1 - missed / part["damage"].var(ddof=0) == pytest.approx(told, abs=0.02)


def test_what_holds_the_damage_raises_r2_and_is_kept_apart(simulated):
    data, found = simulated
    assert "surface_inner_um2" in data.leaking
    for sample, table in found.leaks.groupby("sample"):
        told = table.set_index("members")["explained"]
        assert told.rank(ascending=False)["surface_inner_um2"] <= 3
        assert told.sum() == pytest.approx(table["r2"].iloc[0], abs=0.01)
        own = found.importance[found.importance["sample"] == sample]
        assert table["r2"].iloc[0] > own["explained"].sum() + 0.02
    assert not found.importance["members"].str.contains("surface_inner").any()


def test_damage_itself_among_the_leaks_comes_first(small):
    data, found = small
    spoilt = data.rows.assign(surface_inner_um2=data.rows["damage"] ** 2)
    spoilt.loc[spoilt["damage"] < 0.05, "surface_inner_um2"] = np.nan
    told = attribute_damage(replace(data, rows=spoilt), FOREST, FEW)
    for _, table in told.leaks.groupby("sample"):
        assert table["members"].iloc[0] == "surface_inner_um2"
        assert table["leaking"].iloc[0]
        assert table["explained"].iloc[0] > 2 * table["explained"].iloc[1:].max()
    pd.testing.assert_frame_equal(told.importance, found.importance)


def test_a_problem_is_the_rows_of_its_sample(simulated):
    data, _ = simulated
    problem = build_problem(data, "cyc50")
    rows = data.rows[data.rows["sample"] == "cyc50"]
    np.testing.assert_array_equal(problem.values_np, rows[list(data.inputs)])
    column = data.inputs.index("contact")
    np.testing.assert_array_equal(problem.uncertainty_np[:, column], rows["contact_uncertainty"])
    assert not problem.uncertainty_np[:, data.inputs.index("z_um")].any()
    assert [tuple(data.inputs[c] for c in group) for group in problem.groups] == list(data.groups)


def test_number_of_threads_changes_nothing(small):
    data, found = small
    again = attribute_damage(data, FOREST, FEW.model_copy(update={"workers": 3}))
    for sample in data.samples:
        assert_same(found, again, sample)


def test_samples_beside_change_nothing(small):
    data, found = small
    alone = attribute_damage(pick(data, "cyc50"), FOREST, FEW)
    assert alone.differences.empty
    assert_same(replace(found, differences=alone.differences), alone, "cyc50")


def test_samples_that_cannot_be_compared_are_not(small):
    data, found = small
    assert found.differences["group"].nunique() == len(data.groups)
    apart = attribute_damage(replace(data, comparable=False), FOREST, FEW)
    assert apart.differences.empty
    assert_same(replace(found, differences=apart.differences), apart, "cyc10")


def test_a_world_without_drivers_is_not_explained():
    data = draw_data(law=DamageLawParams(depth=0, contact=0, size=0))
    found = attribute_damage(pick(data, "cyc10"), FOREST, FEW)
    assert not found.scores["explains"].any()
    assert not found.importance["significant"].any()
