"""The sweep: its runs, its summary, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("ngsolve")

from half_cells import make_params

from ncm_kedro.contracts.half_cell import (
    HalfCellSweepCycles,
    HalfCellSweepRuns,
    HalfCellSweepSummary,
)
from ncm_kedro.errors import NcmError
from ncm_kedro.half_cell.measures import measure_synchrony
from ncm_kedro.half_cell.sweep import QUANTITIES, list_sweep, run_sweep, summarise_sweep
from ncm_kedro.params.half_cell.case import SweepParams
from ncm_kedro.plotting.half_cell import plot_sweep


def test_each_setting_changes_alone_and_electrodes_share_their_layouts() -> None:
    params = SweepParams(values={"load.c_rate": (1.0, 2.0)}, electrodes=3)
    runs = list_sweep(params)
    assert len(runs) == 9
    for (setting, value, electrode), case in runs.items():
        assert case.layout.seed == params.base.layout.seed + electrode
        assert case.load.c_rate == (params.base.load.c_rate if setting == "base" else value)
        assert case.material == params.base.material


@pytest.mark.parametrize("values", [{"load.rate": (1.0,)}, {"load.c_rate": (-1.0,)}])
def test_unknown_settings_and_impossible_values_are_refused(
    values: dict[str, tuple[float, ...]],
) -> None:
    with pytest.raises(NcmError, match=r"sweep\.values"):
        list_sweep(SweepParams(values=values))


def test_a_sweep_as_it_stands_has_room_for_its_electrodes() -> None:
    assert len(list_sweep(SweepParams(electrodes=20))) == 20 * 8


def test_layouts_without_room_end_a_sweep_before_its_first_run() -> None:
    with pytest.raises(NcmError, match="room"):
        list_sweep(SweepParams(values={"layout.width_um": (12.0,)}))


def test_copies_of_one_electrode_are_no_sweep() -> None:
    with pytest.raises(ValueError, match="random_particles"):
        SweepParams(base=make_params())


def test_a_sweep_whose_cells_all_die_has_tables_and_a_figure(tmp_path: Path) -> None:
    layout = {"random_particles": 1, "circles": [{"x_um": 3.0, "y_um": 3.0, "radius_um": 1.5}]}
    base = make_params(layout=layout, interface={"resistance_ohm_m2": 0.5})
    runs, cycles = run_sweep(SweepParams(base=base, electrodes=1, values={}), tmp_path)
    assert runs["end"].to_list() == ["dead"]
    summary = summarise_sweep(runs, cycles)
    for table, contract in (
        (runs, HalfCellSweepRuns), (cycles, HalfCellSweepCycles), (summary, HalfCellSweepSummary)
    ):  # fmt: skip
        contract.validate(table)
    assert summary.empty
    assert plot_sweep(summary).axes


def test_an_electrode_of_one_cycle_has_no_change() -> None:
    runs = pd.DataFrame({"run": [0, 1], "setting": "base", "value": np.nan})
    rows = [(0, 1, 0.5), (0, 2, 0.7), (1, 1, 0.5)]
    cycles = pd.DataFrame(
        [{"run": run, "cycle": cycle, **dict.fromkeys(QUANTITIES, x)} for run, cycle, x in rows]
    )
    change = summarise_sweep(runs, cycles).query("cycle == 0")
    assert (change["n"] == 1).all()
    change = change[change["quantity"].str.startswith("change")]
    np.testing.assert_allclose(change["mean"], 0.2)


def test_summary_averages_over_electrodes_with_an_interval() -> None:
    runs = pd.DataFrame({"run": [0, 1, 2], "setting": "base", "value": np.nan})
    quantities = dict.fromkeys(
        ("discharge_capacity", "activity_spread", "rank_correlation", "isolated_fraction",
         "damage_mean", "damage_spread"), 0.5,
    )  # fmt: skip
    cycles = pd.DataFrame(
        [
            {"run": run, "cycle": cycle, "synchrony": 0.6 + 0.1 * run + 0.05 * cycle, **quantities}
            for run in range(3)
            for cycle in (1, 2)
        ]
    )
    summary = summarise_sweep(runs, cycles)
    HalfCellSweepSummary.validate(summary)
    summary = summary.set_index(["cycle", "quantity"])
    first = summary.loc[(1, "synchrony")]
    assert first["mean"] == pytest.approx(0.75)
    assert first["high"] - first["mean"] == pytest.approx(4.303 * 0.1 / np.sqrt(3), rel=1e-3)
    change = summary.loc[(0, "change of synchrony")]
    assert change["mean"] == pytest.approx(0.05)
    assert change["n"] == 3


def test_convergence_is_the_way_back_from_where_particles_differed_most() -> None:
    """Synchrony falls to 0.5 and comes back to 0.7; damage spreads to 0.4 and stays there."""
    runs = pd.DataFrame({"run": [0], "setting": "base", "value": np.nan})
    course = {"synchrony": (0.9, 0.5, 0.7), "damage_spread": (0.0, 0.2, 0.4)}
    rows = [
        {"run": 0, "cycle": cycle + 1, **dict.fromkeys(QUANTITIES, 0.5)}
        | {name: values[cycle] for name, values in course.items()}
        for cycle in range(3)
    ]
    found = summarise_sweep(runs, pd.DataFrame(rows)).set_index("quantity")["mean"]
    assert found["return of synchrony"] == pytest.approx(0.2)
    assert found["return of damage_spread"] == pytest.approx(0.0)


def test_synchrony_is_one_for_equal_particles_and_one_nth_for_independent_ones() -> None:
    time = np.linspace(0.0, 1.0, 2001)
    signals = [np.sin(2 * np.pi * k * time) for k in (1, 2, 3, 4)]

    def table(values: list[np.ndarray]) -> pd.DataFrame:
        return pd.concat(
            pd.DataFrame({"time_s": time, "particle": n, "stoichiometry": one})
            for n, one in enumerate(values)
        )

    assert measure_synchrony(table([signals[0]] * 4)) == pytest.approx(1.0)
    assert measure_synchrony(table(signals)) == pytest.approx(0.25, abs=1e-3)


def test_synchrony_weighs_steps_by_their_length() -> None:
    """Of two straight lines over time, with steps that a thousandth or a third of it takes."""
    time = np.concatenate([np.linspace(0.0, 0.1, 101), np.linspace(0.4, 1.0, 3)])
    dense = np.linspace(0.0, 1.0, 4001)

    def measure(at: np.ndarray) -> float:
        return measure_synchrony(
            pd.concat(
                pd.DataFrame({"time_s": at, "particle": n, "stoichiometry": np.interp(at, *line)})
                for n, line in enumerate((([0, 1], [0, 1]), ([0, 0.4, 1], [0.2, 0.8, 0.2])))
            )
        )

    assert measure(time) == pytest.approx(measure(dense), abs=0.03)


@pytest.mark.slow
def test_a_sweep_is_the_same_for_any_workers_and_resumes(tmp_path: Path) -> None:
    base = make_params(
        layout={"random_particles": 1, "circles": [{"x_um": 3.0, "y_um": 3.0, "radius_um": 1.5}]},
        stepping={"tolerance": 0.5},
    )
    params = SweepParams(base=base, electrodes=2, values={"load.c_rate": (2.0,)})
    runs, cycles = run_sweep(params, tmp_path / "one")
    _, twice = run_sweep(params.model_copy(update={"workers": 2}), tmp_path / "two")
    pd.testing.assert_frame_equal(cycles, twice)
    assert list(runs["end"]) == ["complete"] * 4
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("*.npz")}
    assert len(files) == 8
    _, again = run_sweep(params, tmp_path / "one")
    pd.testing.assert_frame_equal(cycles, again)
    assert files == {path: path.stat().st_mtime_ns for path in files}
