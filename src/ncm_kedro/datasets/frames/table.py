"""The frame table ``frames.csv`` as spreadsheets write it: one row's mistake costs one frame."""

from __future__ import annotations

import csv
import io
import logging
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ncm_kedro.datasets.frames.listing import Listing
from ncm_kedro.errors import TableError
from ncm_kedro.units import (
    parse_length_um,
    parse_magnification,
    parse_moment,
    parse_voltage_kv,
    split_quantity,
)

FRAME_TABLE = "frames.csv"
_MISNAMED = {
    f"frames.{end}"
    for end in ("xlsx", "xlsm", "xls", "ods", "numbers", "tsv", "csv.csv", "csv.txt", "csv.xlsx")
}
_DELIMITERS = (",", ";", "\t")
_HOW_TO_SAVE = (
    "save the table as 'CSV UTF-8' with a header line (in a spreadsheet: File > Save as) under the "
    f"name {FRAME_TABLE}"
)
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "file": ("file", "file name", "filename", "image", "image file", "path"),
    "class": ("class", "class name", "label"),
    "condition": ("condition",),
    "magnification": ("magnification", "mag"),
    "accelerating_voltage_kv": (
        "accelerating voltage", "acceleration voltage", "acc voltage", "voltage", "hv", "eht",
    ),
    "pixel_size_um": ("pixel size", "pixelsize", "pixel width"),
    "instrument": ("instrument", "microscope"),
    "acquired_at": ("acquired at", "acquired", "date time", "datetime", "date"),
}  # fmt: skip
_UNITS = {"pixel_size_um": "um", "accelerating_voltage_kv": "kV", "magnification": "x"}
_PLAUSIBLE = {
    "pixel_size_um": (1e-5, 1e3),
    "accelerating_voltage_kv": (0.01, 400.0),
    "magnification": (5.0, 5e6),
}
_HEADER_UNIT = re.compile(r"^(?P<name>.*?)\s*[\[(/]\s*(?P<unit>.*?)\s*[\])]?$")
_GROUPED = re.compile(r"(?:x\s*)?\d{1,3}([.,])\d{3}\s*x?", re.IGNORECASE)
_GROUPED_LENGTH = re.compile(r"[1-9]\d{0,2}([.])\d{3}(?!\d|,)")  # 1.234 nm, where ; parts columns
_TWO_MEANINGS = {",": ".", "\t": ".", ";": ".,"}  # marks of 50.000, by what parts the columns

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableRow:
    """A row of the frame table.

    Parameters
    ----------
    line
        Line of the file that it ends on, the header's is 1.
    file, class_name
        Cells ``file`` (with forward slashes) and ``class``.
    settings
        Further cells, numbers in the units of their columns.
    problem
        Why the row cannot be used, empty if it can.
    """

    line: int
    file: str
    class_name: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


def find_table(root: Path, listing: Listing) -> Path | None:
    """Find the frame table of a folder, whatever the case of its name.

    Raises
    ------
    TableError
        If there are several, one that cannot be read, or one in another format.
    """
    top = [name for name in (*listing.files, *listing.problems) if "/" not in name]
    named = [name for name in top if name.casefold() == FRAME_TABLE]
    if len(named) > 1:
        raise TableError(
            root,
            found=f"several frame tables ({', '.join(named)})",
            expected=f"one {FRAME_TABLE}",
            action="remove all but one",
        )
    if named and named[0] in listing.problems:
        raise _unusable(root / named[0], listing.problems[named[0]])
    if named:
        return root / named[0]
    other = next((name for name in top if name.casefold() in _MISNAMED), None)
    if other is not None:
        raise _unusable(root / other, "a frame table in another format or under another name")
    return None


def read_table(table: Path, required: Iterable[str], files: Iterable[str]) -> list[TableRow]:
    """Read a frame table.

    Commas, semicolons or tabs may stand between columns; UTF-8, UTF-16, CP949 and CP1252 are
    understood, as are units in headers and cells and decimal commas.

    Parameters
    ----------
    table
        The file.
    required
        Columns that must be there.
    files
        Files of the folder; of two encodings that could be meant, the one is taken in which more
        of them are named.

    Raises
    ------
    TableError
        If it is no table, lacks a column, or has two of one meaning.
    """
    text = _decode(table, set(files))
    delimiter, lines = _split_lines(table, text)
    (_, header), *body = lines
    units = _read_header(table, header, required)
    return [_read_row(line, cells, units, delimiter) for line, cells in body]


def _decode(table: Path, files: set[str]) -> str:
    try:
        data = table.read_bytes()
    except OSError as error:
        raise _unusable(table, f"a file that cannot be read ({error.strerror})") from error
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise _unusable(table, "a workbook of a spreadsheet that is only named .csv")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif b"\x00" in data:
        encodings = ["utf-16-le" if data[1:2] == b"\x00" else "utf-16-be"]
    else:
        encodings = ["utf-8-sig"]
    texts = _try_encodings(data, encodings) or _try_encodings(data, ["cp949", "cp1252"])
    if not texts:
        raise _unusable(table, "bytes that are no text")
    best = max(texts, key=lambda name: _count_known(table, texts[name], files))
    if best not in encodings:
        logger.warning("%s is not UTF-8; it is read as %s", table, best)
    return texts[best]


