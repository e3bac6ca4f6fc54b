"""Instrument settings as numbers, from the sidecar fields kept in the manifest."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pandas as pd

_NUMBER = re.compile(r"^[xX]?\s*(?P<value>[-+]?\d+(?:\.\d+)?)\s*(?:uA|µA|A|kV|V|mm|um|nm|°|%)?$")
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
    """Name the settings that say the focus, or repeat it under another name.

    Parameters
    ----------
    settings
        What `read_settings` returned.
    """
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
    """Give focus, brightness and contrast of each frame, as far as its sidecar says them."""
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
    found = _NUMBER.match(value.strip()) if isinstance(value, str) else None
    return float(found["value"]) if found else None
