"""The text that the microscope writes beside a frame, or into its file.

Real sidecars are UTF-8 with CRLF, made of ``[Section]`` and ``key : value`` lines. Keys repeat
across sections (``Magnification``) and carry the vendor's typos (``Acceleated Voltage``,
``Discription``, ``Bipolra``), so every field stays under its section and in its own spelling.
JEOL's ``$KEY value`` lines and Zeiss' pairs of lines (``AP_MAG``, ``Mag = 5.00 K X``) are fields
of the same kind.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import PurePosixPath
from typing import TypeAlias, TypeVar

import pandas as pd

from ncm_kedro.units import (
    parse_magnification,
    parse_moment,
    parse_number,
    parse_voltage_kv,
    um_per_unit,
)

FieldValue: TypeAlias = str | list[str]
Sections: TypeAlias = dict[str, dict[str, FieldValue]]
_T = TypeVar("_T")

MISSING = "sidecar_missing"
MALFORMED = "sidecar_malformed"

_MAGNIFICATION_KEYS = (
    "AP_MAG", "CM_MAG", "Magnification", "Mag", "배율", "확대 배율", "倍率", "Vergrößerung",
    "Vergroesserung", "放大倍数", "放大倍率", "Grossissement",
)  # fmt: skip
_VOLTAGE_KEYS = (
    "AP_ACTUALKV", "CM_ACCEL_VOLT", "Acceleated Voltage", "Accelerating Voltage",
    "Acceleration Voltage", "Acc Voltage", "Acc V", "HV", "EHT", "High Voltage", "가속전압",
    "加速電圧", "加速电压", "Beschleunigungsspannung", "Hochspannung",
)  # fmt: skip
_INSTRUMENT_KEYS = (
    "Model", "SystemType", "InstructName", "CM_INSTRUMENT", "DP_SEM", "Instrument", "Device",
    "기기", "장비", "装置名", "Gerät",
)  # fmt: skip
_DATE_KEYS = (
    "TimeOfCreation", "CM_DATE", "AP_DATE", "Date", "Acquired", "DateTime", "날짜", "日付", "Datum",
)  # fmt: skip
_TIME_KEYS = ("CM_TIME", "AP_TIME", "Time", "시간", "時刻", "Uhrzeit")
_SECTION = re.compile(r"^\[(.*)\]$")
_FIELD = re.compile(r"^([^:=：＝\t]{1,60}?)\s*[:=：＝\t]\s*(.*)$")  # noqa: RUF001
_JEOL_FIELD = re.compile(r"^\$+(\S+)\s*(.*)$")
_ZEISS_NAME = re.compile(r"^[A-Z]{2}_[A-Z0-9_]+$")
_FIRST_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)?(?:[eE][-+]?\d+)?")
_TWO_NUMBERS = re.compile(r"(\d+)\s*[,;xX×*\s]\s*(\d+)")  # noqa: RUF001
_UNIT_IN_KEY = re.compile(r"\s*(?:[(\[]\s*(k?V|x)\s*[)\]]|_(k?V))$", re.IGNORECASE)
_CLOCK = re.compile(r"^(\d{1,2}):(\d{2}):(\d{2})\.(\d{1,7})$")
_MIN_BYTES = 3  # shorter files are strays, not sidecars
_MAX_UNPARSED = 0.5
_OTHER_ENCODINGS = ("cp949", "cp932", "cp1252")


@dataclass(frozen=True)
class Sidecar:
    """All fields of a sidecar, or of what an instrument wrote into an image file.

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
        return self._first(parse_magnification, *_MAGNIFICATION_KEYS)

    @property
    def accelerating_voltage_kv(self) -> float | None:
        """Accelerating voltage (kV); without a unit, a number above 100 is taken as V."""
        return self._first(parse_voltage_kv, *_VOLTAGE_KEYS)

    @property
    def instrument(self) -> str | None:
        """Model of the microscope."""
        return self._first(str, *_INSTRUMENT_KEYS)

    @property
    def acquired_at(self) -> datetime | None:
        """Moment of acquisition, local time; the fraction of a second comes from ``Time``."""
        date = self._first(str, *_DATE_KEYS)
        time = self._first(str, *_TIME_KEYS) or ""
        moment = None if date is None else parse_moment(date) or parse_moment(f"{date} {time}")
        clock = _CLOCK.match(time)
        if moment is None or clock is None:
            return moment
        hour, minute, second = (int(part) for part in clock.groups()[:3])
        if (hour, minute, second) != (moment.hour, moment.minute, moment.second):
            return moment
        return moment + timedelta(microseconds=int(clock[4].ljust(7, "0")[:6]))

    @property
    def path_parts(self) -> tuple[str, ...]:
        """Parts of the path that the frame was first saved under, drive and file name included."""
        text = self._first(str, "File Name", "ImageName") or ""
        return PurePosixPath(text.replace("\\", "/")).parts

    @property
    def focus(self) -> float | None:
        """Focus setting (instrument's units)."""
        return self._first(_read_number, "Focus")

    @property
    def brightness(self) -> float | None:
        """Brightness setting (instrument's units)."""
        return self._first(_read_number, "Brightness")

    @property
    def contrast(self) -> float | None:
        """Contrast setting (instrument's units)."""
        return self._first(_read_number, "Contrast")

    def find(self, key: str, section: str | None = None) -> Iterator[str]:
        """Yield every value of a key that is not empty, section by section.

        Case, blanks and punctuation of the key do not matter: ``Pixel Size`` is ``PixelSize``. A
        unit in the key, as in ``HV (kV)`` and ``HV_kV``, is set behind a number without one.
        """
        wanted = fold_key(key)
        for title, fields in self.sections.items():
            if section is not None and fold_key(title) != fold_key(section):
                continue
            for name, value in fields.items():
                bare, unit = _split_unit(name)
                if wanted in (fold_key(name), fold_key(bare)):
                    for part in filter(None, _as_list(value)):
                        yield f"{part} {unit}" if unit and part[-1].isdigit() else part

    def find_pair(self, key: str, section: str | None = None) -> tuple[int, int] | None:
        """Return a width and height such as ``1280x960`` or ``480,480``."""
        for value in self.find(key, section):
            if match := _TWO_NUMBERS.search(value):
                return int(match[1]), int(match[2])
        return None

    def _first(self, read: Callable[[str], _T | None], *keys: str) -> _T | None:
        values = (read(value) for key in keys for value in self.find(key))
        return next((value for value in values if value is not None), None)


