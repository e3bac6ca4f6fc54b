"""Frames taken in different ways: which groups the manifest holds, and whether they compare.

What each study asks, and what to distrust in its answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ncm_kedro.params.sem_studies import StudyName

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
        return [], _describe_missing(frames, known, column)
    shown = known[known["class"].isin(common)]
    groups = []
    for value in usable.index:
        ids = tuple(sorted(shown.loc[shown[column] == value, "frame_id"]))
        number = float(value) if isinstance(value, float) else None
        groups.append(FrameGroup(_name_value(value, column), number, ids))
    return groups, None


def _describe_missing(frames: pd.DataFrame, known: pd.DataFrame, column: str) -> str:
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


TEXTS: dict[StudyName, tuple[str, str]] = {
    "crop_size": ("Crop size", "How much ground must a crop show at the frames' own pixel size?"),
    "image_count": ("Images per class", "How many crops per class are enough?"),
    "normalisation": ("Normalisation", "Does normalising grey values help, trained anew?"),
    "grey_levels": ("Grey levels", "Do grey levels alone tell classes, or splits, apart?"),
    "weights": ("Pretrained weights", "Are published weights a better start than random ones?"),
    "augmentation": ("Augmentation", "Do random flips, turns, shifts and contrast help?"),
    "magnification": ("Magnification", "Does the magnification matter?"),
    "accelerating_voltage": ("Accelerating voltage", "Does the accelerating voltage matter?"),
    "microscope": ("Microscope", "Does another microscope, such as an optical one, do as well?"),
    "split": ("Split", "What is a test worth whose frames overlap those of training?"),
}
"""Title and question of each study."""

CAVEATS = (
    "One seed and one split: another seed of weights or of cuts moves a score too; set `seed` "
    "anew to see by how much.",
    "Intervals resample areas within classes: they say nothing about another electrode or session.",
    "Each difference has an interval of its own; among many, some exclude zero by chance.",
)
"""What holds for all of them."""

NOTES: dict[StudyName, tuple[str, ...]] = {
    "crop_size": (
        "The number of crops is the same at every size, the ground is not: larger crops overlap "
        "each other more, and their test shows fewer areas.",
    ),
    "image_count": (
        "More crops come from the same ground; as published, the validation split grows with them.",
    ),
    "normalisation": (
        "One network is also tested on crops normalised per image that it was never trained on.",
    ),
    "split": ("Split by frame, test crops show ground that training crops show too.",),
}
"""What holds for one."""
