"""Dates and times as instruments of several countries print them."""

from __future__ import annotations

import re
from datetime import datetime

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
