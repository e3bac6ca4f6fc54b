import numpy as np
import pytest

from ncm_kedro.params.cycling import SyntheticCyclingParams
from ncm_kedro.synthetic.cycling import FADE_PERCENT, REST_S, make_cells, record_cycles


def test_the_same_seed_gives_the_same_files():
    params = SyntheticCyclingParams(cycles=4)
    first, second = make_cells(params), make_cells(params)
    assert first.files == second.files
    assert first.files != make_cells(params.model_copy(update={"seed": 1})).files


def test_without_noise_the_fade_is_exact():
    params = SyntheticCyclingParams(
        noise_percent=0.0, cell_spread_percent=0.0, cycles=20, interval_s=600.0
    )
    truth = make_cells(params).truth
    for composition, cells in truth.groupby("composition"):
        capacity = cells.groupby("cycle")["discharge_capacity_mah_g"].mean()
        lost = 100.0 * (1.0 - capacity / capacity[1])
        expected = FADE_PERCENT[composition] * np.arange(20)
        np.testing.assert_allclose(lost, expected, atol=1e-3)


def test_without_special_cases_nothing_is_planted():
    made = make_cells(SyntheticCyclingParams(cycles=4, special_cases=False))
    assert (made.truth["simulated"] == "").all()
    assert set(made.files) == {*made.truth["file"], "cells.csv"}


def test_a_record_lasts_as_long_as_its_charge_takes():
    truth = make_cells(SyntheticCyclingParams(cycles=3)).truth.query("cell_id == '811_cell1'")
    records = record_cycles(truth, 60.0)
    mass_g = truth["mass_mg"].iloc[0] / 1000.0
    charge_mah = mass_g * truth[["charge_capacity_mah_g", "discharge_capacity_mah_g"]].sum().sum()
    working_s = 3600.0 * charge_mah / records["current_ma"].max()
    assert records["time_s"].iloc[-1] == pytest.approx(working_s + 6 * REST_S)
