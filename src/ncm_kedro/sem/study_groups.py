"""Frames taken in different ways: which groups the manifest holds, and whether they compare."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

_UNITS = {"magnification": "x", "accelerating_voltage_kv": " kV", "instrument": ""}
_CLASSES_NEEDED = 2


@dataclass(frozen=True)
class FrameGroup:
    """Frames of the same classes as the other groups', taken in one way.

    Attributes
    ----------
    name, value
        What they share, and its number where it has one.
    frame_ids
        The frames.
    """

    name: str
    value: float | None
    frame_ids: tuple[str, ...]


def group_frames(manifest: pd.DataFrame, column: str) -> tuple[list[FrameGroup], str | None]:
    """Group frames by how they were taken; all groups show the same classes.

    Parameters
    ----------
    manifest
        The frame table; excluded frames are not used.
    column
        `magnification`, `accelerating_voltage_kv` or `instrument`.

    Returns
    -------
    groups
        At least two, or none.
    reason
        What the manifest holds and what is missing, where there are no two groups to compare.
    """
    frames = manifest[~manifest["excluded"].astype(bool)]
    known = frames[frames[column].notna()]
    classes = known.groupby(column, sort=True)["class"].agg(frozenset)
    usable = classes[classes.map(len) >= _CLASSES_NEEDED]
    common = frozenset.intersection(*usable) if len(usable) else frozenset()
    if len(usable) < 2 or len(common) < _CLASSES_NEEDED:
        return [], _say_what_is_missing(frames, known, column)
    shown = known[known["class"].isin(common)]
    groups = []
    for value in usable.index:
        ids = tuple(sorted(shown.loc[shown[column] == value, "frame_id"]))
        number = float(value) if isinstance(value, float) else None
        groups.append(FrameGroup(_name_value(value, column), number, ids))
    return groups, None


def _say_what_is_missing(frames: pd.DataFrame, known: pd.DataFrame, column: str) -> str:
    held = [
        f"{_name_value(value, column)} ({len(part)} frames of {part['class'].nunique()} classes)"
        for value, part in known.groupby(column, sort=True)
    ]
    unknown = len(frames) - len(known)
    if unknown:
        held.append(f"{unknown} frames without an entry")
    return (
        f"the manifest's column `{column}` holds {', '.join(held) or 'nothing'}; needed are two "
        f"values that show the same two classes or more: add such frames to the raw folders with "
        f"their sidecars, or name `{column}` in frames.csv, and run sem_ingest again"
    )


def _name_value(value: object, column: str) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{text}{_UNITS[column]}"
