"""Records over time of simulated capacities, in the columns that cyclers write.

Cells with a simulated fade, written as cyclers' exports.

The discharge capacity of cycle n is that of cycle 1 times 1 - f (n - 1), with f by composition;
every cell starts a little above or below its composition, and every cycle scatters a little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.errors import StoreError
from ncm_kedro.params.cycling import SyntheticCyclingParams

FloatArray = NDArray[np.float64]

REST_S = 600.0
_HALVES = (("charge", 1.0), ("rest", 0.0), ("discharge", -1.0), ("rest", 0.0))
_MACCOR_STATES = {"charge": "C", "discharge": "D", "rest": "R"}
_NEWARE_STATES = {"charge": "CC Chg", "discharge": "CC DChg", "rest": "Rest"}


def record_cycles(truth: pd.DataFrame, interval_s: float) -> pd.DataFrame:
    """Return the record of a cell at constant current (1 C of its first cycle).

    Every charge, rest and discharge is recorded at its start, at each interval and at its end.

    Parameters
    ----------
    truth
        A row per cycle: ``mass_mg, cycle, charge_capacity_mah_g, discharge_capacity_mah_g``.

    Returns
    -------
    DataFrame
        ``time_s, step_time_s, step, cycle, state, current_ma`` (charge above 0), ``voltage_v``.
    """
    mass_g = truth["mass_mg"].iloc[0] / 1000.0
    current_ma = float(truth["discharge_capacity_mah_g"].iloc[0] * mass_g)
    parts: list[pd.DataFrame] = []
    start_s = 0.0
    columns = ["cycle", "charge_capacity_mah_g", "discharge_capacity_mah_g"]
    for cycle, charge, discharge in truth[columns].itertuples(index=False):
        capacities = {"charge": charge, "discharge": discharge}
        for state, sign in _HALVES:
            length_s = 3600.0 * capacities[state] * mass_g / current_ma if sign else REST_S
            step_time_s = np.append(np.arange(0.0, length_s, interval_s), length_s)
            part = pd.DataFrame({"time_s": start_s + step_time_s, "step_time_s": step_time_s})
            part["step"], part["cycle"], part["state"] = len(parts) + 1, int(cycle), state
            part["current_ma"] = sign * current_ma
            part["voltage_v"] = _find_voltage(state, step_time_s / length_s)
            parts.append(part)
            start_s += length_s
    return pd.concat(parts, ignore_index=True)


def _find_voltage(state: str, done: FloatArray) -> FloatArray:
    """Return the voltage from the fraction of the half cycle that is done."""
    if state == "charge":
        return 3.55 + 0.55 * done + 0.2 * done**6
    if state == "discharge":
        return 4.25 - 0.55 * done - 0.7 * done**12
    return np.full(len(done), 3.6)


def write_arbin(records: pd.DataFrame) -> bytes:
    """Write CSV in Arbin's columns: time in s, current in A, charge above 0."""
    table = pd.DataFrame(
        {
            "Data_Point": np.arange(1, len(records) + 1),
            "Test_Time(s)": records["time_s"].round(4),
            "Step_Time(s)": records["step_time_s"].round(4),
            "Step_Index": records["step"],
            "Cycle_Index": records["cycle"],
            "Current(A)": (records["current_ma"] / 1000.0).round(9),
            "Voltage(V)": records["voltage_v"].round(5),
        }
    )
    return table.to_csv(index=False).encode()


def write_biologic(records: pd.DataFrame) -> bytes:
    """Write EC-Lab text: header lines, tabs, decimal commas, current in mA, charge above 0."""
    table = pd.DataFrame(
        {
            "mode": 1,
            "time/s": records["time_s"].map("{:.6E}".format),
            "Ecell/V": records["voltage_v"].map("{:.6E}".format),
            "<I>/mA": records["current_ma"].map("{:.8E}".format),
            "cycle number": records["cycle"].map("{:.6E}".format),
        }
    )
    head = "EC-Lab ASCII FILE\r\nNb header lines : 5\r\n\r\nGalvanostatic Cycling\r\n"
    body = table.to_csv(sep="\t", index=False).replace(".", ",")
    return (head + body).encode("cp1252")


def write_maccor(records: pd.DataFrame) -> bytes:
    """Write Maccor's text: tabs, clock times with days, current in A without sign, a state."""
    table = pd.DataFrame(
        {
            "Rec#": np.arange(1, len(records) + 1),
            "Cyc#": records["cycle"],
            "Step": records["step"],
            "TestTime": records["time_s"].map(
                lambda s: f"{int(s // 86400)}d {_write_clock(s % 86400)}"
            ),
            "Amps": (records["current_ma"].abs() / 1000.0).round(9),
            "Volts": records["voltage_v"].round(5),
            "State": records["state"].map(_MACCOR_STATES),
        }
    )
    return ("Today's Date 01/15/2024\r\n" + table.to_csv(sep="\t", index=False)).encode()