def read_sidecar(data: bytes | None) -> Sidecar:
    """Parse a sidecar; one that is missing or broken comes back empty and flagged.

    Parameters
    ----------
    data
        Content of the file, None without one. UTF-8 (with or without mark), UTF-16, CP949,
        Shift JIS and CP1252 are understood. A file of one or two bytes is a stray and counts as
        missing.
    """
    if data is None or len(data.strip()) < _MIN_BYTES:
        return Sidecar(flags=(MISSING,))
    text = _decode_text(data)
    if text is None:
        return Sidecar(flags=(MALFORMED,))
    sections, unparsed = parse_sections(text)
    parsed = sum(len(fields) for fields in sections.values())
    if not parsed or unparsed > _MAX_UNPARSED * (parsed + unparsed):
        return Sidecar(flags=(MALFORMED,))
    return Sidecar(sections)


def parse_sections(text: str) -> tuple[Sections, int]:
    """Split a text into fields by section, and count the lines that are neither.

    A Zeiss line such as ``AP_MAG`` names the field of the next line in its place.
    """
    sections: Sections = {}
    section, name, unparsed = "", "", 0
    for line in (raw.strip() for raw in text.splitlines()):
        if heading := _SECTION.match(line):
            section = heading[1].strip().lstrip("-").strip()
        elif _ZEISS_NAME.match(line):
            name = line
        elif match := _JEOL_FIELD.match(line) or _FIELD.match(line):
            _add_field(sections.setdefault(section, {}), name or match[1].strip(), match[2].strip())
            name = ""
        elif line:
            unparsed, name = unparsed + 1, ""
    return sections, unparsed


