"""Uncertainties against the spread between complete particles."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ncm_kedro.particles.variants import compare_uncertainty


def make_table(**columns):
    count = len(next(iter(columns.values())))
    return pd.DataFrame({"touches_border": np.arange(count) == 0, **columns})


def test_ratio_is_median_uncertainty_over_quartiles():
    volume = np.array([1e9, 1.0, 2.0, 3.0, 4.0, 5.0, 9.0])
    moved = np.array([1e9, 0.1, 0.2, 0.3, 0.4, 0.5, np.nan])
    found = compare_uncertainty(make_table(volume_um3=volume, volume_um3_uncertainty=moved))
    (row,) = found.to_dict("records")
    assert (row["attribute"], row["n"]) == ("volume_um3", 5)
    assert [row[name] for name in ("uncertainty", "spread", "ratio")] == pytest.approx(
        [0.3, 2.0, 0.15]
    )


def test_what_does_not_differ_has_no_ratio():
    found = compare_uncertainty(
        make_table(
            damage=np.zeros(5),
            damage_uncertainty=np.full(5, 0.1),
            contact=np.full(5, np.nan),
            contact_uncertainty=np.full(5, np.nan),
        )
    ).set_index("attribute")
    assert found.loc["damage", ["n", "uncertainty", "spread"]].tolist() == [4, 0.1, 0.0]
    assert found.loc["contact", "n"] == 0
    assert found["ratio"].isna().all()


@pytest.mark.parametrize("mean", [-90.0, -31.0, 0.0, 60.0])
def test_axes_that_wrap_round_are_not_spread(mean):
    angles = np.array([0.0, -4.0, -2.0, 0.0, 2.0, 4.0]) + mean
    wrapped = (angles + 90.0) % 180.0 - 90.0
    found = compare_uncertainty(make_table(yaw_deg=wrapped, yaw_deg_uncertainty=np.ones(6)))
    assert found.loc[0, "spread"] == pytest.approx(4.0)


def test_without_uncertainties_there_is_no_row():
    assert compare_uncertainty(make_table(damage=np.ones(3))).empty
    empty = make_table(damage=np.ones(3), damage_uncertainty=np.ones(3))[:0]
    assert compare_uncertainty(empty)["n"].tolist() == [0]
