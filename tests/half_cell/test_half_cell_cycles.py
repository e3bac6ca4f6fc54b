"""Whole half-cycles: balance, symmetry, checkpoints, how a cell ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ngsolve")

from half_cells import make_cell, make_params

from ncm_kedro.half_cell.cycle import CaseResult, run_case, tabulate_steps
from ncm_kedro.half_cell.measures import (
    PARTICLE_QUANTITIES,
    order_debonding,
    summarise_cycles,
    tabulate_particles,
)
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


@pytest.mark.slow
def test_lithium_is_balanced_over_five_cycles(tmp_path: Path) -> None:
    result = run(make_params(load={"cycles": 5}), tmp_path)
    assert result.end == "complete"
    assert tabulate_steps(result)["imbalance"].abs().max() < 1e-8
