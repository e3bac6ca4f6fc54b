"""Constant-current cycles of a half cell, with a checkpoint after each half-cycle."""

from __future__ import annotations

import hashlib
import io
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import ngsolve as ng
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.half_cell.cell import SCALES, HalfCell, build_cell
from ncm_kedro.half_cell.measures import (
    Gauge,
    order_debonding,
    summarise_cycles,
    tabulate_particles,
)
from ncm_kedro.half_cell.mesh import CellMesh
from ncm_kedro.half_cell.solve import ConvergenceError, Stepper, choose_step
from ncm_kedro.params.half_cell.case import HalfCellParams

_log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

_CURRENT, _VOLTAGE = (list(SCALES).index(name) for name in ("current_a_m2", "voltage_v"))
_FORMAT = 3  # changes when results of before are no longer valid
_VOLTAGE_TOLERANCE_V = 2e-3
_STEP_MIN_S = 1e-3
_ERROR_MAX = 4.0  # a step whose error is more times the tolerance is repeated
_BELOW_FAILURE, _RECOVERY = 0.7, 1.1  # steps after one that failed: at most this, then growing
_EASING = (0.0, 0.1, 0.3)  # of the current, on the way to one that has no direct solution
_LOG_EVERY_S = 60.0

STEP_COLUMNS = ("cycle", "half", "step", "time_s", "voltage_v", "capacity_fraction", "imbalance")
HALVES = ("charge", "discharge")


@dataclass(frozen=True)
class HalfCycle:
    """Records of one half-cycle.

    Attributes
    ----------
    steps
        (S, 4): time in s, voltage in V, capacity as a fraction of the nominal one, and what the
        lithium of particles and electrolyte misses, as a fraction of all lithium.
    particles
        (S, P, len(`PARTICLE_QUANTITIES`)).
    frames
        (S, V), stoichiometry at the vertices of the mesh, NaN outside particles.
    damage
        (E,), damage of the edges of the interface at the end.
    state
        What a restart needs.
    end
        Why it ended: ``voltage``, ``dead`` or ``no solution``.
    """

    steps: FloatArray
    particles: FloatArray
    frames: NDArray[np.float32]
    damage: FloatArray
    state: dict[str, FloatArray]
    end: str


@dataclass(frozen=True)
class CaseResult:
    """All half-cycles of a case, its name and mesh, and why it ended."""

    name: str
    cell: CellMesh
    params: HalfCellParams
    half_cycles: tuple[HalfCycle, ...]
    fields: HalfCell
    end: str
    """``complete``, ``dead`` or ``no solution``."""


