"""How figures and pages write numbers, intervals, p-values and attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ncm_kedro.particles.columns import ATTRIBUTES

_MONOTONE = 0.2
_NEAR_0 = 0.01
_PAPER_NAMES = {attribute.name: attribute.paper_name for attribute in ATTRIBUTES}


def get_paper_name(name: str) -> str:
    """Return an attribute's name in Table S1 of Li et al. (2022), or the name itself."""
    return _PAPER_NAMES.get(name, name)


def write_value(value: Any) -> str:
    """Return a number with four digits, a sequence or another value as text, '' if missing."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(write_value(part) for part in value)
    if pd.isna(value):
        return ""
    return f"{value:.4g}" if isinstance(value, int | float | np.number) else str(value)


def write_cell(value: Any) -> str:
    """Return a value as it stands in a table: whole numbers in full, others with 3 decimals.

    A number near 0 has two digits.
    """
    if isinstance(value, float | np.floating):
        number = float(value)
        if 0 < abs(number) < _NEAR_0:
            return f"{number:.2g}".replace("-", "\N{MINUS SIGN}")
        return write_number(number, 3)
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(value)
    return write_value(value)


def write_number(
    value: float | None, digits: int = 2, *, signed: bool = False, percent: bool = False
) -> str:
    """Return a number with a true minus, no sign on a rounded 0, and '' if missing.

    Parameters
    ----------
    value
        A number, NaN or None.
    digits
        Decimals.
    signed
        Whether a plus is written.
    percent
        Whether ``value`` is a fraction to be given in per cent, without the sign %.
    """
    if value is None or pd.isna(value):
        return ""
    text = f"{100 * value if percent else value:{'+' if signed else ''}.{digits}f}"
    if text.startswith(("-", "+")) and not text.strip("+-0."):
        text = text[1:]
    return text.replace("-", "\N{MINUS SIGN}", 1)


def write_interval(
    row: Mapping[Any, Any] | None, name: str = "value", digits: int = 2, **style: bool
) -> str:
    """Return a value with its interval, the value alone if it has none, '' if it is missing.

    Parameters
    ----------
    row
        ``name`` with ``<name>_low`` and ``<name>_high``, or with ``low`` and ``high``.
    digits, **style
        As in `write_number`.
    """
    if row is None:
        return ""
    ends = [row.get(f"{name}_{end}", row.get(end)) for end in ("low", "high")]
    middle, low, high = (write_number(each, digits, **style) for each in (row.get(name), *ends))
    return f"{middle} ({low} to {high})" if middle and low and high else middle


def write_change(row: Mapping[Any, Any], name: str, bounds: str) -> str:
    """Return a signed value with its interval in three digits, '' if missing.

    Parameters
    ----------
    row
        ``name`` with ``<bounds>_low`` and ``<bounds>_high``.
    """
    if pd.isna(row[name]):
        return ""
    middle, low, high = (
        f"{value:+.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:+.3g}"
        for value in (row[name], row[f"{bounds}_low"], row[f"{bounds}_high"])
    )
    return f"{middle} ({low} to {high})"


def write_p(value: float | None) -> str:
    """Return a p-value or false-discovery rate with two digits, '' if missing."""
    return "" if value is None or pd.isna(value) else f"{value:.2g}"


def state_p(value: float) -> str:
    """Return a p-value as it stands beside a mark."""
    if np.isnan(value):
        return "p n/a"
    return "p < 1e-12" if value < 1e-12 else f"p = {value:.2g}"


def write_sign(direction: float) -> str:
    """Return the sign of a direction in [-1, 1], ``~`` where it is not monotone, '' for NaN."""
    if not np.isfinite(direction):
        return ""
    if abs(direction) < _MONOTONE:
        return "~"
    return "+" if direction > 0 else "\N{MINUS SIGN}"
