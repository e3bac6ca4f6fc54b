"""What is known of cells and their files before any file is opened, and what reading gives.

Means over cells at each cycle, and a row per cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ncm_kedro.params.cycling import CyclingParams


@dataclass(frozen=True)
class Cell:
    """A cell, as ``cells.csv`` or its file's name and folder describe it.

    Parameters
    ----------
    cell_id
        Its name.
    composition, class_name, electrolyte
        Ni:Mn:Co ratio, SEM class and electrolyte; None where not known.
    mass_mg
        Active mass in mg.
    area_cm2
        Electrode area in cm².
    nominal_capacity_mah
        What it was built for, in mAh.
    """

    cell_id: str
    composition: str | None = None
    class_name: str | None = None
    electrolyte: str | None = None
    mass_mg: float | None = None
    area_cm2: float | None = None
    nominal_capacity_mah: float | None = None


@dataclass(frozen=True)
class CyclingFile:
    """A file that is believed to be a cycler's export.

    Parameters
    ----------
    file
        Path relative to the raw folder, with forward slashes.
    cell_id
        The cell, unless the file names cells itself.
    problem
        Why it cannot be used, where that is known without opening it.
    """

    file: str
    path: Path
    cell_id: str
    problem: str | None = None


@dataclass(frozen=True)
class RawCycling:
    """A folder of exports.

    Parameters
    ----------
    cells
        Cells by name, in the order of ``cells.csv``.
    """

    root: Path
    files: tuple[CyclingFile, ...]
    cells: Mapping[str, Cell] = field(default_factory=dict)


class BadRow(NamedTuple):
    """A rejected row; ``row`` is the line of a text file (the header counts), or the
    number of the record in a binary file.
    """  # noqa: D205

    file: str
    row: int
    cell_id: str
    cycle: int | None
    reason: str


@dataclass(frozen=True)
class Export:
    """One file as read.

    Parameters
    ----------
    source
        Kind of the file, such as ``Arbin``.
    cycles
        A row per cycle; none where the file is over time. Columns: ``row, cell_id, cycle,
        charge_capacity_mah_g, discharge_capacity_mah_g, charge_capacity_mah,
        discharge_capacity_mah``, NaN where a value is not given.
    series
        A row per record; none where the file is by cycle. Columns: ``row, time_s, current_ma,
        voltage_v, cycle, sign, usable``; ``sign`` is that of the current by the record's
        state (1 charge, -1 discharge, 0 rest, NaN where it has none).
    bad_rows
        Rows that cannot be read.
    cycles_from
        ``file``, or ``current`` where cycles were counted from changes of sign.
    """

    source: str
    cycles: pd.DataFrame | None = None
    series: pd.DataFrame | None = None
    bad_rows: tuple[BadRow, ...] = ()
    cycles_from: str = "file"


QUANTITIES = (
    "discharge_capacity_mah_g", "charge_capacity_mah_g", "retention_percent",
    "coulombic_efficiency_percent",
)  # fmt: skip
"""Columns that are averaged over cells."""

UNKNOWN = "unknown"
"""Group of cells whose composition or class is not known."""


def summarise_groups(cycles: pd.DataFrame) -> pd.DataFrame:
    """Return mean and standard deviation over cells of each quantity at each cycle.

    Nothing is interpolated: a cell that lacks a cycle does not count there, and a cycle that no
    cell has gives no row.

    Parameters
    ----------
    cycles
        As `ncm_kedro.electrochemistry.measure.measure_cells` returns them.

    Returns
    -------
    DataFrame
        ``by`` (``composition`` or ``class``), ``group, cycle, quantity, mean, sd`` (with N - 1;
        null for one cell), ``n`` (cells with a value), ``n_cells`` (cells of the group).
    """
    parts = []
    for by in ("composition", "class"):
        grouped = cycles.assign(group=cycles[by].fillna(UNKNOWN))
        n_cells = grouped.groupby("group")["cell_id"].nunique()
        long = grouped.melt(["group", "cycle"], list(QUANTITIES), "quantity", "value")
        keys = ["group", "quantity", "cycle"]
        part = long.dropna(subset="value").groupby(keys)["value"].agg(["mean", "std", "count"])
        part = part.rename(columns={"std": "sd", "count": "n"}).reset_index()
        part.insert(0, "by", by)
        part["n_cells"] = part["group"].map(n_cells)
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    return table.astype({"by": "str", "group": "str", "quantity": "str", "n_cells": "int64"})


def tabulate_cells(
    cycles: pd.DataFrame,
    bad_rows: pd.DataFrame,
    cells: Mapping[str, Cell],
    params: CyclingParams,
) -> pd.DataFrame:
    """Return a row per cell: what it is, which cycles it has, how far it has faded.

    Parameters
    ----------
    cycles, bad_rows, cells
        As `ncm_kedro.electrochemistry.measure.measure_cells` returns them.

    Returns
    -------
    DataFrame
        ``cell_id, composition, class, electrolyte, mass_mg, area_cm2, nominal_capacity_mah,
        n_cycles, n_excluded, first_cycle, last_cycle, missing_cycles`` (as text, such as
        ``7, 12-15``), ``reference_capacity_mah_g, reference_capacity_mah_cm2,
        last_retention_percent, note``.
    """
    excluded = bad_rows.groupby("cell_id").size()
    rows = [
        _describe_cell(cell, cycles[cycles["cell_id"] == name], params)
        | {"n_excluded": int(excluded.get(name, 0))}
        for name, cell in cells.items()
    ]
    table = pd.DataFrame(rows)
    numbers = ("mass_mg", "area_cm2", "nominal_capacity_mah", "reference_capacity_mah_g",
               "reference_capacity_mah_cm2", "last_retention_percent")  # fmt: skip
    texts = ("cell_id", "composition", "class", "electrolyte", "missing_cycles", "note")
    types = dict.fromkeys(numbers, "float64") | dict.fromkeys(texts, "str")
    return table.astype(types | {"first_cycle": "Int64", "last_cycle": "Int64"})


def list_ranges(numbers: list[int]) -> str:
    """Return whole numbers as text, neighbours joined: ``7, 12-15``."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1] = [ranges[-1][0], number]
        else:
            ranges.append([number])
    return ", ".join("-".join(map(str, ends)) for ends in ranges)