def run_case(cell: CellMesh, params: HalfCellParams, folder: Path, name: str) -> CaseResult:
    """Cycle a cell; half-cycles that an earlier run has finished are read, not computed.

    Parameters
    ----------
    folder
        Where checkpoints lie; each identity of mesh and settings has a folder of its own.
    name
        What the log calls the case.

    Raises
    ------
    ConvergenceError
        If the first step of the first charge has no solution.
    """
    half_cell = build_cell(cell, params)
    place = folder / identify_case(cell, params)
    stepper = Stepper(half_cell.problem, params.stepping)
    gauge = Gauge(half_cell)
    done: list[HalfCycle] = []
    started, computed, end = time.monotonic(), 0, "complete"
    for index in range(2 * params.load.cycles):
        path = place / f"half_cycle_{index:04d}.npz"
        found = _read_half_cycle(path)
        if found is not None:
            stepper.load(found.state)
        else:
            left = 2 * params.load.cycles - index
            pace = (time.monotonic() - started) / computed if computed else math.nan
            progress = _Progress(name, index, left * pace)
            try:
                found = _run_half_cycle(
                    half_cell, stepper, gauge, params=params, index=index, progress=progress
                )
            except ConvergenceError as error:
                if not done:
                    raise
                _log.warning("%s ends before cycle %d, half %d: %s", name, index // 2 + 1,
                             index % 2 + 1, error)  # fmt: skip
                end = "no solution"
                break
            _write_half_cycle(path, found)
            computed += 1
        done.append(found)
        if found.end != "voltage":
            _log.warning("%s ends in cycle %d: %s", name, index // 2 + 1, found.end)
            end = found.end
            break
    return CaseResult(name, cell, params, tuple(done), half_cell, end)


def identify_case(cell: CellMesh, params: HalfCellParams) -> str:
    """Identity of all that half-cycles depend on; more cycles of the same case continue it."""
    same = params.model_copy(update={"load": params.load.model_copy(update={"cycles": 1})})
    parts = (
        str(_FORMAT), ng.__version__, cell.identity, same.model_dump_json(),
        cell.cb_high.vec.FV().NumPy().tobytes().hex(),
        cell.interface_high.vec.FV().NumPy().tobytes().hex(),
    )  # fmt: skip
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


class CaseTables(NamedTuple):
    """The tables of a case: rows per step, per step and particle, per cycle, per particle."""

    steps: pd.DataFrame
    particles: pd.DataFrame
    cycles: pd.DataFrame
    debonding: pd.DataFrame


def tabulate_case(result: CaseResult) -> CaseTables:
    """Tabulate a case; a half-cycle without solution has steps, but counts in no cycle."""
    steps = tabulate_steps(result)
    measured = [half.particles for half in result.half_cycles]
    particles = tabulate_particles(result.cell.names, steps, measured)
    last = result.half_cycles[-1]
    whole = len(steps) - (len(last.steps) if last.end == "no solution" else 0)
    cycles = summarise_cycles(steps[:whole], particles[: whole * len(result.cell.names)])
    return CaseTables(steps, particles, cycles, order_debonding(particles))


def tabulate_steps(result: CaseResult) -> pd.DataFrame:
    """Give the voltage curve: ``cycle, half, step`` and the columns of `HalfCycle.steps`."""
    rows = [
        (index // 2 + 1, HALVES[index % 2], step, *values)
        for index, half in enumerate(result.half_cycles)
        for step, values in enumerate(half.steps)
    ]
    return pd.DataFrame(rows, columns=list(STEP_COLUMNS))


@dataclass
class _Progress:
    """A line a minute: where the case is, its voltage, the time left."""

    name: str
    index: int
    left_s: float
    last_s: float = 0.0

    def report(self, voltage_v: float, capacity: float) -> None:
        now = time.monotonic()
        if now - self.last_s < _LOG_EVERY_S:
            return
        self.last_s = now
        left = "" if math.isnan(self.left_s) else f", about {self.left_s / 60:.0f} min left"
        _log.info(
            "%s: %s %d at %.3f V, %.0f %% of the nominal capacity%s",
            self.name, HALVES[self.index % 2], self.index // 2 + 1, voltage_v, 100 * capacity, left,
        )  # fmt: skip


def _run_half_cycle(
    half_cell: HalfCell,
    stepper: Stepper,
    gauge: Gauge,
    *,
    params: HalfCellParams,
    index: int,
    progress: _Progress,
) -> HalfCycle:
    """Charge or discharge until the voltage, or the solver after its first step, ends it."""
    load, sign = params.load, 1.0 if index % 2 == 0 else -1.0
    current = load.c_rate * half_cell.capacity / 3600.0
    half_cell.current.Set(sign * current)
    # Newton's method diverges from currents of the wrong sign where the exchange current is small.
    half_cell.problem.state.components[_CURRENT].vec.FV().NumPy()[:] *= -1.0
    stepper.restart()
    start_s, lithium = stepper.time_s, gauge.count_lithium()
    steps, particles, frames, end = [], [], [], "voltage"
    try:
        for voltage in _step_to_limit(half_cell, stepper, params, sign):
            passed = current * (stepper.time_s - start_s)
            missing = gauge.count_lithium() - lithium + sign * passed
            steps.append((stepper.time_s, voltage, passed / half_cell.capacity, missing / lithium))
            particles.append(gauge.measure())
            frames.append(gauge.sample_vertices())
            progress.report(voltage, steps[-1][2])
    except ConvergenceError as error:
        if not steps:
            raise
        _log.warning("%s: %s", progress.name, error)
        end = "no solution"
    if end == "voltage" and steps[-1][2] < load.dead_fraction:
        end = "dead"
    return HalfCycle(
        np.array(steps),
        np.array(particles),
        np.array(frames, dtype=np.float32),
        gauge.measure_edges()["damage"],
        stepper.state,
        end,
    )


def _step_to_limit(
    half_cell: HalfCell, stepper: Stepper, params: HalfCellParams, sign: float
) -> Iterator[float]:
    """Step until the voltage reaches its limit; yields it after each step."""
    stepping, load = params.stepping, params.load
    limit = load.voltage_max_v if sign > 0 else load.voltage_min_v
    cell_voltage = half_cell.problem.state.components[_VOLTAGE].vec
    step, before, ceiling, eased = stepping.step_first_s, None, math.inf, False
    while True:
        try:
            error = stepper.advance(step)
        except ConvergenceError:
            if before is None and not eased:
                eased = True
                _ease_current(half_cell, stepper)
                continue
            ceiling = _BELOW_FAILURE * step
            step /= 2.0
            if step < _STEP_MIN_S:
                raise
            continue
        voltage = float(cell_voltage[0])
        beyond = sign * (voltage - limit)
        shorter = None
        if error > _ERROR_MAX * stepping.tolerance:
            shorter = step / 2.0
        elif beyond > _VOLTAGE_TOLERANCE_V:
            reach = 0.5 if before is None else sign * (limit - before) / (sign * (voltage - before))
            shorter = step * min(0.9, max(0.05, reach))
        if shorter is not None and shorter > _STEP_MIN_S:
            stepper.reject()
            step = shorter
            continue
        stepper.accept(step)
        yield voltage
        if beyond > -_VOLTAGE_TOLERANCE_V:
            return
        before = voltage
        wanted = choose_step(step, error, stepping) if error else 2.0 * step
        step, ceiling = min(wanted, ceiling), _RECOVERY * ceiling


def _ease_current(half_cell: HalfCell, stepper: Stepper) -> None:
    """Find potentials and currents near those of a reversed current by way of rest.

    From a current that is too small Newton's method climbs to the right one; from one too large,
    as a debonded interface has after a reversal, it diverges.
    """
    wanted, state = half_cell.current.Get(), half_cell.problem.state
    before = state.vec.FV().NumPy().copy()
    state.components[_CURRENT].vec.FV().NumPy()[:] = 0.0
    stepper.restart()
    try:
        for part in _EASING:
            half_cell.current.Set(part * wanted)
            stepper.settle(_STEP_MIN_S)
    except ConvergenceError:  # then only shorter steps are left
        state.vec.FV().NumPy()[:] = before
        stepper.restart()
    half_cell.current.Set(wanted)


def _write_half_cycle(path: Path, half: HalfCycle) -> None:
    buffer = io.BytesIO()
    content: dict[str, Any] = {
        "steps": half.steps, "particles": half.particles, "frames": half.frames,
        "edge_damage": half.damage, "end": np.array(half.end), **half.state,
    }  # fmt: skip
    np.savez(buffer, **content)
    write_atomic(path, buffer.getvalue())


def _read_half_cycle(path: Path) -> HalfCycle | None:
    """Read a checkpoint; one that is damaged is computed again."""
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes())) as file:
            content = {name: file[name] for name in file.files}
        return HalfCycle(
            content.pop("steps"), content.pop("particles"), content.pop("frames"),
            content.pop("edge_damage"), end=str(content.pop("end")), state=content,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        _log.warning("%s cannot be read (%s): this half-cycle is computed again", path, error)
        return None
