"""What is known of cells and their files before any file is opened, and what reading gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd


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
    path
        Where it lies.
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
    root
        The folder.
    files
        Its files, sorted.
    cells
        Cells by name, in the order of ``cells.csv``.
    """

    root: Path
    files: tuple[CyclingFile, ...]
    cells: Mapping[str, Cell] = field(default_factory=dict)


class BadRow(NamedTuple):
    """A row that is left out; ``row`` is the line of a text file (the header counts), or the
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
        voltage_v, cycle, sign, usable``; ``sign`` is what the state of the record says of the
        current (1 charge, -1 discharge, 0 rest, NaN where it says nothing).
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