def write_neware(records: pd.DataFrame) -> bytes:
    """Write BTSDA's CSV: clock times since the start of the step, current in mA, step types."""
    table = pd.DataFrame(
        {
            "DataPoint": np.arange(1, len(records) + 1),
            "Cycle Index": records["cycle"],
            "Step Index": records["step"],
            "Step Type": records["state"].map(_NEWARE_STATES),
            "Time": records["step_time_s"].map(_write_clock),
            "Current(mA)": records["current_ma"].round(6),
            "Voltage(V)": records["voltage_v"].round(5),
        }
    )
    return table.to_csv(index=False).encode()


WRITERS: dict[str, tuple[str, Callable[[pd.DataFrame], bytes]]] = {
    "Arbin": (".csv", write_arbin),
    "Biologic": (".mpt", write_biologic),
    "Maccor": (".txt", write_maccor),
    "Neware": (".csv", write_neware),
}
"""Suffix and writer by cycler."""


def _write_clock(seconds: float) -> str:
    whole = round(seconds * 1000)
    hours, rest = divmod(whole, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest / 1000:06.3f}"


FIRST_CAPACITY_MAH_G = {"333": 150.0, "523": 160.0, "622": 172.0, "811": 198.0}
"""Mean discharge capacity of cycle 1; other compositions have `OTHER_CAPACITY_MAH_G`."""

FADE_PERCENT = {"333": 0.08, "523": 0.11, "622": 0.16, "811": 0.27}
"""Capacity lost with each cycle, in % of cycle 1; others lose `OTHER_FADE_PERCENT`."""

OTHER_CAPACITY_MAH_G, OTHER_FADE_PERCENT = 165.0, 0.15
EFFICIENCY_PERCENT = {"333": 99.9, "523": 99.85, "622": 99.75, "811": 99.5}
"""Mean Coulombic efficiency after cycle 1; others have `OTHER_EFFICIENCY_PERCENT`."""

OTHER_EFFICIENCY_PERCENT, FIRST_EFFICIENCY_PERCENT, EFFICIENCY_SCATTER_PERCENT = 99.7, 88.0, 0.05
CELL_AREA_CM2 = 1.13
CELL_TABLE, BROKEN_FILE = "cells.csv", "cut_off.mpr"


@dataclass(frozen=True)
class SyntheticCells:
    """Files by name, and what is known of them.

    Parameters
    ----------
    files
        Content by name, ``cells.csv`` included.
    truth
        A row per cell and cycle: ``cell_id, composition, class, file, mass_mg, cycle,
        charge_capacity_mah_g, discharge_capacity_mah_g, simulated`` (what is wrong with the row in
        the file, or empty).
    """

    files: dict[str, bytes]
    truth: pd.DataFrame


def make_cells(params: SyntheticCyclingParams) -> SyntheticCells:
    """Draw cells and make their files in memory.

    The first cell of each composition is a record over time, in the columns of Arbin, Biologic,
    Maccor and Neware in turn; the others are tables by cycle.
    """
    rng = np.random.default_rng(params.seed)
    cells = [
        SyntheticCells({}, _draw_cell(rng, composition, place, params))
        for composition in params.compositions
        for place in range(params.cells_per_composition)
    ]
    written = [
        _write_cell(cell, *divmod(number, params.cells_per_composition), params)
        for number, cell in enumerate(cells)
    ]
    files = {name: content for cell in written for name, content in cell.files.items()}
    truth = pd.concat([cell.truth for cell in written], ignore_index=True)
    files[CELL_TABLE] = _write_cell_table(truth, params.state)
    if params.special_cases:
        files[BROKEN_FILE] = b"BIO-LOGIC MODULAR FILE\x1a, cut off while it was copied\x00\x00"
    return SyntheticCells(files, truth)