def fold_key(key: str) -> str:
    """Reduce a key to its letters and digits, lower case."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", key).casefold()))


def describe_sidecar(sidecar: Sidecar, embedded: Sidecar | None = None) -> Mapping[str, object]:
    """Return the fields that the manifest has columns for, as JSON types.

    Parameters
    ----------
    embedded
        What the instrument wrote into the image file; it answers where the sidecar is silent.
    """
    records = (sidecar, embedded or Sidecar())
    moment = sidecar.acquired_at or records[1].acquired_at
    names = ("magnification", "accelerating_voltage_kv", "instrument")
    return {
        **{name: getattr(sidecar, name) or getattr(records[1], name) for name in names},
        "acquired_at": None if moment is None else moment.isoformat(),
        "sidecar_json": Sidecar({**records[1].sections, **sidecar.sections}).json,
    }


def _split_unit(key: str) -> tuple[str, str]:
    """Split a unit off the end of a key; both parts are the key and nothing without one."""
    found = _UNIT_IN_KEY.search(key)
    return (key[: found.start()], found[1] or found[2]) if found else (key, "")


def _as_list(value: FieldValue) -> list[str]:
    return [value] if isinstance(value, str) else value


def _read_number(text: str) -> float | None:
    match = _FIRST_NUMBER.search(text)
    return parse_number(match[0], comma_groups=False) if match else None


def _decode_text(data: bytes) -> str | None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings: tuple[str, ...] = ("utf-16",)
    elif b"\x00" in data:
        encodings = ("utf-16-le" if data[1:2] == b"\x00" else "utf-16-be",)
    else:
        encodings = ("utf-8-sig",)
    texts = list(_decode_as(data, encodings)) or list(_decode_as(data, _OTHER_ENCODINGS))
    return max(texts, key=_count_known_words, default=None)


def _decode_as(data: bytes, encodings: tuple[str, ...]) -> Iterator[str]:
    for encoding in encodings:
        try:
            yield data.decode(encoding)
        except UnicodeDecodeError:
            continue


def _count_known_words(text: str) -> int:
    """Count keys and units that are known, by which the right encoding is told from others."""
    sections, _ = parse_sections(text)
    known = 0
    for fields in sections.values():
        for key, value in fields.items():
            known += fold_key(key) in _KNOWN_KEYS
            known += any(
                um_per_unit(word) is not None for part in _as_list(value) for word in part.split()
            )
    return known


PIXEL_SIZE_KEYS = (
    "Image Pixel Size", "Pixel Size", "Pixel Size X", "Pixel Width", "픽셀 크기", "픽셀 사이즈",
    "화소 크기", "Pixelgröße", "Pixelgroesse", "Bildpixelgröße", "Bildpixelgroesse",
    "Bildpunktgröße", "ピクセルサイズ", "ピクセル寸法", "画素サイズ", "像素尺寸", "像素大小",
    "Taille de pixel", "Taille du pixel", "Taille des pixels", "Tamaño de píxel",
    "Dimensione pixel",
)  # fmt: skip
"""Names of the pixel size in any format; the number needs a unit."""

_KNOWN_KEYS = frozenset(
    fold_key(key)
    for key in (*PIXEL_SIZE_KEYS, *_MAGNIFICATION_KEYS, *_VOLTAGE_KEYS, *_INSTRUMENT_KEYS,
                *_DATE_KEYS, *_TIME_KEYS)
)  # fmt: skip


def _add_field(fields: dict[str, FieldValue], key: str, value: str) -> None:
    known = fields.get(key)
    if known is None:
        fields[key] = value
    elif isinstance(known, list):
        known.append(value)
    else:
        fields[key] = [known, value]


_SETTING_NUMBER = re.compile(
    r"^[xX]?\s*(?P<value>[-+]?\d+(?:[.,]\d+)?(?:[eE][-+]?\d+)?)\s*"
    r"(?:[pnuµμm]?A|k?V|Volt|[pnuµμmc]?m|m?s|m?Pa|mbar|°C?|%)?$"
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
    return float(found["value"].replace(",", ".")) if found else None
