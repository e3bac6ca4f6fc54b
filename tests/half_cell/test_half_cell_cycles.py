"""Whole half-cycles: balance, symmetry, checkpoints, how a cell ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("ngsolve")

from half_cells import make_cell, make_params

from ncm_kedro.contracts.half_cell import (
    HalfCellCycles,
    HalfCellDebonding,
    HalfCellParticles,
    HalfCellSteps,
)
from ncm_kedro.errors import NcmError
from ncm_kedro.half_cell.cell import SCALES, build_cell
from ncm_kedro.half_cell.cycle import CaseResult, run_case, tabulate_case, tabulate_steps
from ncm_kedro.half_cell.measures import (
    PARTICLE_QUANTITIES,
    Gauge,
    order_debonding,
    summarise_cycles,
    tabulate_particles,
)
from ncm_kedro.half_cell.solve import Stepper
from ncm_kedro.params.half_cell.case import HalfCellParams

ACTIVITY = PARTICLE_QUANTITIES.index("activity")


def run(params: HalfCellParams, folder: Path) -> CaseResult:
    return run_case(make_cell(params), params, folder, "test")


@pytest.fixture(scope="module")
def one_cycle(tmp_path_factory: pytest.TempPathFactory) -> tuple[CaseResult, Path]:
    folder = tmp_path_factory.mktemp("cycle")
    return run(make_params(), folder), folder


def test_half_cycles_end_at_their_voltages(one_cycle: tuple[CaseResult, Path]) -> None:
    steps = tabulate_steps(one_cycle[0])
    ends = steps.groupby("half")["voltage_v"].last()
    assert one_cycle[0].end == "complete"
    assert ends["charge"] == pytest.approx(4.5, abs=3e-3)
    assert ends["discharge"] == pytest.approx(2.5, abs=3e-3)
    capacity = steps.groupby("half")["capacity_fraction"].max()
    assert 0.3 < capacity["charge"] < 1.0
    assert 0.3 < capacity["discharge"] < 1.38  # the lattice holds no more


def test_lithium_is_balanced(one_cycle: tuple[CaseResult, Path]) -> None:
    assert tabulate_steps(one_cycle[0])["imbalance"].abs().max() < 1e-8


def test_activities_average_to_one_over_the_volume(one_cycle: tuple[CaseResult, Path]) -> None:
    for half in one_cycle[0].half_cycles:
        np.testing.assert_allclose(half.particles[:, :, ACTIVITY].mean(axis=1), 1.0, atol=1e-6)


def test_a_killed_run_resumes_bit_by_bit(
    one_cycle: tuple[CaseResult, Path], tmp_path: Path
) -> None:
    whole, folder = one_cycle
    (first, _) = sorted(folder.rglob("*.npz"))
    copy = tmp_path / first.relative_to(folder)
    copy.parent.mkdir(parents=True)
    copy.write_bytes(first.read_bytes())
    resumed = run(make_params(), tmp_path)
    for mine, theirs in zip(resumed.half_cycles, whole.half_cycles, strict=True):
        np.testing.assert_array_equal(mine.steps, theirs.steps)
        np.testing.assert_array_equal(mine.particles, theirs.particles)
        np.testing.assert_array_equal(mine.damage, theirs.damage)


def test_a_damaged_checkpoint_is_computed_again(
    one_cycle: tuple[CaseResult, Path], tmp_path: Path
) -> None:
    whole, folder = one_cycle
    for path in sorted(folder.rglob("*.npz")):
        copy = tmp_path / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes()
        copy.write_bytes(content if path.stem.endswith("0") else content[: len(content) // 2])
    resumed = run(make_params(), tmp_path)
    np.testing.assert_array_equal(resumed.half_cycles[1].steps, whole.half_cycles[1].steps)


def test_other_settings_reuse_no_checkpoint(
    one_cycle: tuple[CaseResult, Path], tmp_path: Path
) -> None:
    params = make_params(interface={"resistance_ohm_m2": 0.5})
    assert run(params, tmp_path).end == "dead"
    assert run(params, one_cycle[1]).end == "dead"


def test_equal_conductivities_without_contact_loss_make_particles_equal(tmp_path: Path) -> None:
    same = {"conductivity_low_s_m": 100.0}
    result = run(make_params(material=same, interface={"contact_loss": False}), tmp_path)
    charge = result.half_cycles[0].particles[:, :, ACTIVITY]
    assert np.ptp(charge, axis=1).max() < 5e-3


def test_unequal_conductivities_make_particles_unequal(
    one_cycle: tuple[CaseResult, Path],
) -> None:
    charge = one_cycle[0].half_cycles[0].particles[:, :, ACTIVITY]
    assert np.ptp(charge, axis=1).max() > 0.05


def test_tables_hold_every_step_and_cycle(one_cycle: tuple[CaseResult, Path]) -> None:
    result = one_cycle[0]
    steps = tabulate_steps(result)
    particles = tabulate_particles(
        result.cell.names, steps, [half.particles for half in result.half_cycles]
    )
    assert len(particles) == 2 * len(steps)
    (cycle,) = summarise_cycles(steps, particles).to_dict("records")
    last = steps[steps["half"] == "discharge"]["capacity_fraction"].max()
    assert cycle["discharge_capacity"] == last
    assert 0.5 <= cycle["synchrony"] <= 1.0
    assert len(order_debonding(particles)) == 2


def test_a_half_cycle_without_solution_counts_in_no_cycle(
    one_cycle: tuple[CaseResult, Path],
) -> None:
    whole = one_cycle[0]
    charge, discharge = whole.half_cycles
    cut = replace(discharge, steps=discharge.steps[:2], particles=discharge.particles[:2],
                  frames=discharge.frames[:2], end="no solution")  # fmt: skip
    tables = tabulate_case(replace(whole, half_cycles=(charge, cut), end="no solution"))
    assert len(tables.steps) == len(charge.steps) + 2
    assert tables.cycles.empty
    assert list(tables.cycles) == list(tabulate_case(whole).cycles)


def test_a_cell_that_cannot_take_its_first_step_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NcmError, match="solution"):
        run(make_params(stepping={"newton_tolerance": 1e-30, "step_first_s": 2e-3}), tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"load": {"voltage_max_v": 4.8}},  # more than NMC without lithium has
        {"material": {"initial_stoichiometry": 0.1}},  # above the upper voltage at the start
    ],
)
def test_a_window_that_the_lattice_does_not_have_is_an_error(
    tmp_path: Path, wrong: dict[str, dict[str, float]]
) -> None:
    with pytest.raises(NcmError) as caught:
        run(make_params(**wrong), tmp_path)
    assert "voltage_max_v" in caught.value.where


def test_settling_moves_potentials_and_no_lithium() -> None:
    params = make_params()
    half_cell = build_cell(make_cell(params), params)
    stepper, gauge = Stepper(half_cell.problem, params.stepping), Gauge(half_cell)
    voltage = half_cell.problem.state.components[list(SCALES).index("voltage_v")].vec
    half_cell.current.Set(half_cell.capacity / 720.0)
    stepper.advance(1.0)
    stepper.accept(1.0)
    lithium, charging = gauge.count_lithium(), voltage[0]
    half_cell.current.Set(0.0)
    stepper.restart()
    stepper.settle(1e-3)
    assert voltage[0] < charging - 0.02
    assert gauge.count_lithium() == lithium
    assert stepper.time_s == 1.0


def make_records(debonded: float, damage: float) -> pd.DataFrame:
    return pd.DataFrame(
        {"particle": 1, "name": "a", "cycle": [1, 1], "time_s": [1.0, 2.0],
         "debonded_fraction": [0.0, debonded], "damage": [0.0, damage]}
    )  # fmt: skip


def test_soft_interfaces_are_not_debonded_ones() -> None:
    assert order_debonding(make_records(0.1, 0.8))["time_s"].isna().all()
    assert order_debonding(make_records(0.6, 0.6))["time_s"].to_list() == [2.0]


def test_ranks_of_equal_particles_are_not_correlated(one_cycle: tuple[CaseResult, Path]) -> None:
    """Activities that differ by less than a mesh resolves have no order."""
    steps = pd.DataFrame(
        [(c, h, s, 100.0 * c + 50.0 * n + s, 0.5, 0.0)
         for c in (1, 2) for n, h in enumerate(("charge", "discharge")) for s in (0, 1)],
        columns=["cycle", "half", "step", "time_s", "capacity_fraction", "imbalance"],
    )  # fmt: skip

    def correlate(spread: float) -> float:
        values = np.zeros((len(steps), 3, len(PARTICLE_QUANTITIES)))
        values[:, :, ACTIVITY] = 1.0 + spread * np.array([1.0, 0.0, -1.0])
        particles = tabulate_particles(["a", "b", "c"], steps, [values])
        return float(summarise_cycles(steps, particles)["rank_correlation"].iloc[1])

    assert np.isnan(correlate(1e-5))
    assert correlate(1e-2) == pytest.approx(1.0)


def test_tables_satisfy_their_contracts(one_cycle: tuple[CaseResult, Path]) -> None:
    tables = tabulate_case(one_cycle[0])
    for table, contract in zip(
        tables,
        (HalfCellSteps, HalfCellParticles, HalfCellCycles, HalfCellDebonding),
        strict=True,
    ):
        contract.validate(table)
        contract.validate(table.iloc[:0])


@pytest.mark.slow
def test_lithium_is_balanced_over_five_cycles(tmp_path: Path) -> None:
    result = run(make_params(load={"cycles": 5}), tmp_path)
    assert result.end == "complete"
    assert tabulate_steps(result)["imbalance"].abs().max() < 1e-8