def write_cycling_files(cells: SyntheticCells, folder: Path) -> None:
    """Write the files; those of an earlier synthetic set are replaced.

    Raises
    ------
    StoreError
        If the folder holds anything but synthetic cells, or cannot be written.
    """
    from ncm_kedro.synthetic.sem.frames import MARKER

    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = [path for path in folder.iterdir() if path.name != MARKER]
        if there and not (folder / MARKER).is_file():
            raise StoreError(
                folder,
                found="data that this pipeline did not write",
                expected="a new or empty folder, or one of synthetic cells",
                action="move the data away or let `synthesise` write elsewhere",
            )
        (folder / MARKER).write_text("Synthetic cycling data; replaced by every run.\n")
        for path in there:
            if path.name not in cells.files:
                path.unlink()
        for name, content in cells.files.items():
            write_atomic(folder / name, content)
    except OSError as error:
        raise StoreError(
            folder,
            found=f"a folder that cannot be written ({error})",
            expected="a place with room that can be written to",
            action="free space or choose another folder",
        ) from error


def _draw_cell(
    rng: np.random.Generator, composition: str, place: int, params: SyntheticCyclingParams
) -> pd.DataFrame:
    """Draw the truth of a cell, a row per cycle."""
    cycles = np.arange(1, 1 + params.cycles)
    first = FIRST_CAPACITY_MAH_G.get(composition, OTHER_CAPACITY_MAH_G)
    first *= 1.0 + rng.normal(0.0, params.cell_spread_percent / 100.0)
    fade = FADE_PERCENT.get(composition, OTHER_FADE_PERCENT) / 100.0
    scatter = 1.0 + rng.normal(0.0, params.noise_percent / 100.0, len(cycles))
    discharge = first * (1.0 - fade * (cycles - 1)) * scatter
    later = EFFICIENCY_PERCENT.get(composition, OTHER_EFFICIENCY_PERCENT)
    efficiency = np.where(cycles == 1, FIRST_EFFICIENCY_PERCENT, later)
    efficiency += rng.normal(0.0, EFFICIENCY_SCATTER_PERCENT, len(cycles))
    return pd.DataFrame(
        {
            "cell_id": f"{composition}_cell{place + 1}",
            "composition": composition,
            "class": composition if params.state == "pristine" else f"{composition}_{params.state}",
            "mass_mg": round(float(rng.normal(22.0, 0.4)), 2),
            "cycle": cycles,
            "charge_capacity_mah_g": (100.0 * discharge / efficiency).round(4),
            "discharge_capacity_mah_g": discharge.round(4),
            "simulated": "",
        }
    )


def _write_cell(
    cell: SyntheticCells, number: int, place: int, params: SyntheticCyclingParams
) -> SyntheticCells:
    """Write a cell's file: over time, by cycle, or by cycle with something simulated."""
    name, truth = cell.truth["cell_id"].iloc[0], cell.truth
    if place == 0:
        suffix, write = list(WRITERS.values())[number % len(WRITERS)]
        files = {f"{name}{suffix}": write(record_cycles(truth, params.interval_s))}
        return SyntheticCells(files, truth.assign(file=f"{name}{suffix}"))
    columns = ["cell_id", "cycle", "charge_capacity_mah_g", "discharge_capacity_mah_g"]
    made = replace(cell, truth=truth.assign(file=f"{name}.csv"))
    rows = made.truth[columns].astype(str)
    if params.special_cases and place == 1:
        rows = _PLANTS[number % len(_PLANTS)](rows, made.truth)
    return replace(made, files={f"{name}.csv": rows.to_csv(index=False).encode()})


def _insert_negative(rows: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    middle = len(rows) // 2
    rows.loc[middle, "discharge_capacity_mah_g"] = "-1.0"
    truth.loc[middle, "simulated"] = "discharge capacity below 0"
    return rows


def _insert_text(rows: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    middle = len(rows) // 2
    rows.loc[middle, "discharge_capacity_mah_g"] = "overrange"
    truth.loc[middle, "simulated"] = "discharge_capacity_mah_g is not a number"
    return rows


def _insert_missing(rows: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    middle = len(rows) // 2
    truth.loc[middle, "simulated"] = "missing"
    return rows.drop(index=middle)


def _insert_duplicate(rows: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    middle = len(rows) // 2
    truth.loc[middle, "simulated"] = "cycle number given more than once for this cell"
    return pd.concat([rows.iloc[: middle + 1], rows.iloc[middle:]], ignore_index=True)


_PLANTS = (_insert_negative, _insert_text, _insert_missing, _insert_duplicate)


def _write_cell_table(truth: pd.DataFrame, state: str) -> bytes:
    rows = truth.drop_duplicates("cell_id")[["cell_id", "file", "composition", "mass_mg"]]
    rows = rows.assign(
        state=state, electrolyte="1 M LiPF6 in EC:EMC 3:7 v/v", area_cm2=CELL_AREA_CM2
    )
    return rows.to_csv(index=False).encode()
