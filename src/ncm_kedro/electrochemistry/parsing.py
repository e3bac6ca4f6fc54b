"""Text of a cycler's export to numbers; what is not a number is told, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.errors import TableError

FloatArray = NDArray[np.float64]

_CLOCK = r"^\s*(?:(\d+)\s*[dD](?:ays?,?)?\s*)?(\d+):(\d{1,2}):(\d{1,2}(?:\.\d+)?)\s*$"
_SECONDS = (86400.0, 3600.0, 60.0, 1.0)


def parse_numbers(values: pd.Series[Any], *, decimal_comma: bool = False) -> FloatArray:
    """Return a column as numbers, NaN where a value is none or not finite.

    Parameters
    ----------
    values
        Text or numbers.
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
    values
        Text or numbers.
    unit
        As the header gives it.
    units
        Base units per unit.
    header
        Of the column, for the message.
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
    """Return times written as ``hh:mm:ss``, with or without days before, in s; NaN for others.

    Parameters
    ----------
    values
        Text.
    """
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
