"""All files of a folder to one table of cycles, with the rejected rows and reasons.

Cells beside the SEM frames of their electrodes.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from ncm_kedro.electrochemistry.capacity import (
    check_cycles,
    integrate_records,
    list_bad_cycles,
    pick_curves,
    sum_cycles,
)
from ncm_kedro.electrochemistry.dialects import CAPACITIES
from ncm_kedro.electrochemistry.reading import read_export
from ncm_kedro.electrochemistry.summary import BadRow, Cell, CyclingFile, Export, RawCycling
from ncm_kedro.errors import NcmError, TableError
from ncm_kedro.params.cycling import CyclingParams

CYCLE_COLUMNS = (
    "cell_id", "composition", "class", "electrolyte", "cycle", *CAPACITIES, "retention_percent",
    "coulombic_efficiency_percent", "file",
)  # fmt: skip
_CURVE_COLUMNS = (
    "cell_id", "composition", "class", "cycle", "half", "capacity_mah", "capacity_mah_g",
    "voltage_v",
)  # fmt: skip


@dataclass(frozen=True)
class CyclingTables:
    """What the files hold.

    Parameters
    ----------
    cycles
        A row per sound cycle of a cell, columns `CYCLE_COLUMNS`.
    curves
        Voltage against capacity: ``cell_id, composition, class, cycle, half, capacity_mah,
        capacity_mah_g, voltage_v``.
    bad_rows
        A row per rejected row or cycle: ``file, row, cell_id, cycle, reason``.
    files
        A row per file: ``file, cell_id, source, cycles_from, n_cycles, n_excluded`` (its rows of
        ``bad_rows``), ``problem``.
    cells
        Cells by name, those known from their files alone included.
    """

    cycles: pd.DataFrame
    curves: pd.DataFrame
    bad_rows: pd.DataFrame
    files: pd.DataFrame
    cells: dict[str, Cell]


@dataclass
class _Found:
    """What the files gave so far."""

    cycles: list[pd.DataFrame] = field(default_factory=list)
    curves: list[pd.DataFrame] = field(default_factory=list)
    bad_rows: list[BadRow] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)


def measure_cells(raw: RawCycling, params: CyclingParams) -> CyclingTables:
    """Read every file and work out capacities, retention and Coulombic efficiency.

    Retention is relative to the cell's cycle ``params.reference_cycle``; without it, it is null.
    Coulombic efficiency is discharge over charge of the same cycle.

    Raises
    ------
    TableError
        If no file can be used.
    """
    found = _Found()
    for file in tqdm(raw.files, desc="cycling files", disable=not sys.stderr.isatty()):
        try:
            _take(found, file, read_export(file), raw.cells, params)
        except NcmError as error:
            problem = f"{error.found}; expected {error.expected}. What to do: {error.action}"
            found.files.append({"file": file.file, "cell_id": file.cell_id, "problem": problem})
    if not found.cycles:
        raise _nothing_left(raw, found)
    cycles = pd.concat(found.cycles, ignore_index=True)
    cells = {name: raw.cells.get(name) or Cell(name) for name in cycles["cell_id"].unique()}
    cells = dict(raw.cells) | cells
    cycles = _add_specific(cycles, cells)
    cycles["reason"] = check_cycles(cycles, cells, params)
    bad = [*found.bad_rows, *list_bad_cycles(cycles)]
    good = _add_retention(cycles[cycles["reason"] == ""], params.reference_cycle)
    return CyclingTables(
        cycles=_describe(good, cells, CYCLE_COLUMNS).sort_values(["cell_id", "cycle"],
                                                               ignore_index=True),
        curves=_finish_curves(found.curves, good, cells),
        bad_rows=_tabulate_bad(bad),
        files=_tabulate_files(found.files, good, bad),
        cells=cells,
    )  # fmt: skip


def _take(
    found: _Found,
    file: CyclingFile,
    export: Export,
    cells: Mapping[str, Cell],
    params: CyclingParams,
) -> None:
    if export.series is None:
        cycles = export.cycles if export.cycles is not None else pd.DataFrame()
        cycles = cycles.assign(reason="")
    else:
        records = integrate_records(export.series, params)
        cycles, reasons = sum_cycles(records, export.series, params)
        cycles = cycles.assign(cell_id=file.cell_id, reason=reasons)
        found.curves.append(pick_curves(records, params).assign(file=file.file))
    found.cycles.append(cycles.reindex(columns=["row", "cell_id", "cycle", *CAPACITIES, "reason"])
                        .assign(file=file.file))  # fmt: skip
    found.bad_rows += export.bad_rows
    found.files.append(
        {
            "file": file.file,
            "cell_id": ", ".join(cycles["cell_id"].unique()),
            "source": export.source,
            "cycles_from": export.cycles_from,
        }
    )


def _add_specific(cycles: pd.DataFrame, cells: Mapping[str, Cell]) -> pd.DataFrame:
    """Fill capacity per gram or absolute capacity from the other where the mass is known."""
    made = cycles.copy()
    masses_mg = {name: cell.mass_mg for name, cell in cells.items()}
    mass_g = pd.to_numeric(made["cell_id"].map(masses_mg), errors="coerce") / 1000.0
    for half in ("charge", "discharge"):
        absolute, specific = made[f"{half}_capacity_mah"], made[f"{half}_capacity_mah_g"]
        made[f"{half}_capacity_mah_g"] = specific.fillna(absolute / mass_g)
        made[f"{half}_capacity_mah"] = absolute.fillna(specific * mass_g)
    made["coulombic_efficiency_percent"] = _find_efficiency(made)
    return made


def _find_efficiency(cycles: pd.DataFrame) -> pd.Series[float]:
    """Discharge over charge in %, from whichever capacity is known."""
    specific, absolute = (
        cycles[f"discharge_capacity_{unit}"]
        / cycles[f"charge_capacity_{unit}"].replace(0.0, np.nan)
        for unit in ("mah_g", "mah")
    )
    return 100.0 * specific.fillna(absolute)


def _add_retention(cycles: pd.DataFrame, reference_cycle: int) -> pd.DataFrame:
    units = ["discharge_capacity_mah_g", "discharge_capacity_mah"]
    start = cycles[cycles["cycle"] == reference_cycle].set_index("cell_id")[units]
    beside = start.reindex(cycles["cell_id"]).set_axis(cycles.index, axis=0)
    ratio = cycles[units] / beside.replace(0.0, np.nan)
    retention = 100.0 * ratio[units[0]].fillna(ratio[units[1]])
    return cycles.assign(retention_percent=retention)


def _describe(
    table: pd.DataFrame, cells: Mapping[str, Cell], columns: tuple[str, ...]
) -> pd.DataFrame:
    """Add what is known of the cells, and put the columns in order."""
    made = table.copy()
    for column, attribute in (
        ("composition", "composition"), ("class", "class_name"), ("electrolyte", "electrolyte"),
    ):  # fmt: skip
        known = {name: getattr(cell, attribute) for name, cell in cells.items()}
        made[column] = pd.Series(
            [known[name] for name in made["cell_id"]], index=made.index, dtype="str"
        )
    return made[list(columns)]


def _finish_curves(
    curves: list[pd.DataFrame], good: pd.DataFrame, cells: Mapping[str, Cell]
) -> pd.DataFrame:
    """Keep the curves of sound cycles, per gram too."""
    if not curves:
        return pd.DataFrame(columns=list(_CURVE_COLUMNS))
    table = pd.concat(curves, ignore_index=True)
    table = table.merge(good[["file", "cell_id", "cycle"]], on=["file", "cycle"])
    masses_mg = {name: cell.mass_mg for name, cell in cells.items()}
    mass_g = pd.to_numeric(table["cell_id"].map(masses_mg), errors="coerce") / 1000.0
    table["capacity_mah_g"] = table["capacity_mah"] / mass_g
    return _describe(table, cells, _CURVE_COLUMNS)


def _tabulate_bad(rows: list[BadRow]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(BadRow._fields))
    types = {"file": "str", "row": "int64", "cell_id": "str", "cycle": "Int64", "reason": "str"}
    return table.astype(types).sort_values(["file", "row"], ignore_index=True)


def _tabulate_files(
    files: list[dict[str, Any]], good: pd.DataFrame, bad: list[BadRow]
) -> pd.DataFrame:
    columns = ["file", "cell_id", "source", "cycles_from", "problem"]
    table = pd.DataFrame(files, columns=columns).astype(dict.fromkeys(columns, "str"))
    kept, excluded = Counter(good["file"]), Counter(row.file for row in bad)
    table.insert(4, "n_cycles", [kept[file] for file in table["file"]])
    table.insert(5, "n_excluded", [excluded[file] for file in table["file"]])
    return table


def _nothing_left(raw: RawCycling, found: _Found) -> TableError:
    first = found.files[0] if found.files else {"file": "no file", "problem": "the folder is empty"}
    return TableError(
        raw.root,
        found=f"no file that can be used, such as {first['file']}: {first['problem']}",
        expected="at least one cycler's export",
        action="correct the files according to their reasons",
    )


_MATCHED, _NO_CELL, _NO_FRAME = "matched", "frames without a cell", "cell without frames"


def join_frames(manifest: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Return which SEM frames show the electrode, or an electrode of the class, of which cell.

    Frames that name their cell (column ``cell_id`` of ``frames.csv``) are joined by it; all others
    by class. Excluded frames do not count.

    Parameters
    ----------
    manifest
        SEM frames; ``class``, ``excluded`` and, where the user gives it, ``cell_id``.
    cells
        From `ncm_kedro.electrochemistry.summary.tabulate_cells`.

    Returns
    -------
    DataFrame
        A row per pair of a class of frames and a cell: ``status`` (``matched``, ``frames without a
        cell``, ``cell without frames``), ``matched_by`` (``cell_id``, ``class`` or null),
        ``class, cell_id, n_frames, last_cycle, reference_capacity_mah_g,
        last_retention_percent``. A class with several cells has a row, with all its frames, for
        each of them.
    """
    counts = _count_frames(manifest)
    rows: list[dict[str, object]] = []
    for frame_class, name, n_frames in counts.itertuples(index=False):
        by, key = ("class", frame_class) if pd.isna(name) else ("cell_id", name)
        frames = {"class": frame_class, "n_frames": n_frames}
        mine = cells.loc[cells[by] == key, "cell_id"]
        rows += [frames | {"status": _MATCHED, "matched_by": by, "cell_id": c} for c in mine]
        if mine.empty:
            rows.append(frames | {"status": _NO_CELL, "cell_id": name})
    seen = {row["cell_id"] for row in rows}
    rows += [
        {"status": _NO_FRAME, "class": cell_class, "cell_id": cell, "n_frames": 0}
        for cell, cell_class in zip(cells["cell_id"], cells["class"], strict=True)
        if cell not in seen
    ]
    columns = ["status", "matched_by", "class", "cell_id", "n_frames"]
    types = dict.fromkeys(columns[:-1], "str") | {"n_frames": "int64"}
    table = pd.DataFrame(rows, columns=columns).astype(types)
    known = ["cell_id", "last_cycle", "reference_capacity_mah_g", "last_retention_percent"]
    return table.merge(cells[known], on="cell_id", how="left")


def _count_frames(manifest: pd.DataFrame) -> pd.DataFrame:
    """Count included frames by class and the cell that they name, null where they name none."""
    kept = manifest[~manifest["excluded"].astype(bool)]
    named = kept["cell_id"] if "cell_id" in kept else pd.Series(pd.NA, index=kept.index)
    keys = pd.DataFrame({"class": kept["class"].astype("str"), "cell_id": named.astype("str")})
    keys["cell_id"] = keys["cell_id"].replace("", pd.NA)
    return keys.groupby(["class", "cell_id"], dropna=False).size().reset_index(name="n_frames")
