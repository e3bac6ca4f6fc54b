"""Numbers of damage attribution as text, on tables and in sentences."""

from __future__ import annotations

import numpy as np
import pandas as pd

_MONOTONE = 0.2


def write_sign(direction: float) -> str:
    """Return the sign of a direction, ``~`` where there is no one direction.

    Parameters
    ----------
    direction
        In [-1, 1], or NaN.
    """
    if not np.isfinite(direction):
        return ""
    if abs(direction) < _MONOTONE:
        return "~"
    return "+" if direction > 0 else "\N{MINUS SIGN}"


def write_percent(value: float, low: float, high: float, *, signed: bool = False) -> str:
    """Return a share and its interval in per cent.

    Parameters
    ----------
    value, low, high
        Shares, 1 being all.
    signed
        Whether a plus is written.
    """
    form = "+.1f" if signed else ".1f"
    middle, start, end = (trim_number(f"{100 * each:{form}}") for each in (value, low, high))
    return f"{middle} ({start} to {end})"


def write_number(value: float, digits: int = 2) -> str:
    """Return a number, ``''`` where there is none.

    Parameters
    ----------
    value
        A number, or NaN.
    digits
        Behind the point.
    """
    return "" if pd.isna(value) else trim_number(f"{value:.{digits}f}")


def write_interval(value: float, low: float, high: float, digits: int = 2) -> str:
    """Return a number and its interval, ``''`` where there is no number.

    Parameters
    ----------
    value, low, high
        Numbers.
    digits
        Behind the point.
    """
    middle, start, end = (write_number(each, digits) for each in (value, low, high))
    return f"{middle} ({start} to {end})" if np.isfinite([value, low, high]).all() else middle


def trim_number(text: str) -> str:
    """Return a number without the sign of a rounded 0, and with a true minus sign.

    Parameters
    ----------
    text
        A number.
    """
    if text.startswith(("-", "+")) and not text.strip("+-0."):
        text = text[1:]
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text


def write_p(value: float) -> str:
    """Return a p-value or false-discovery rate, ``''`` where there is none.

    Parameters
    ----------
    value
        In [0, 1], or NaN.
    """
    return "" if pd.isna(value) else f"{value:.2g}"
