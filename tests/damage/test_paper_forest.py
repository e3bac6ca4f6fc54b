"""The paper's forest finds simulated drivers, and its limits are shown."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ncm_kedro.damage.paper import (
    repeat_paper_forest,
    take_differences,
)
from ncm_kedro.errors import TableError
from ncm_kedro.params.damage_attribution import PaperForestParams

QUICK = PaperForestParams(preset="code", draws=2, seeds=2, draw_size=150, max_explained=40,
                          workers=1)  # fmt: skip


def make_rows(count=300, sample="a", driver=0.1, noise=0.01, seed=0):
    rng = np.random.default_rng(seed)
    attributes = {f"n{number}": rng.normal(size=count) for number in range(4)}
    moved = driver * rng.uniform(0, 1, count)
    damage = moved + noise * rng.normal(size=count)
    return pd.DataFrame({"sample": sample, **attributes, "driver": moved, "damage": damage})


NAMES = ["n0", "n1", "driver", "n2", "n3"]


@pytest.mark.parametrize("preset", ["text", "code"])
def test_a_planted_driver_comes_first(preset):
    params = QUICK.model_copy(update={"preset": preset, "max_explained": 20})
    table = repeat_paper_forest(make_rows(), NAMES, params)
    assert table.groupby(["strategy", "number"])["share"].sum().to_numpy() == pytest.approx(1.0)
    shares = table.groupby("attribute")["share"].mean()
    assert shares.idxmax() == "driver"
    assert shares.max() > 0.8
    assert (table["r2_test"] > 0.8).all()
    assert table.attrs["preset"] == preset
    assert table.attrs["max_explained"] == 20


def test_shap_of_a_single_attribute_is_the_distance_from_the_mean():
    rng = np.random.default_rng(1)
    driver = rng.uniform(0, 1, 400)
    rows = pd.DataFrame({"sample": "a", "driver": driver, "damage": driver})
    params = QUICK.model_copy(
        update={"preset": "text", "max_explained": 400, "draws": 1, "seeds": 1}
    )
    table = repeat_paper_forest(rows, ["driver"], params)
    assert table["share"].to_numpy() == pytest.approx(1.0)
    seeds = table[table["strategy"] == "seeds"]
    assert seeds["mean_abs_shap"].to_numpy() == pytest.approx(0.25, rel=0.05)


def test_noise_is_learnt_by_heart_and_still_gets_shares():
    rows = make_rows(driver=0.0, noise=0.1)
    params = QUICK.model_copy(update={"preset": "text"})
    table = repeat_paper_forest(rows, ["n0", "n1", "n2", "n3"], params)
    assert (table["share"] > 0.05).all()
    assert (table["mae_train"] < 0.6 * table["mae_mean"]).all()
    assert (table["r2_test"] < 0.2).all()


@pytest.mark.parametrize(("count", "drawn"), [(300, 150), (100, 76)])
def test_particles_are_drawn_or_all_taken(count, drawn):
    table = repeat_paper_forest(make_rows(count), NAMES, QUICK)
    sizes = table.groupby("strategy")["n_train"].unique()
    assert sizes["draws"].tolist() == [drawn]
    assert sizes["seeds"].tolist() == [round(0.95 * count)]
    assert set(table["n_test"]) == {round(0.05 * count)}
    assert table.groupby(["strategy", "number"]).ngroups == 4
    worth = table[table["attribute"] == "driver"]["mean_abs_shap"]
    assert worth.nunique() == 4


def test_a_sample_does_not_change_with_the_samples_beside_it():
    first, second = make_rows(), make_rows(sample="b", seed=5)
    alone = repeat_paper_forest(first, NAMES, QUICK)
    both = repeat_paper_forest(pd.concat([second, first]), NAMES, QUICK)
    assert list(both["sample"].unique()) == ["b", "a"]
    own = both[both["sample"] == "a"].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, alone)
    other = repeat_paper_forest(first, NAMES, QUICK.model_copy(update={"seed": 1}))
    assert not np.allclose(other["share"], alone["share"])


@pytest.mark.slow
def test_processes_change_nothing():
    alone = repeat_paper_forest(make_rows(), NAMES, QUICK)
    shared = repeat_paper_forest(make_rows(), NAMES, QUICK.model_copy(update={"workers": 2}))
    pd.testing.assert_frame_equal(shared, alone)


def test_differences_are_taken_forest_by_forest():
    shares = {"a": [0.2, 0.8, 0.4, 0.6], "b": [0.7, 0.3, 0.5, 0.5], "c": [0.5, 0.5, 0.5, 0.5]}
    table = pd.concat(
        pd.DataFrame(
            {
                "sample": sample, "strategy": ["draws", "draws", "seeds", "seeds"], "number": 0,
                "attribute": ["x", "y", "x", "y"], "share": values,
            }
        )
        for sample, values in shares.items()
    )  # fmt: skip
    found = take_differences(table)
    assert found[["sample_a", "sample_b"]].drop_duplicates().to_numpy().tolist() == [
        ["a", "b"], ["b", "c"],
    ]  # fmt: skip
    moved = found.query("sample_a == 'a' and attribute == 'x'").set_index("strategy")["difference"]
    assert moved["draws"] == pytest.approx(0.5)
    assert moved["seeds"] == pytest.approx(0.1)
    assert take_differences(table[table["sample"] == "a"]).empty


@pytest.mark.parametrize(
    ("rows", "names", "found"),
    [
        (make_rows().assign(n0=np.nan), NAMES, "n0"),
        (make_rows(), ["missing"], "missing"),
        (make_rows(), ["damage"], "damage"),
        (make_rows(), [], "predicting from"),
        (make_rows(12), NAMES, "12"),
        (make_rows(0), NAMES, "{}"),
    ],
)
def test_bad_rows_are_named(rows, names, found):
    with pytest.raises(TableError, match=found):
        repeat_paper_forest(rows, names, QUICK)
