"""Conversion of lengths and areas; quantities, dates and names as instruments write them."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime

UM2_PER_MM2 = 1.0e6
M_PER_UM = 1.0e-6

_UM_PER_UNIT = {
    "fm": 1e-9, "pm": 1e-6, "å": 1e-4, "nm": 1e-3, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6,
    "inch": 25_400.0,
}  # fmt: skip
_SPELLINGS = {
    "μm": "um", "micron": "um", "mikron": "um", "마이크론": "um", "ミクロン": "um", "微米": "um",
    "나노미터": "nm", "ナノメートル": "nm", "纳米": "nm", "마이크로미터": "um",
    "マイクロメートル": "um", "밀리미터": "mm", "ミリメートル": "mm", "毫米": "mm",
    "angstrom": "å", "in": "inch",
}  # fmt: skip
_METRE = re.compile(r"(pico|nano|micro|mikro|milli|centi|zenti|)met(?:er|re)")
_PREFIXES = {"pico": "p", "nano": "n", "micro": "u", "mikro": "u", "milli": "m"}
_PER_PIXEL = re.compile(r"\s*(?:/|per|je|pro)\s*(?:px|pixel|pix|pel|픽셀|画素|ピクセル|像素)$")
_QUANTITY = re.compile(r"([-+]?(?:\d[\d.,' ]*|\.\d+)(?:e[-+]?\d+)?)\s*(.*)")
_POWER_OF_TEN = re.compile(r"(?<=\d)\s*[x*·]\s*10\s*(?:\^|(?=[-+]))\s*([-+]?\d+)")
_GROUPS = re.compile(r"\d{1,3}(?:[.,]\d{3})+")
_PLAIN = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?")
_MAGNIFICATION = re.compile(
    r"(?P<before>x)?\s*(?P<number>\d(?:[\d.,' ]*\d)?(?:e[-+]?\d+)?)\s*"
    r"(?P<factor>k|m)?\s*(?P<after>x\b|倍|:1$)?(?P<rest>[-\s].*)?"
)
_VOLT_UNITS = ("", "v", "volt", "volts", "kv", "kev")
_MAX_KV, _MIN_VOLT = 40.0, 100.0  # of numbers without a unit
_LOWEST_KV = 0.01  # no SEM lands electrons at less
_MIN_MAGNIFICATION = 10.0

_MONTHS = {
    name: number
    for number, names in enumerate(
        ("jan", "feb", "mar mär", "apr", "may mai", "jun", "jul", "aug", "sep", "oct okt", "nov",
         "dec dez"), start=1)
    for name in names.split()
}  # fmt: skip
_YEAR_FIRST = re.compile(r"(\d{4})\s*[-./:年년]\s*(\d{1,2})\s*[-./:月월]\s*(\d{1,2})")
_DAY_FIRST = re.compile(r"\b(\d{1,2})\.\s*(\d{1,2})\.\s*(\d{4})")
_MONTH_NAMED = re.compile(r"\b(\d{1,2})[-.\s]+([^\W\d_]{3})[^\W\d_]*[-.,\s]+(\d{4})")
_SLASHED = re.compile(r"\b(\d{1,2})/(\d{1,2})/(\d{4})")
_TIME = re.compile(
    r"(?P<half>오전|오후|午前|午後|上午|下午|AM|PM)?\s*(?<!\d)(?P<hour>\d{1,2}):(?P<minute>\d{2})"
    r"(?::(?P<second>\d{2}))?(?:\.\d+)?\s*(?P<half_after>AM|PM)?",
    re.IGNORECASE,
)
_AFTERNOON = ("오후", "午後", "下午", "PM")


def area_px_to_mm2(area_px: float, pixel_size_um: float) -> float:
    """Convert an area in square pixels to mm².

    Parameters
    ----------
    area_px
        Area, px².
    pixel_size_um
        Edge of a pixel, um.
    """
    return area_px * pixel_size_um**2 / UM2_PER_MM2


def parse_number(text: str, *, comma_groups: bool | None = None) -> float | None:
    """Read a number as any country prints it: ``1250.5``, ``1,250.5``, ``1.250,5``, ``2.48E-8``.

    Parameters
    ----------
    comma_groups
        What the comma of ``1,250`` is: True for a thousands separator, False for a decimal comma,
        None to refuse such a number.

    Returns
    -------
    float or None
        None if the text is no number, or could be two.
    """
    digits = re.sub(r"(?<=\d)[ '](?=\d{3}(?!\d))", "", _normalise(text))
    comma, dot = digits.rfind(","), digits.rfind(".")
    mantissa = digits.partition("e")[0].lstrip("+-")
    if comma >= 0 and dot >= 0:
        group, decimal = (",", ".") if dot > comma else (".", ",")
        if not _GROUPS.fullmatch(mantissa.rpartition(decimal)[0]):
            return None
        digits = digits.replace(group, "").replace(decimal, ".")
    elif max(digits.count(","), digits.count(".")) > 1:
        if not _GROUPS.fullmatch(mantissa):
            return None
        digits = digits.replace(",", "").replace(".", "")
    elif comma >= 0:
        if not mantissa.startswith("0") and _GROUPS.fullmatch(mantissa):
            if comma_groups is None:
                return None
            digits = digits.replace(",", "" if comma_groups else ".")
        digits = digits.replace(",", ".")
    return float(digits) if _PLAIN.fullmatch(digits) else None


def parse_length_um(text: str, unit: str | None = None) -> float | None:
    """Read a length with its unit: ``24.8 nm``, ``0,0248 µm``, ``2.48E-8 m``, ``558 pm/px``.

    Parameters
    ----------
    unit
        Unit of a text that names none (``nm``, ``um``, ...); None if such a number is no length.

    Returns
    -------
    float or None
        Length in um. None if the text is anything else, or if its comma could be a decimal comma
        or a thousands separator (``1,250 nm``).
    """
    number, printed = split_quantity(text)
    scale = um_per_unit(printed or unit or "")
    value = parse_number(number)
    return None if scale is None or value is None else value * scale


def split_quantity(text: str) -> tuple[str, str]:
    """Split a text into its leading number and the rest, both empty without a number."""
    match = _QUANTITY.fullmatch(_normalise(text))
    return (match[1].strip(), match[2].strip()) if match else ("", "")


def um_per_unit(unit: str) -> float | None:
    """Return how many um a unit of length is, None if it is no unit of length."""
    name = _PER_PIXEL.sub("", _normalise(unit).strip("()[]. ")).strip("()[]. ")
    if name.endswith("s"):
        name = name[:-1]
    if metre := _METRE.fullmatch(name):
        name = "cm" if metre[1] in ("centi", "zenti") else _PREFIXES.get(metre[1], "") + "m"
    return _UM_PER_UNIT.get(_SPELLINGS.get(name, name))


def parse_voltage_kv(text: str) -> float | None:
    """Read an accelerating voltage: ``5.0kV``, ``500 V``, ``15000 Volt``.

    Without a unit, up to 40 is taken as kV and above 100 as V: no SEM does otherwise.

    Returns
    -------
    float or None
        kV; None if the text is no voltage above 0.
    """
    number, unit = split_quantity(text)
    value = parse_number(number, comma_groups=True)
    if value is None or value <= 0 or unit not in _VOLT_UNITS:
        return None
    if not unit and _MAX_KV < value <= _MIN_VOLT:
        return None
    in_volt = unit.startswith("v") or (not unit and value > _MIN_VOLT)
    if in_volt and value / 1000 < _LOWEST_KV and _GROUPS.fullmatch(number):
        value *= 1000.0  # 1.500 V of a country that groups by points
    value_kv = value / 1000 if in_volt else value
    return value_kv if value_kv >= _LOWEST_KV else None


def parse_magnification(text: str) -> float | None:
    """Read a magnification: ``x500``, ``5.00 K X``, ``x5,000``, ``1.00k SE(M)``.

    Returns
    -------
    float or None
        No unit; None if the text is no magnification above 0.
    """
    match = _MAGNIFICATION.fullmatch(_normalise(text))
    if match is None:
        return None
    number, factor = match["number"], match["factor"]
    is_marked = bool(match["before"] or match["after"] or factor == "k")
    value = parse_number(number, comma_groups=not factor)
    if value is None or value <= 0 or not (is_marked or (match["rest"] is None and not factor)):
        return None
    if not factor and value < _MIN_MAGNIFICATION and _GROUPS.fullmatch(number):
        value *= 1000.0  # x5.000 of a country that groups by points
    return value * {"k": 1e3, "m": 1e6}.get(factor or "", 1.0)


def _normalise(text: str) -> str:
    """Lower case, one spelling of each sign and unit, exponents as ``e``."""
    plain = unicodedata.normalize("NFKC", text).strip()
    plain = plain.replace("\N{MINUS SIGN}", "-").replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    plain = plain.replace("\N{MULTIPLICATION SIGN}", "x")
    return _POWER_OF_TEN.sub(r"e\1", plain.casefold())


def parse_moment(text: str) -> datetime | None:
    """Read a date and time, with AM/PM in English, Korean or Japanese before or after the time.

    Returns
    -------
    datetime or None
        Local time without zone; None if the text is not a date, or one such as 03/04/2020 that
        countries read in two ways.
    """
    date, end = _read_date(text)
    match = _TIME.search(text, end)
    if date is None or match is None:
        return None
    half = (match["half"] or match["half_after"] or "").upper()
    hour = int(match["hour"])
    if half:
        hour = hour % 12 + (12 if half in _AFTERNOON else 0)
    try:
        return datetime(*date, hour, int(match["minute"]), int(match["second"] or 0))
    except ValueError:
        return None


def _read_date(text: str) -> tuple[tuple[int, int, int] | None, int]:
    """Year, month and day, and where they end."""
    if match := _YEAR_FIRST.search(text):
        return (int(match[1]), int(match[2]), int(match[3])), match.end()
    if match := _DAY_FIRST.search(text):
        return (int(match[3]), int(match[2]), int(match[1])), match.end()
    if (match := _MONTH_NAMED.search(text)) and match[2].casefold() in _MONTHS:
        return (int(match[3]), _MONTHS[match[2].casefold()], int(match[1])), match.end()
    if match := _SLASHED.search(text):
        first, second, year = (int(part) for part in match.groups())
        if first > 12 or first == second:
            return (year, second, first), match.end()
        if second > 12:
            return (year, first, second), match.end()
    return None, 0


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return what sorts names with numbers as people do: ``s2`` before ``s10``."""
    parts = re.split(r"(\d+)", text)  # every second one is a number
    return tuple((1, int(p), "") if n % 2 else (0, 0, p.lower()) for n, p in enumerate(parts) if p)
