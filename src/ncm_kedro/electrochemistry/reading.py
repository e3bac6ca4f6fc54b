"""Text of a cycler's export to numbers; what is not a number is reported, never guessed.

One file of a cycler to cycles, or to records over time with one meaning and unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.electrochemistry.dialects import (
    CAPACITIES,
    CURRENT_UNITS,
    TIME_UNITS,
    VOLTAGE_UNITS,
    SeriesColumns,
    match_cycles,
    match_series,
    read_state,
)
from ncm_kedro.electrochemistry.sheets import Sheet, is_filled, open_sheets
from ncm_kedro.electrochemistry.summary import BadRow, CyclingFile, Export
from ncm_kedro.errors import TableError

FloatArray = NDArray[np.float64]

_CLOCK = r"^\s*(?:(\d+)\s*[dD](?:ays?,?)?\s*)?(\d+):(\d{1,2}):(\d{1,2}(?:\.\d+)?)\s*$"
_SECONDS = (86400.0, 3600.0, 60.0, 1.0)


def parse_numbers(values: pd.Series[Any], *, decimal_comma: bool = False) -> FloatArray:
    """Return a column as numbers, NaN where a value is none or not finite.

    Parameters
    ----------
    decimal_comma
        Whether a comma stands for the point.
    """
    column = values
    if decimal_comma:
        column = values.astype(str).str.replace(",", ".", regex=False)
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def parse_quantity(
    values: pd.Series[Any],
    unit: str,
    units: Mapping[str, float],
    *,
    header: str,
    decimal_comma: bool = False,
) -> FloatArray:
    """Return a column in the base unit, NaN where a value is not a number.

    Parameters
    ----------
    decimal_comma
        Whether a comma stands for the point.

    Raises
    ------
    TableError
        If the header gives no unit, or one that is not known.
    """
    if unit not in units:
        raise TableError(
            f"column '{header}'",
            found=f"the unit '{unit}'" if unit else "no unit",
            expected=f"one of {', '.join(units)}",
            action=f"write the unit into the header: {header.strip()}({next(iter(units))})",
        )
    return parse_numbers(values, decimal_comma=decimal_comma) * units[unit]


def parse_clock(values: pd.Series[Any]) -> FloatArray:
    """Return times written as ``hh:mm:ss``, with or without days before, in s; NaN for others."""
    parts = values.astype(str).str.extract(_CLOCK)
    hours_on = parts.iloc[:, 1:].astype(float).to_numpy()
    days = parts.iloc[:, :1].astype(float).fillna(0.0).to_numpy()
    seconds: FloatArray = np.hstack([days, hours_on]) @ np.array(_SECONDS)
    return seconds


def accumulate_steps(step_time_s: FloatArray) -> FloatArray:
    """Return the time since the start of a test from the times since the start of each step.

    A step starts where the time falls; its first record counts from 0.

    Parameters
    ----------
    step_time_s
        (N,), finite.
    """
    passed = np.diff(step_time_s, prepend=0.0)
    return np.cumsum(np.where(passed < 0.0, step_time_s, passed))


def read_export(file: CyclingFile) -> Export:
    """Read one file.

    Raises
    ------
    TableError
        If nothing in the file can be used.
    """
    if file.problem is not None:
        raise TableError(
            file.file, found=file.problem, expected="cycling data", action="move it away"
        )
    sheets = open_sheets(file.path)
    by_cycle = match_cycles(sheets[0].headers)
    if by_cycle is not None:
        export = _read_cycles(sheets[0], by_cycle, file)
        empty = not len(export.cycles) if export.cycles is not None else True
    else:
        same = [sheet for sheet in sheets if sheet.headers == sheets[0].headers]
        export = _read_series(same, file)
        empty = export.series is None or not export.series["usable"].any()
    if empty:
        raise TableError(
            file.file,
            found=f"no row that can be used ({len(export.bad_rows)} that cannot be read)",
            expected="rows below the header",
            action="export it again",
        )
    return export


def _read_cycles(sheet: Sheet, columns: dict[str, int], file: CyclingFile) -> Export:
    rows = sheet.rows
    names = rows[columns["cell_id"]].astype(str).str.strip() if "cell_id" in columns else None
    cells = [file.cell_id] * len(rows) if names is None else list(names)
    table = pd.DataFrame({"row": rows.index.to_numpy(), "cell_id": cells})
    faults = pd.Series("", index=table.index, dtype="str")
    for name in ("cycle", *CAPACITIES):
        text = rows[columns[name]].astype(str) if name in columns else pd.Series("", rows.index)
        values = parse_numbers(text, decimal_comma=sheet.decimal_comma)
        written = (text.str.strip() != "").to_numpy()
        faults = _add(faults, written & np.isnan(values), f"{name} is not a number")
        table[name] = values
    faults = _add(faults, _is_no_cycle(table["cycle"].to_numpy()), "cycle is not a whole number")
    missing = table[["discharge_capacity_mah_g", "discharge_capacity_mah"]].isna().all(axis=1)
    faults = _add(faults, missing.to_numpy(), "no discharge capacity")
    faults = _add(faults, (table["cell_id"] == "").to_numpy(), "cell_id is empty")
    faults = _add(faults, _overflows(sheet), "more values than headers")
    bad = tuple(
        BadRow(file.file, int(row), cell, None if pd.isna(cycle) else int(cycle), fault)
        for row, cell, cycle, fault in zip(
            table["row"], table["cell_id"], table["cycle"], faults, strict=True
        )
        if fault
    )
    good = table[(faults == "").to_numpy()]
    return Export("per cycle", cycles=good.astype({"cycle": "int64"}), bad_rows=bad)


def _read_series(sheets: list[Sheet], file: CyclingFile) -> Export:
    columns = match_series(sheets[0].headers)
    if columns is None:
        raise TableError(
            file.file,
            found="headers of no known kind",
            expected="time, current and voltage",
            action="name the columns as in docs/cycling.md",
        )
    parts = [_parse_records(sheet, columns) for sheet in sheets]
    series = pd.concat([part for part, _ in parts], ignore_index=True)
    faults = pd.concat([fault for _, fault in parts], ignore_index=True)
    good = (faults == "").to_numpy()
    time_s = series.loc[good, "time_s"].to_numpy()
    if columns.by_step:
        series.loc[good, "time_s"] = accumulate_steps(time_s)
    else:
        backwards = np.zeros(len(series), dtype=bool)
        backwards[np.flatnonzero(good)[1:]] = np.diff(time_s) < 0.0
        faults = _add(faults, backwards, "time runs backwards")
    series["usable"] = (faults == "").to_numpy()
    bad = tuple(
        BadRow(file.file, int(row), file.cell_id, None if pd.isna(cycle) else int(cycle), fault)
        for row, cycle, fault in zip(series["row"], series["cycle"], faults, strict=True)
        if fault
    )
    counted = "file" if columns.cycle is not None else "current"
    return Export(columns.source, series=series, bad_rows=bad, cycles_from=counted)


def _parse_records(sheet: Sheet, columns: SeriesColumns) -> tuple[pd.DataFrame, pd.Series[str]]:
    """Parse one sheet; the second is why a record cannot be used, empty where it can."""
    rows, comma, headers = sheet.rows, sheet.decimal_comma, sheet.headers
    table = pd.DataFrame({"row": rows.index.to_numpy()})
    table["time_s"] = _parse_time(sheet, columns)
    table["current_ma"] = parse_quantity(
        rows[columns.current], columns.current_unit, CURRENT_UNITS,
        header=headers[columns.current], decimal_comma=comma,
    )  # fmt: skip
    table["voltage_v"] = parse_quantity(
        rows[columns.voltage], columns.voltage_unit, VOLTAGE_UNITS,
        header=headers[columns.voltage], decimal_comma=comma,
    )  # fmt: skip
    faults = pd.Series("", index=table.index, dtype="str")
    for name, column in (("time", "time_s"), ("current", "current_ma"), ("voltage", "voltage_v")):
        faults = _add(faults, table[column].isna().to_numpy(), f"{name} is not a number")
    table["cycle"] = np.nan
    if columns.cycle is not None:
        cycle = parse_numbers(rows[columns.cycle], decimal_comma=comma)
        no_cycle = _is_no_cycle(cycle)
        faults = _add(faults, no_cycle, "cycle is not a whole number")
        table["cycle"] = np.where(no_cycle, np.nan, cycle)
    table["sign"] = np.nan
    if columns.state is not None:
        states = rows[columns.state].astype(str)
        known = {text: read_state(text) for text in states.unique()}
        table["sign"] = states.map(known).to_numpy(dtype=np.float64, na_value=np.nan)
        unknown = table["sign"].isna().to_numpy()
        faults = _add(faults, unknown, "state is neither charge, discharge nor rest")
    return table, _add(faults, _overflows(sheet), "more values than headers")


def _parse_time(sheet: Sheet, columns: SeriesColumns) -> FloatArray:
    values, header = sheet.rows[columns.time], sheet.headers[columns.time]
    if not columns.time_unit or columns.time_unit in {"hh:mm:ss", "h:min:s.ms"}:
        clock = parse_clock(values)
        if np.isfinite(clock).any() or not len(clock):
            return clock
    return parse_quantity(
        values, columns.time_unit, TIME_UNITS, header=header, decimal_comma=sheet.decimal_comma
    )


def _is_no_cycle(values: FloatArray) -> NDArray[np.bool_]:
    wrong: NDArray[np.bool_] = ~((values >= 0.0) & (values == np.floor(values)))
    return wrong


def _overflows(sheet: Sheet) -> NDArray[np.bool_]:
    """Rows with more values than there are headers."""
    return np.asarray(is_filled(sheet.rows.iloc[:, len(sheet.headers) :]).any(axis=1), dtype=bool)


def _add(faults: pd.Series[str], where: NDArray[np.bool_], text: str) -> pd.Series[str]:
    """Name a fault in rows that have none yet."""
    return faults.mask(where & (faults == "").to_numpy(), text)