def _describe_cell(cell: Cell, cycles: pd.DataFrame, params: CyclingParams) -> dict[str, Any]:
    numbers = cycles["cycle"].tolist()
    reference = cycles[cycles["cycle"] == params.reference_cycle]
    missing = sorted(set(range(min(numbers), max(numbers))) - set(numbers)) if numbers else []
    row: dict[str, Any] = {
        "cell_id": cell.cell_id,
        "composition": cell.composition,
        "class": cell.class_name,
        "electrolyte": cell.electrolyte,
        "mass_mg": cell.mass_mg,
        "area_cm2": cell.area_cm2,
        "nominal_capacity_mah": cell.nominal_capacity_mah,
        "n_cycles": len(numbers),
        "n_excluded": 0,
        "first_cycle": min(numbers, default=None),
        "last_cycle": max(numbers, default=None),
        "missing_cycles": list_ranges(missing),
        "reference_capacity_mah_g": np.nan,
        "reference_capacity_mah_cm2": np.nan,
        "last_retention_percent": cycles["retention_percent"].iloc[-1] if numbers else np.nan,
    }
    if len(reference):
        row["reference_capacity_mah_g"] = reference["discharge_capacity_mah_g"].iloc[0]
        absolute_mah = reference["discharge_capacity_mah"].iloc[0]
        row["reference_capacity_mah_cm2"] = absolute_mah / (cell.area_cm2 or np.nan)
    return row | {"note": _note(numbers, cycles, params)}


def _note(numbers: list[int], cycles: pd.DataFrame, params: CyclingParams) -> str:
    if not numbers:
        return "no cycle that can be used"
    notes = []
    if params.reference_cycle not in numbers:
        notes.append(f"no cycle {params.reference_cycle} to refer to: retention unknown")
    if cycles["discharge_capacity_mah_g"].isna().all():
        notes.append("no mass: capacity per gram unknown")
    return "; ".join(notes)
