"""Opening a cycler's export: text, Excel or binary, down to headers and rows."""

from __future__ import annotations

import csv
import importlib
import io
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.electrochemistry.dialects import match_cycles, match_series
from ncm_kedro.errors import NcmError, TableError

_HEADER_LINES = 300
_DELIMITERS = ("\t", ";", ",")
_SPARE = 4
_DECIMAL_COMMA = re.compile(r"^\s*[+-]?\d+,\d+([eE][+-]?\d+)?\s*$")
_FAULTS = (
    OSError, ValueError, TypeError, LookupError, AssertionError, AttributeError, EOFError,
    RuntimeError, struct.error, zipfile.BadZipFile,
)  # fmt: skip


@dataclass(frozen=True)
class Sheet:
    """A table whose header is known to hold cycling data.

    Parameters
    ----------
    headers
        Headers, in order.
    rows
        A column per header, numbered; text or numbers. The index is the line in the file (of a
        binary file: the number of the record).
    decimal_comma
        Whether numbers in text have a comma for a point.
    source
        Name of the kind of file, where the headers do not identify it.
    """

    headers: tuple[str, ...]
    rows: pd.DataFrame
    decimal_comma: bool = False
    source: str = ""


def open_sheets(path: Path) -> list[Sheet]:
    """Read every table of a file that holds cycling data.

    Returns
    -------
    list of Sheet
        At least one.

    Raises
    ------
    TableError
        If the file cannot be read or holds no such table, or the library for its format is not
        installed.
    """
    try:
        sheets = READERS[path.suffix.lower()](path)
    except NcmError:
        raise
    except _FAULTS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TableError(
            path.name,
            found=f"a file that cannot be read ({reason})",
            expected=f"a complete {path.suffix} file",
            action="export it again, as CSV if that fails too",
        ) from error
    if not sheets:
        raise TableError(
            path.name,
            found="no line with the headers of cycling data",
            expected="columns for time, current and voltage, or for cycle and discharge capacity",
            action="name the columns as in docs/cycling.md",
        )
    return sheets


def _read_text(path: Path) -> list[Sheet]:
    text = _decode(path.read_bytes())
    for number, line in enumerate(text.splitlines()[:_HEADER_LINES]):
        for delimiter in _DELIMITERS:
            headers = next(csv.reader([line], delimiter=delimiter), [])
            if _is_known(headers):
                return [_read_body(text, number, headers, delimiter)]
    return []


def _read_body(text: str, header_line: int, headers: list[str], delimiter: str) -> Sheet:
    rows = pd.read_csv(
        io.StringIO(text, newline=None),
        sep=delimiter,
        header=None,
        names=range(len(headers) + _SPARE),
        skiprows=header_line + 1,
        dtype=str,
        keep_default_na=False,
        na_values=[],
        skip_blank_lines=False,
        index_col=False,
    ).fillna("")
    rows.index = pd.RangeIndex(header_line + 2, header_line + 2 + len(rows))
    columns = match_series(headers)
    numbers = rows[columns.used if columns else list((match_cycles(headers) or {}).values())]
    return Sheet(tuple(headers), _drop_empty(rows), _has_decimal_comma(numbers, delimiter))


def _read_excel(path: Path) -> list[Sheet]:
    _require("openpyxl", path)
    book = pd.read_excel(path, sheet_name=None, header=None, dtype=object, engine="openpyxl")
    return [sheet for table in book.values() for sheet in _find_table(table)]


def _find_table(table: pd.DataFrame) -> Iterator[Sheet]:
    text = table.astype(object).where(table.notna(), "").astype(str)
    for number in range(min(len(text), _HEADER_LINES)):
        headers = [str(value) for value in text.iloc[number]]
        if _is_known(headers):
            rows = text.iloc[number + 1 :].copy()
            rows.columns = pd.RangeIndex(rows.shape[1])
            rows.index = pd.RangeIndex(number + 2, number + 2 + len(rows))
            yield Sheet(tuple(headers), _drop_empty(rows))
            return


def _read_biologic(path: Path) -> list[Sheet]:
    galvani = _require("galvani", path)
    with path.open("rb") as file:
        data = galvani.MPRfile(file).data
    native = data.astype(data.dtype.newbyteorder("="))
    return _from_frame(pd.DataFrame({name: native[name] for name in native.dtype.names or ()}))


def _read_neware(path: Path) -> list[Sheet]:
    library = _require("NewareNDA", path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it calls pandas in an older way
        frame = library.read(str(path), log_level="ERROR")
    named = frame.rename(columns={"Time": "Time(s)", "Voltage": "Voltage(V)"})
    return _from_frame(named.assign(Status=named["Status"].astype(str)))


def _from_frame(frame: pd.DataFrame) -> list[Sheet]:
    headers = tuple(str(name) for name in frame.columns)
    if not _is_known(list(headers)):
        raise TableError(
            "a binary file",
            found=f"the columns {', '.join(headers)}",
            expected="time, current and voltage",
            action="export it as text, with these columns",
        )
    rows = frame.set_axis(pd.RangeIndex(len(headers)), axis=1)
    return [Sheet(headers, rows.set_axis(pd.RangeIndex(1, len(rows) + 1), axis=0))]


READERS: dict[str, Callable[[Path], list[Sheet]]] = {
    ".csv": _read_text,
    ".txt": _read_text,
    ".tsv": _read_text,
    ".mpt": _read_text,
    ".xlsx": _read_excel,
    ".mpr": _read_biologic,
    ".nda": _read_neware,
    ".ndax": _read_neware,
}
"""What reads a file, by suffix."""


def _require(module: str, path: Path) -> Any:
    """Import a library that only this format needs."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise TableError(
            path.name,
            found=f"a {path.suffix} file, but {module} is not installed",
            expected="the library that reads it",
            action="run `pip install galvani newarenda openpyxl` in this project's environment, or "
            "export the file as CSV",
        ) from error


def is_filled(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Mark values that are there, (N, M).

    Parameters
    ----------
    rows
        (N, M), text or numbers.
    """
    filled: NDArray[np.bool_] = (rows.notna() & (rows != "")).to_numpy(dtype=bool)
    return filled


def _decode(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    if b"\x00" in content:
        raise ValueError("bytes that are not text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _is_known(headers: list[str]) -> bool:
    return match_series(headers) is not None or match_cycles(headers) is not None


def _drop_empty(rows: pd.DataFrame) -> pd.DataFrame:
    filled: NDArray[np.bool_] = np.any(is_filled(rows), axis=1)
    return rows.loc[filled]


def _has_decimal_comma(numbers: pd.DataFrame, delimiter: str) -> bool:
    """Whether commas stand for points: only where no number has a point as well."""
    if delimiter == ",":
        return False
    values = numbers.stack()
    has_comma = values.str.match(_DECIMAL_COMMA)
    has_point = values.str.match(r"^\s*[+-]?\d*\.\d*")
    return bool(has_comma.any() and not has_point.any())
