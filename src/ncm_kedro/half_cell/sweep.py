"""Random electrodes under changed settings: is "asynchronous to synchronous" a rule."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError
from scipy import stats

from ncm_kedro.errors import NcmError, Rejections, SettingsError
from ncm_kedro.half_cell.cycle import run_case, tabulate_case
from ncm_kedro.half_cell.geometry import lay_out_section
from ncm_kedro.half_cell.mesh import build_mesh
from ncm_kedro.params.half_cell.case import HalfCellParams, SweepParams
from ncm_kedro.process_pool import open_process_pool

_log = logging.getLogger(__name__)

BASE = "base"
QUANTITIES = (
    "discharge_capacity", "activity_spread", "synchrony", "rank_correlation", "isolated_fraction",
    "damage_mean", "damage_spread",
)  # fmt: skip
_FARTHEST = {"synchrony": "min", "damage_spread": "max"}  # where particles differ most


def list_sweep(params: SweepParams) -> dict[tuple[str, float, int], HalfCellParams]:
    """List the settings of every run, by setting, value and electrode.

    Raises
    ------
    SettingsError
        If a setting does not exist, a value is out of its range, or circles do not fit.
    """
    cases = [(BASE, np.nan)]
    cases += [(name, value) for name, values in params.values.items() for value in values]
    seed = params.base.layout.seed
    runs = {
        (name, float(value), electrode): _change(
            params.base,
            {"layout.seed": seed + electrode, **({} if name == BASE else {name: value})},
        )
        for name, value in cases
        for electrode in range(params.electrodes)
    }
    for case in runs.values():  # before hours are spent on the others
        lay_out_section(case.layout)
    return runs


def run_sweep(params: SweepParams, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run the sweep; runs that are finished are read, unfinished ones continue.

    Returns
    -------
    runs
        ``run, setting, value, electrode, end, problem``; a run that failed has its problem.
    cycles
        ``run`` and the columns of `ncm_kedro.half_cell.measures.summarise_cycles`.
    """
    wanted = list_sweep(params)
    with open_process_pool(params.workers) as pool:
        futures = [pool.submit(_run_one, case, folder) for case in wanted.values()]
        rows, tables, rejections, started = [], [], Rejections(), time.monotonic()
        for run, (key, future) in enumerate(zip(wanted, futures, strict=True)):
            end, problem = "", ""
            with rejections.catch(str(run), f"sweep, run {run}"):
                end, cycles = future.result()
                tables.append(cycles.assign(run=run))
                left_s = (time.monotonic() - started) / (run + 1) * (len(wanted) - run - 1)
                _log.info(
                    "half-cell sweep: %d of %d runs finished, about %.0f min left",
                    run + 1, len(wanted), left_s / 60,
                )  # fmt: skip
            problem = rejections.reasons.get(str(run), "")
            rows.append((run, *key, end, problem))
    rejections.check_left(len(wanted))
    columns = ["run", "setting", "value", "electrode", "end", "problem"]
    return pd.DataFrame(rows, columns=columns), pd.concat(tables, ignore_index=True)


def summarise_sweep(runs: pd.DataFrame, cycles: pd.DataFrame) -> pd.DataFrame:
    """Average over electrodes, with 95 % intervals of the mean (Student's t).

    Returns
    -------
    DataFrame
        ``setting, value, cycle, quantity, mean, low, high, n``, over the n electrodes that reached
        the cycle; and for cycle 0, of each electrode with more than one, the change from the first
        to the last cycle as ``change of <quantity>``, and how far the last has come back from where
        particles differed most as ``return of <quantity>``: 0 is no convergence.
    """
    joined = cycles.merge(runs[["run", "setting", "value"]], on="run")
    long = joined.melt(["run", "setting", "value", "cycle"], list(QUANTITIES), "quantity", "x")
    rows = [
        (*key, *_estimate(own["x"].dropna().to_numpy()))
        for key, own in long.groupby(["setting", "value", "cycle", "quantity"], dropna=False)
    ]
    by_run = (
        long.dropna(subset="x")
        .sort_values("cycle")
        .groupby(["run", "setting", "value", "quantity"], dropna=False)["x"]
    )
    ends = by_run.agg(["size", "first", "last", "min", "max"]).query("size > 1").reset_index()
    for (setting, value, quantity), own in ends.groupby(
        ["setting", "value", "quantity"], dropna=False
    ):
        change = (own["last"] - own["first"]).to_numpy()
        rows.append((setting, value, 0, f"change of {quantity}", *_estimate(change)))
        if quantity in _FARTHEST:
            back = (own["last"] - own[_FARTHEST[quantity]]).abs().to_numpy()
            rows.append((setting, value, 0, f"return of {quantity}", *_estimate(back)))
    types = {
        "setting": "str", "value": "float64", "cycle": "int64", "quantity": "str",
        "mean": "float64", "low": "float64", "high": "float64", "n": "int64",
    }  # fmt: skip
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def _run_one(params: HalfCellParams, folder: Path) -> tuple[str, pd.DataFrame]:
    cell = build_mesh(lay_out_section(params.layout), params.mesh)
    result = run_case(cell, params, folder, f"electrode {params.layout.seed}")
    return result.end, tabulate_case(result).cycles


def _change(base: HalfCellParams, changes: dict[str, float]) -> HalfCellParams:
    content: dict[str, Any] = base.model_dump()
    for name, value in changes.items():
        group, _, field = name.partition(".")
        if not isinstance(content.get(group), dict) or field not in content[group]:
            raise _reject(name, f"{name}, which is no setting of a case")
        content[group][field] = value
    try:
        return HalfCellParams.model_validate(content)
    except ValidationError as error:
        raise _reject(str(changes), str(error.errors()[0]["msg"])) from error


def _reject(name: str, found: str) -> NcmError:
    return SettingsError(
        f"half_cell.sweep.values, {name}",
        found=found,
        expected="values by group.field, as material.molar_volume_m3_mol, in their range",
        action="mend half_cell.sweep.values in the parameters",
    )


def _estimate(values: Any) -> tuple[float, float, float, int]:
    """Mean, its 95 % interval and the number; no interval below two values."""
    count = len(values)
    if count == 0:
        return np.nan, np.nan, np.nan, 0
    mean = float(values.mean())
    if count < 2:
        return mean, np.nan, np.nan, count
    half = float(stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count))
    return mean, mean - half, mean + half, count
