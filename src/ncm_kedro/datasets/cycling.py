"""The folder of cyclers' exports, as a user lays it down, and one of synthetic cells."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.datasets.files import RawFolder
from ncm_kedro.electrochemistry.sheets import READERS
from ncm_kedro.electrochemistry.summary import Cell, CyclingFile, RawCycling
from ncm_kedro.errors import NcmError, TableError
from ncm_kedro.synthetic.cycling import SyntheticCells, write_cycling_files

CELL_TABLE = "cells.csv"
NUMBERS = ("mass_mg", "area_cm2", "nominal_capacity_mah")
_TEXTS = ("cell_id", "file", "composition", "state", "class", "electrolyte")


class RawCyclingFolder(RawFolder):
    """Cyclers' exports with an optional ``cells.csv``; read only.

    ``<filepath>/[<class>/]<cell>.{csv,txt,tsv,mpt,xlsx,mpr,nda,ndax}``. ``cells.csv`` has the
    column ``cell_id`` and may have ``file`` (relative to the folder; without it the file's name
    is the cell's), ``composition``, ``state``, ``class``, ``electrolyte``, ``mass_mg``,
    ``area_cm2`` and ``nominal_capacity_mah``. A cell with several files has a row for each.
    """

    holds = "raw cycling data"

    def load(self) -> RawCycling:
        """List the folder; no file is opened except ``cells.csv``.

        Raises
        ------
        NcmError
            If the folder is missing or empty.
        TableError
            If ``cells.csv`` cannot be used.
        """
        table = self._filepath / CELL_TABLE
        rows = read_cell_table(table) if table.is_file() else _no_rows()
        named = rows[rows["file"] != ""]
        cell_of_file = dict(zip(named["file"], named["cell_id"], strict=True))
        files = list_cycling_files(self._filepath, cell_of_file)
        if not files:
            raise NcmError(
                self._filepath,
                found="no file" if self._filepath.is_dir() else "no such folder",
                expected="cyclers' exports, such as <cell>.csv",
                action=f"put exports there, and describe the cells in {CELL_TABLE}",
            )
        return RawCycling(self._filepath, files, _describe_cells(table, rows, files))


class SyntheticCyclingFolder(RawCyclingFolder):
    """Writes synthetic cells as a user would lay them down; reads like raw data.

    A folder that holds anything but synthetic cells is rejected. The truth lies beside it, in
    ``<folder>_truth.parquet``.
    """

    def save(self, data: SyntheticCells) -> None:  # type: ignore[override]
        """Write the files and ``cells.csv``, then the truth."""
        write_cycling_files(data, self._filepath)
        truth = self._filepath.with_name(f"{self._filepath.name}_truth.parquet")
        write_atomic(truth, data.truth.to_parquet())


def list_cycling_files(root: Path, cell_of_file: dict[str, str]) -> tuple[CyclingFile, ...]:
    """List the files of a folder, and those that the table names but that are not there.

    Parameters
    ----------
    cell_of_file
        Name of the cell by file, as ``cells.csv`` gives it.
    """
    found = []
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    for path in paths:
        relative = path.relative_to(root)
        if relative.as_posix() == CELL_TABLE or any(p.startswith(".") for p in relative.parts):
            continue
        file, known = relative.as_posix(), path.suffix.lower() in READERS
        problem = None if known else f"a {path.suffix or 'nameless'} file, which is not read here"
        found.append(CyclingFile(file, path, cell_of_file.get(file, path.stem), problem))
    there = {entry.file for entry in found}
    absent = "no such file, though cells.csv names it"
    found += [
        CyclingFile(file, root / file, cell, absent)
        for file, cell in cell_of_file.items()
        if file not in there
    ]
    return tuple(found)


def read_cell_table(table: Path) -> pd.DataFrame:
    """Read ``cells.csv``; texts stripped, numbers as numbers, absent columns empty.

    Raises
    ------
    TableError
        If it cannot be parsed, lacks ``cell_id``, names a file twice, or a value is impossible.
    """
    try:
        rows = pd.read_csv(
            table,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            skip_blank_lines=False,
        )
    except (OSError, ValueError) as error:
        raise _fault(table, f"a table that cannot be read ({error})", "CSV in UTF-8") from error
    rows.columns = rows.columns.str.strip()
    if "cell_id" not in rows:
        raise _fault(table, "no column cell_id", "the column cell_id")
    rows = pd.DataFrame(
        {name: rows[name].str.strip() if name in rows else "" for name in (*_TEXTS, *NUMBERS)},
        index=rows.index,
    ).fillna("")
    rows.index += 2
    rows = rows.loc[(rows != "").any(axis=1)]
    rows["file"] = rows["file"].str.replace("\\", "/", regex=False)
    nameless = rows.index[rows["cell_id"] == ""]
    if len(nameless):
        raise _fault(f"{table}, line {nameless[0]}", "no cell_id", "a name for the cell")
    named = rows.loc[rows["file"] != "", "file"]
    if named.duplicated().any():
        raise _fault(table, f"'{named[named.duplicated()].iloc[0]}' named twice", "a row per file")
    for name in NUMBERS:
        rows[name] = [
            _read_number(text, f"{table}, line {line}, column {name}")
            for line, text in rows[name].items()
        ]
    return rows


def _describe_cells(
    table: Path, rows: pd.DataFrame, files: tuple[CyclingFile, ...]
) -> dict[str, Cell]:
    """Cells of the table, then those that only files name, their class from their folder."""
    cells: dict[str, Cell] = {}
    for row in rows.to_dict("records"):
        cell = _make_cell(table, {str(key): value for key, value in row.items()})
        if cells.setdefault(cell.cell_id, cell) != cell:
            raise _fault(
                table, f"two descriptions of cell '{cell.cell_id}'", "the same in every row of it"
            )
    for file in files:
        folder = file.file.rpartition("/")[0].partition("/")[0] or None
        composition = folder.partition("_")[0] if folder else None
        if file.problem is None and file.cell_id not in cells:
            cells[file.cell_id] = Cell(file.cell_id, composition, folder)
    return cells


def _make_cell(table: Path, row: dict[str, Any]) -> Cell:
    composition, class_name, state = row["composition"], row["class"], row["state"]
    if not class_name and composition and state:
        class_name = composition if state == "pristine" else f"{composition}_{state}"
    of_class = class_name.partition("__")[0].partition("_")[0]
    if composition and class_name and composition != of_class:
        raise _fault(
            f"{table}, cell '{row['cell_id']}'",
            f"composition {composition} and class {class_name}",
            "a class that starts with the composition",
        )
    numbers = {name: None if math.isnan(row[name]) else row[name] for name in NUMBERS}
    return Cell(
        row["cell_id"], composition or of_class or None, class_name or None,
        row["electrolyte"] or None, **numbers,
    )  # fmt: skip


def _read_number(text: str, where: str) -> float:
    if not text:
        return math.nan
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0.0):
        raise _fault(where, f"'{text}'", "a number above 0, with a decimal point, or nothing")
    return number


def _no_rows() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype="str") for name in (*_TEXTS, *NUMBERS)})


def _fault(where: object, found: str, expected: str) -> TableError:
    return TableError(where, found=found, expected=expected, action=f"mend {CELL_TABLE}")
