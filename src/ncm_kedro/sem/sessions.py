"""Order of frames in time, and the sessions at the microscope that they come from."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.params.sem_mosaic import MosaicParams
from ncm_kedro.sem.settings_table import session_settings

PIXEL_SIZE_STEP = 0.05
_SETTINGS = ("magnification", "accelerating_voltage_kv", "instrument", "pixel_size_um")


def order_by_time(manifest: pd.DataFrame) -> pd.DataFrame:
    """Sort frames by class, then time, then running number.

    A frame without a time takes that of the frame before it by running number.

    Parameters
    ----------
    manifest
        With `class`, `file` and `acquired_at`, in any order.
    """
    by_number = manifest.assign(_key=manifest["file"].map(_natural_key)).sort_values(
        ["class", "_key"], kind="stable"
    )
    times = by_number.groupby("class")["acquired_at"].transform(lambda part: part.ffill().bfill())
    rank = np.arange(len(by_number))
    return (
        by_number.assign(_time=times, _rank=rank)
        .sort_values(["class", "_time", "_rank"], kind="stable")
        .drop(columns=["_key", "_time", "_rank"])
    )


def assign_sessions(ordered: pd.DataFrame, params: MosaicParams) -> NDArray[np.object_]:
    """Name the session of each frame, ``<class>/s01`` ....

    A session ends where the class ends, after a pause of `session_gap_h`, or where an instrument
    setting (magnification, voltage, instrument, pixel size, and as far as the sidecar says them
    focus, brightness, contrast) changes.

    Parameters
    ----------
    ordered
        Frames in the order of `order_by_time`.
    params
        The pause.
    """
    classes = ordered["class"].to_numpy()
    begins = np.r_[True, classes[1:] != classes[:-1]] if len(ordered) else np.zeros(0, bool)
    gap_h = ordered["acquired_at"].ffill().diff().dt.total_seconds() / 3600
    begins |= gap_h.fillna(0).abs().to_numpy() > params.session_gap_h
    settings = pd.concat([ordered[list(_SETTINGS)], session_settings(ordered)], axis=1)
    for name in settings:
        begins |= _changes(settings[name], classes)
    number = pd.Series(begins).groupby(classes).cumsum()
    return np.array(
        [f"{name}/s{count:02d}" for name, count in zip(classes, number, strict=True)], dtype=object
    )


def _changes(values: pd.Series, classes: NDArray[np.object_]) -> NDArray[np.bool_]:
    filled = values.groupby(classes).transform(lambda part: part.ffill().bfill())
    if pd.api.types.is_numeric_dtype(filled):
        step = PIXEL_SIZE_STEP * filled.abs() if values.name == "pixel_size_um" else 0.0
        changed = filled.diff().abs() > step
    else:
        changed = (filled != filled.shift()) & filled.notna() & filled.shift().notna()
    return changed.fillna(False).to_numpy(dtype=bool)


def _natural_key(file: str) -> tuple[tuple[int, str], ...]:
    return tuple(
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", file)
    )