def _count_known(table: Path, text: str, files: set[str]) -> int:
    """Count columns and files that a text names as they are."""
    _, ((_, header), *_) = _split_lines(table, text)
    folded = _fold(text)
    names = {_fold(file.rpartition("/")[2]) for file in files}
    return sum(bool(_read_column(cell)[0]) for cell in header) + sum(n in folded for n in names)


def _try_encodings(data: bytes, encodings: Iterable[str]) -> dict[str, str]:
    texts = {}
    for encoding in encodings:
        try:
            texts[encoding] = data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return texts


def _split_lines(table: Path, text: str) -> tuple[str, list[tuple[int, list[str]]]]:
    """Split a text into the cells of its lines, by the delimiter that its header has."""
    skipped = 0
    delimiter = None
    text = text.lstrip("\ufeff")
    if declared := re.match(r'"?sep=(.)"?\s*?\r?\n', text):
        delimiter, text, skipped = declared[1], text[declared.end() :], 1
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = delimiter or max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    lines = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                lines.append((reader.line_num + skipped, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise _unusable(table, f"a table that cannot be read ({error})") from error
    if not lines:
        raise _unusable(table, "nothing in it")
    return delimiter, lines


def _read_header(table: Path, header: list[str], required: Iterable[str]) -> list[tuple[str, str]]:
    """Column and unit of each cell of the header; an empty column where it has no meaning here."""
    columns = [_read_column(cell) for cell in header]
    names = [name for name, _ in columns if name]
    missing = [name for name in required if name not in names]
    if missing:
        raise TableError(
            table,
            found=f"no column {' and '.join(missing)} (columns: {', '.join(header)})",
            expected=f"the columns {' and '.join(required)}, separated by comma, semicolon or tab",
            action=_HOW_TO_SAVE,
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TableError(
            table,
            found=f"several columns that mean {' and '.join(twice)} ({', '.join(header)})",
            expected="one of each",
            action="remove all but one",
        )
    unused = [cell for cell, (name, _) in zip(header, columns, strict=True) if cell and not name]
    if unused:
        logger.warning(
            "%s: columns that are not used: %s; known are %s",
            table, ", ".join(unused), ", ".join(_COLUMNS),
        )  # fmt: skip
    return columns


def _read_column(cell: str) -> tuple[str, str]:
    """Column and unit that a cell of the header means, both empty where it means none."""
    text = _fold(cell).replace("_", " ").strip()
    for name, aliases in _COLUMNS.items():
        if text == name.replace("_", " "):
            return name, _UNITS.get(name, "")
        if text in aliases:
            return name, ""
    match = _HEADER_UNIT.match(text)
    stem, _, last = text.rpartition(" ")
    for base, unit in ((match["name"], match["unit"]) if match else ("", ""), (stem, last)):
        for name in (name for name in _UNITS if base.strip() in _COLUMNS[name]):
            if _read_quantity(name, f"100 {unit}", "") is not None:
                return name, unit
    return "", ""


def _read_row(
    line: int, cells: list[str], columns: list[tuple[str, str]], delimiter: str
) -> TableRow:
    found: dict[str, str] = {}
    problem = ""
    if any(cells[len(columns) :]):
        problem = f"{len(cells)} cells below a header of {len(columns)}"
    for (name, unit), cell in zip(columns, cells, strict=False):
        if not name or not cell:
            continue
        try:
            found[name] = _read_cell(name, unit, cell, delimiter)
        except ValueError as error:
            problem = problem or f"'{cell}' in column {name}: {error}"
    file = found.pop("file", "").replace("\\", "/")
    return TableRow(line, file, found.pop("class", ""), found, problem)


def _read_cell(name: str, unit: str, cell: str, delimiter: str) -> str:
    """Read a cell as text, a number in the unit of its column.

    Raises
    ------
    ValueError
        If it is no such value, or an implausible one.
    """
    if name == "acquired_at" and parse_moment(cell) is None:
        raise ValueError("no date such as 2019-09-02 00:09:36")
    if name not in _UNITS:
        return cell
    grouped = _GROUPED.fullmatch(cell) if name == "magnification" else None
    grouped = grouped or _GROUPED_LENGTH.match(cell) if delimiter == ";" else grouped
    if grouped and grouped[1] in _TWO_MEANINGS.get(delimiter, ".,"):
        raise ValueError("thousands or a fraction? write it in another unit, or without separator")
    value = _read_quantity(name, cell, unit)
    if value is None:
        raise ValueError(
            f"no number with a unit (in the cell, or in the column's name as in {name})"
        )
    low, high = _PLAUSIBLE[name]
    if not low <= value <= high:
        raise ValueError(f"implausible; {low:g} to {high:g} {_UNITS[name]} are possible")
    return f"{value:.12g}"


def _read_quantity(name: str, text: str, unit: str) -> float | None:
    """Read a number with its own unit, or with that of its column."""
    if name == "pixel_size_um":
        return parse_length_um(text, unit or None)
    if name == "magnification":
        return parse_magnification(text)
    bare = not split_quantity(text)[1]
    return parse_voltage_kv(f"{text} {unit}" if bare else text)


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _unusable(table: Path, found: str) -> TableError:
    return TableError(table, found=found, expected="a table as CSV", action=_HOW_TO_SAVE)
