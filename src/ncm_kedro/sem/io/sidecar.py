"""The text file that the microscope writes beside each frame.

Real sidecars are UTF-8 with CRLF, made of ``[Section]`` and ``key : value`` lines. Keys repeat
across sections (``Magnification``) and carry the vendor's typos (``Acceleated Voltage``,
``Discription``, ``Bipolra``), so every field stays under its section and in its own spelling.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import PurePosixPath
from typing import TypeAlias

import pandas as pd

FieldValue: TypeAlias = str | list[str]
Sections: TypeAlias = dict[str, dict[str, FieldValue]]

MISSING = "sidecar_missing"
MALFORMED = "sidecar_malformed"

_SECTION = re.compile(r"^\[(.*)\]$")
_FIELD = re.compile(r"^([^:=]{1,60}?)\s*[:=](.*)$")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_DATE = re.compile(
    r"(?P<year>\d{4})[-./](?P<month>\d{1,2})[-./](?P<day>\d{1,2})[T\s]*"
    r"(?P<half>오전|오후|AM|PM)?\s*"
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?(?:\.\d+)?\s*(?P<half_after>AM|PM)?",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"^(\d{1,2}):(\d{2}):(\d{2})\.(\d{1,7})$")
_AFTERNOON = ("오후", "PM")
_MIN_BYTES = 3  # shorter files are strays, not sidecars
_MAX_UNPARSED = 0.5


@dataclass(frozen=True)
class Sidecar:
    """All fields of a sidecar.

    Parameters
    ----------
    sections
        Fields by section; a key that repeats within one section holds a list.
    flags
        ``sidecar_missing`` or ``sidecar_malformed`` where it applies.
    """

    sections: Sections = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    @cached_property
    def json(self) -> str:
        """All fields as JSON ``{section: {key: value}}``."""
        return json.dumps(self.sections, ensure_ascii=False, sort_keys=True)

    @property
    def magnification(self) -> float | None:
        """Magnification (no unit)."""
        return self._number("Magnification", "Mag")

    @property
    def accelerating_voltage_kv(self) -> float | None:
        """Accelerating voltage (kV); a value above 1000 is taken as V."""
        value = self._number("Acceleated Voltage", "Accelerating Voltage", "HV", "EHT")
        return value / 1000 if value is not None and value >= 1000 else value

    @property
    def instrument(self) -> str | None:
        """Model of the microscope."""
        return self._text("Model", "Instrument", "Device")

    @property
    def acquired_at(self) -> datetime | None:
        """Moment of acquisition, local time; the fraction of a second comes from ``Time``."""
        text = self._text("Date", "Acquired", "DateTime")
        moment = None if text is None else parse_moment(text)
        clock = _CLOCK.match(self._text("Time") or "")
        if moment is None or clock is None:
            return moment
        hour, minute, second = (int(part) for part in clock.groups()[:3])
        if (hour, minute, second) != (moment.hour, moment.minute, moment.second):
            return moment
        return moment + timedelta(microseconds=int(clock[4].ljust(7, "0")[:6]))

    @property
    def path_parts(self) -> tuple[str, ...]:
        """Parts of the path that the frame was first saved under, drive and file name included."""
        text = self._text("File Name", "FileName", "ImageName") or ""
        return PurePosixPath(text.replace("\\", "/")).parts

    @property
    def focus(self) -> float | None:
        """Focus setting (instrument's units)."""
        return self._number("Focus")

    @property
    def brightness(self) -> float | None:
        """Brightness setting (instrument's units)."""
        return self._number("Brightness")

    @property
    def contrast(self) -> float | None:
        """Contrast setting (instrument's units)."""
        return self._number("Contrast")

    @property
    def scan_pixel_um(self) -> float | None:
        """Pixel size of the scan (um); it refers to ``scan_width_px``, not to the saved image."""
        return self._number("Pixel Size", "PixelSize")

    @property
    def scan_width_px(self) -> int | None:
        """Width of the scanned frame (px)."""
        value = self._number("Frame Size", "Image Size")
        return None if value is None else int(value)

    def find(self, key: str) -> Iterator[str]:
        """Yield every value of a key, section by section, whatever its case."""
        for fields in self.sections.values():
            for name, value in fields.items():
                if name.casefold() == key.casefold():
                    yield from [value] if isinstance(value, str) else value

    def _text(self, *keys: str) -> str | None:
        return next((value for key in keys for value in self.find(key) if value), None)

    def _number(self, *keys: str) -> float | None:
        for key in keys:
            for value in self.find(key):
                if match := _NUMBER.search(value):
                    return float(match[0])
        return None


def read_sidecar(data: bytes | None) -> Sidecar:
    """Parse a sidecar; one that is missing or broken comes back empty and flagged.

    Parameters
    ----------
    data
        Content of the file, None without one. UTF-8 (with or without mark), CP949 and UTF-16 are
        understood. A file of one or two bytes is a stray and counts as missing.
    """
    if data is None or len(data.strip()) < _MIN_BYTES:
        return Sidecar(flags=(MISSING,))
    text = _decode_text(data)
    if text is None:
        return Sidecar(flags=(MALFORMED,))
    sections, unparsed = _parse_sections(text)
    parsed = sum(len(fields) for fields in sections.values())
    if not parsed or unparsed > _MAX_UNPARSED * (parsed + unparsed):
        return Sidecar(flags=(MALFORMED,))
    return Sidecar(sections)


def parse_moment(text: str) -> datetime | None:
    """Read a date and time, with AM/PM in English or Korean before or after the time.

    Returns
    -------
    datetime or None
        Local time without zone; None if the text is not a date.
    """
    match = _DATE.search(text)
    if match is None:
        return None
    half = (match["half"] or match["half_after"] or "").upper()
    hour = int(match["hour"])
    if half:
        hour = hour % 12 + (12 if half in _AFTERNOON else 0)
    try:
        return datetime(
            int(match["year"]),
            int(match["month"]),
            int(match["day"]),
            hour,
            int(match["minute"]),
            int(match["second"] or 0),
        )
    except ValueError:
        return None


def describe_sidecar(sidecar: Sidecar) -> Mapping[str, object]:
    """Return the fields that the manifest has columns for, as JSON types."""
    moment = sidecar.acquired_at
    return {
        "magnification": sidecar.magnification,
        "accelerating_voltage_kv": sidecar.accelerating_voltage_kv,
        "instrument": sidecar.instrument,
        "acquired_at": None if moment is None else moment.isoformat(),
        "sidecar_json": sidecar.json,
    }


def _decode_text(data: bytes) -> str | None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif b"\x00" in data:
        encodings = ["utf-16-le" if data[1:2] == b"\x00" else "utf-16-be"]
    else:
        encodings = ["utf-8-sig", "cp949"]
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def _parse_sections(text: str) -> tuple[Sections, int]:
    sections: Sections = {}
    section, unparsed = "", 0
    for line in (raw.strip() for raw in text.splitlines()):
        if heading := _SECTION.match(line):
            section = heading[1].strip().lstrip("-").strip()
        elif match := _FIELD.match(line):
            _add_field(sections.setdefault(section, {}), match[1].strip(), match[2].strip())
        elif line:
            unparsed += 1
    return sections, unparsed


def _add_field(fields: dict[str, FieldValue], key: str, value: str) -> None:
    known = fields.get(key)
    if known is None:
        fields[key] = value
    elif isinstance(known, list):
        known.append(value)
    else:
        fields[key] = [known, value]


_SETTING_NUMBER = re.compile(
    r"^[xX]?\s*(?P<value>[-+]?\d+(?:\.\d+)?)\s*(?:uA|µA|A|kV|V|mm|um|nm|°|%)?$"
)
_NOT_A_SETTING = ("date", "time", "file name", "filament current")
_FOCUS = "focus"


def read_settings(manifest: pd.DataFrame) -> pd.DataFrame:
    """Read all numeric settings of the sidecars.

    Dates, file names and the filament current, a reading that drifts, are no settings.

    Parameters
    ----------
    manifest
        With `sidecar_json`: sections, keys and values of each frame's sidecar as JSON.

    Returns
    -------
    pandas.DataFrame
        Index as the manifest, a float column ``<section>|<key>`` per setting, sorted; missing
        values are not numbers; settings that no frame has fall out.
    """
    rows = [_read_row(text) for text in manifest.get("sidecar_json", pd.Series(dtype="str"))]
    table = pd.DataFrame(rows, index=manifest.index[: len(rows)], dtype="float64")
    table = table.reindex(manifest.index)
    return table[sorted(table.columns.astype(str))]


def focus_columns(settings: pd.DataFrame) -> list[str]:
    """Name the settings of the focus, or copies of it under another name."""
    named = [
        name for name in settings.columns.astype(str) if name.rpartition("|")[2].lower() == _FOCUS
    ]
    section = [
        name for name in settings.columns.astype(str) if name.partition("|")[0].lower() == _FOCUS
    ]
    repeats = [
        name for name in settings if any(settings[name].equals(settings[focus]) for focus in named)
    ]
    return sorted({*named, *section, *repeats})


def session_settings(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return focus, brightness and contrast of each frame, as far as its sidecar has them."""
    settings = read_settings(manifest)
    chosen = {}
    for wanted in (_FOCUS, "brightness", "contrast"):
        names = [
            name
            for name in settings.columns.astype(str)
            if name.rpartition("|")[2].lower() == wanted
        ]
        if names:
            chosen[wanted] = settings[names[0]]
    return pd.DataFrame(chosen, index=manifest.index)


def _read_row(text: object) -> dict[str, float]:
    fields = json.loads(text) if isinstance(text, str) and text else {}
    row = {}
    for section, entries in fields.items():
        if not isinstance(entries, Mapping):
            continue
        for key, value in entries.items():
            number = _as_number(value)
            if number is not None and key.strip().lower() not in _NOT_A_SETTING:
                row[f"{section.strip(' -')}|{key.strip()}"] = number
    return row


def _as_number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    found = _SETTING_NUMBER.match(value.strip()) if isinstance(value, str) else None
    return float(found["value"]) if found else None
