import numpy as np
import pytest
from cycling_records import add_up, make_steps

from ncm_kedro.electrochemistry.capacity import integrate_records, pick_curves
from ncm_kedro.errors import TableError
from ncm_kedro.params.cycling import CyclingParams

TWO_CYCLES = [
    (1, 2.0, 3600.0, 1), (0, 0.0, 600.0, 1), (-1, 2.0, 3500.0, 1), (0, 0.0, 600.0, 1),
    (1, 2.0, 3450.0, 2), (0, 0.0, 600.0, 2), (-1, 2.0, 3400.0, 2),
]  # fmt: skip


@pytest.mark.parametrize("start", [True, False])
def test_constant_current_integrates_to_current_times_time(start):
    cycles, reasons = add_up(make_steps(TWO_CYCLES, start=start))
    missed = 0.0 if start else 60.0  # nothing is known of the time before the first record
    expected = 2.0 * np.array([3600.0 - missed, 3450.0]) / 3600.0
    np.testing.assert_allclose(cycles["charge_capacity_mah"], expected, rtol=1e-12)
    np.testing.assert_allclose(
        cycles["discharge_capacity_mah"], 2.0 * np.array([3500, 3400]) / 3600, rtol=1e-12
    )
    assert list(reasons) == ["", ""]


def test_a_falling_current_integrates_by_the_trapezoid_rule():
    series = make_steps([(1, 1.0, 3600.0, 1), (-1, 1.0, 3600.0, 1)])
    charging = series["current_ma"] > 0
    series.loc[charging, "current_ma"] = 3.0 - 2.0 * series["time_s"] / 3600.0
    cycles, _ = add_up(series)
    assert cycles["charge_capacity_mah"].item() == pytest.approx(2.0, rel=1e-12)


def test_a_rest_that_was_not_recorded_adds_no_charge():
    series = make_steps([step for step in TWO_CYCLES if step[0]])
    later = series["cycle"] == 2
    series.loc[later, "time_s"] += 5000.0
    cycles, reasons = add_up(series)
    assert cycles["charge_capacity_mah"].tolist() == pytest.approx([2.0, 2.0 * 3450 / 3600])
    assert list(reasons) == ["", ""]


def test_a_gap_within_a_half_cycle_leaves_the_cycle_out():
    series = make_steps(TWO_CYCLES)
    inside = (series["time_s"] > 1000.0) & (series["time_s"] < 2000.0)
    _, reasons = add_up(series[~inside].reset_index(drop=True))
    assert list(reasons) == ["no record for 1080 s within a half cycle", ""]
    assert list(add_up(series[~inside].reset_index(drop=True), gap_max_s=1100.0)[1]) == ["", ""]


def test_a_record_that_cannot_be_used_leaves_its_cycle_out():
    series = make_steps(TWO_CYCLES)
    series.loc[5, "usable"] = False
    assert list(add_up(series)[1]) == ["records that cannot be used: 1", ""]


def test_cycles_are_counted_from_the_current_where_no_column_gives_them():
    series = make_steps(TWO_CYCLES)
    expected = series["cycle"].to_numpy()
    records = integrate_records(series.assign(cycle=np.nan), CyclingParams())
    # The rest before a charge belongs to the cycle before it.
    np.testing.assert_array_equal(records["cycle"], expected)


def test_the_other_sign_convention_must_be_named():
    series = make_steps(TWO_CYCLES)
    series["current_ma"] *= -1.0
    with pytest.raises(TableError, match="positive_current"):
        add_up(series)
    cycles, _ = add_up(series, positive_current="discharge")
    assert cycles["charge_capacity_mah"].iloc[0] == pytest.approx(2.0)


def test_states_overrule_the_sign_of_the_current():
    series = make_steps(TWO_CYCLES)
    series["sign"] = np.sign(series["current_ma"])
    series["current_ma"] = series["current_ma"].abs()
    cycles, _ = add_up(series)
    assert cycles["discharge_capacity_mah"].iloc[0] == pytest.approx(2.0 * 3500 / 3600)


def test_a_file_that_ends_within_a_discharge_loses_its_last_cycle():
    steps = [(sign, 2.0, 3600.0, cycle) for cycle in range(1, 5) for sign in (1, -1)]
    series = make_steps(steps)
    assert list(add_up(series)[1]) == [""] * 4
    short = series[series["time_s"] < series["time_s"].max() - 1200.0]
    assert list(add_up(short)[1]) == ["", "", "", "the file ends before the discharge does"]
    charged = series[series["time_s"] < series["time_s"].max() - 3700.0]
    assert list(add_up(charged)[1])[-1] == "no discharge recorded"


def test_a_cycle_number_that_comes_back_gives_a_second_row():
    steps = [(sign, 2.0, 3600.0, cycle) for cycle in (1, 2, 1) for sign in (1, -1)]
    cycles, _ = add_up(make_steps(steps))
    assert list(cycles["cycle"]) == [1, 2, 1]


def test_curves_hold_picked_records_and_end_at_the_capacity():
    series = make_steps(TWO_CYCLES)
    params = CyclingParams(curve_cycles=(2, 7), curve_points=10)
    curves = pick_curves(integrate_records(series, params), params)
    assert curves.groupby(["cycle", "half"]).size().to_dict() == {
        (2, "charge"): 10,
        (2, "discharge"): 10,
    }
    charge = curves[curves["half"] == "charge"]
    assert charge["capacity_mah"].iloc[[0, -1]].tolist() == pytest.approx([0.0, 2 * 3450 / 3600])
    assert set(curves["voltage_v"]) <= set(series["voltage_v"])
