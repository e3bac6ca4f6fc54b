"""Which frames are excluded, and why. Nothing is deleted; the rules work on the table alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.errors import FrameError
from ncm_kedro.params.sem_ingest import QualityParams
from ncm_kedro.sem.audit.quality import group_scales
from ncm_kedro.sem.io.banner import ANNOTATED_INSIDE
from ncm_kedro.sem.io.decoding import COLOURED
from ncm_kedro.sem.io.grey_range import RANGE_UNDERUSED
from ncm_kedro.sem.io.sidecar import Sidecar

PARTLY_BARE, CLIPPED, BLURRED = "partly_bare", "clipped", "blurred"
DUPLICATE, NEAR_DUPLICATE = "duplicate", "near_duplicate"
PROVENANCE, QUARANTINED = "provenance_token", "quarantined"

_UNUSABLE = {
    RANGE_UNDERUSED: "dim: below an eighth of the grey range that the instrument's frames share "
    "(of another detector? read it in a run of its own)",
    ANNOTATED_INSIDE: "annotated: text or marks are drawn into the image",
    COLOURED: "coloured: a drawing, an overlay or an element map",
}
_WORD = re.compile(r"[^A-Za-z0-9]+")
_COMPOSITION_WORD = re.compile(r"(?:ncm|nmc)(\d{3})", re.IGNORECASE)
_STATE_WORD = re.compile(r"(formation)|\d*(cycle[ds]?)", re.IGNORECASE)
_SPREAD_FLOOR = 0.01  # of the value: two frames alone have no spread of their own


@dataclass(frozen=True)
class Split:
    """A set of values split in two.

    Parameters
    ----------
    threshold
        Midway between the two groups.
    separation
        Ashman's D: distance of the means over the root mean square of the standard deviations.
    """

    threshold: float
    separation: float


def decide_exclusions(table: pd.DataFrame, params: QualityParams) -> pd.DataFrame:
    """Flag frames, and say which are excluded and why.

    A frame is excluded if it is drawn on, dim, bare, clipped, out of focus, a copy of an earlier
    frame or of a frame of another class, or quarantined: the path in its sidecar names another
    material or class, **and** its texture stands apart from the rest of its class
    (:func:`split_values`). The path alone only flags, since good frames carry misleading paths too.

    Parameters
    ----------
    table
        Manifest with the columns of ``assess_frames`` and ``class, composition, state, flags,
        pixel_size_um, sidecar_json``.

    Returns
    -------
    DataFrame
        The table with ``flags`` (sorted, joined by ``;``), ``excluded`` and ``exclusion_reason``
        (null where not excluded) set.
    """
    tokens = pd.Series(
        [
            find_contradiction(*row, ood_materials=params.ood_materials)
            for row in table[["composition", "state", "sidecar_json"]].itertuples(index=False)
        ],
        dtype="str",
    )
    flat, clipped = table["flat_fraction"].to_numpy(), table["clipped_fraction"].to_numpy()
    relative = _relative_sharpness(table, usable=flat <= params.max_flat_fraction)
    findings = _Findings(table["flags"])
    findings.flag(flat > params.flag_flat_fraction, PARTLY_BARE)
    findings.flag(clipped > params.flag_clipped_fraction, CLIPPED)
    findings.flag(table["near_duplicate_of"].notna().to_numpy(), NEAR_DUPLICATE)
    findings.flag(tokens.notna().to_numpy(), PROVENANCE)
    for flag, reason in _UNUSABLE.items():
        carries = table["flags"].str.split(";").map(lambda names, flag=flag: flag in names)
        findings.exclude(flag, dict.fromkeys(_rows(carries.to_numpy()), reason))
    findings.exclude(
        PARTLY_BARE,
        {
            row: f"bare: {flat[row]:.0%} of the frame is flat"
            for row in _rows(flat > params.max_flat_fraction)
        },
    )
    findings.exclude(
        CLIPPED,
        {
            row: f"clipped: {clipped[row]:.0%} of the pixels"
            for row in _rows(clipped > params.max_clipped_fraction)
        },
    )
    findings.exclude(
        BLURRED,
        {
            row: f"out of focus: {relative[row]:.2f} of its class's median sharpness "
            "at this magnification"
            for row in _rows(relative < params.min_relative_sharpness)
        },
    )
    findings.exclude(DUPLICATE, find_copies(table))
    findings.exclude(QUARANTINED, find_ood_frames(table, tokens, params))
    return findings.write_to(table)


class _Findings:
    """Flags and reasons by row number."""

    def __init__(self, flags: Iterable[str]) -> None:
        self._flags = [set(filter(None, text.split(";"))) for text in flags]
        self._reasons: list[list[str]] = [[] for _ in self._flags]

    def flag(self, mask: NDArray[np.bool_], flag: str) -> None:
        for row in _rows(mask):
            self._flags[row].add(flag)

    def exclude(self, flag: str, reasons: Mapping[int, str]) -> None:
        for row, reason in reasons.items():
            self._flags[row].add(flag)
            self._reasons[row].append(reason)

    def write_to(self, table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(
            flags=pd.array([";".join(sorted(entry)) for entry in self._flags], dtype="str"),
            excluded=[bool(entry) for entry in self._reasons],
            exclusion_reason=pd.array(
                ["; ".join(entry) or None for entry in self._reasons], dtype="str"
            ),
        )


def reject_unusable(flags: Iterable[str], where: str) -> None:
    """Reject a frame that would be excluded from training for what its file shows.

    Raises
    ------
    FrameError
        If it is drawn on, coloured, or far below the grey range of its instrument.
    """
    for flag in flags:
        if flag in _UNUSABLE:
            raise FrameError(
                where,
                found=_UNUSABLE[flag],
                expected="a frame as the detector recorded it",
                action="export it without drawings and colours, at its full grey range",
            )


def find_contradiction(
    composition: str, state: str, sidecar_json: str, *, ood_materials: Iterable[str]
) -> str | None:
    """Find a word in a sidecar's path that contradicts the frame's class.

    Parameters
    ----------
    composition, state
        Parts of the frame's class.
    sidecar_json
        All fields of its sidecar.
    ood_materials
        Words that name another material.

    Returns
    -------
    str or None
        The word: another material, another composition (``ncm622``), or an ageing state where
        the frame's own is not named.
    """
    parts = Sidecar(json.loads(sidecar_json)).path_parts
    words = [word for part in parts[:-1] for word in _WORD.split(part) if word]
    materials = {name.casefold() for name in ood_materials}
    for word in words:
        named = _COMPOSITION_WORD.fullmatch(word)
        if word.casefold() in materials or (named and named[1] != composition):
            return word
    states = {_name_state(word): word for word in words if _name_state(word)}
    return next(iter(states.values())) if states and state not in states else None


def find_ood_frames(
    table: pd.DataFrame, tokens: pd.Series[str], params: QualityParams
) -> dict[int, str]:
    """Find frames that contradict their class by path and by texture.

    Within each class, at each magnification, that has contradicting paths, the texture densities
    are split in two. If
    the parts stand clearly apart, the one that is farther from the trusted frames (those of the
    same composition first) is another material, and its frames with a contradicting path
    are returned.
    Without trusted frames the smaller part is taken to be out-of-distribution.

    Parameters
    ----------
    table
        ``class, composition, pixel_size_um, texture_density, flat_fraction`` per frame.
    tokens
        Contradicting word of each frame, null without one.
    """
    density = table["texture_density"].to_numpy()
    usable = (table["flat_fraction"] <= _usable_flat(params)).to_numpy() & (density > 0)
    suspected = tokens.notna().to_numpy()
    reasons: dict[int, str] = {}
    scale = group_scales(table["pixel_size_um"].to_numpy())
    for class_name, number in sorted(
        set(zip(table.loc[suspected, "class"], scale[suspected].tolist(), strict=True))
    ):
        alike = scale == number
        member = (table["class"] == class_name).to_numpy() & alike
        if (member & usable).sum() < 2:
            continue
        split = split_values(density[member & usable])
        if split.separation < params.min_separation:
            continue
        composition = table.loc[member, "composition"].iloc[0]
        kin = (table["composition"] == composition).to_numpy()
        reference = _pick_reference(density, usable & alike & ~suspected, kin)
        low_is_ood = _is_low_ood(density[member & usable], split, reference)
        is_ood = (density < split.threshold) == low_is_ood
        for row in _rows(member & suspected & is_ood & (density > 0)):
            reasons[int(row)] = (
                f"quarantined: path names '{tokens.iloc[row]}' and texture density "
                f"{density[row]:.3f} is on the far side of {split.threshold:.3f} "
                f"(separation {split.separation:.1f})"
            )
    return reasons


def split_values(values: NDArray[np.float64]) -> Split:
    """Split values in two by the smallest variance within the parts, with their separation.

    Otsu's criterion for the cut; for the separation, D of Ashman, Bird and Zepf, "Detecting
    bimodality in astronomical datasets", Astron. J. 108 (1994), Eq. 14.

    Parameters
    ----------
    values
        At least two values.

    Returns
    -------
    Split
        Cut and separation; 0 if all values are equal.
    """
    ordered = np.sort(values)
    sizes = np.arange(1, len(ordered))
    sums, squares = np.cumsum(ordered), np.cumsum(ordered**2)
    low = squares[:-1] - sums[:-1] ** 2 / sizes
    high = (squares[-1] - squares[:-1]) - (sums[-1] - sums[:-1]) ** 2 / (len(ordered) - sizes)
    cut = int(np.argmin(low + high)) + 1
    below, above = ordered[:cut], ordered[cut:]
    floor = _SPREAD_FLOOR * abs(float(ordered.mean()))
    spread = np.hypot(max(below.std(), floor), max(above.std(), floor)) / np.sqrt(2)
    distance = float(above.mean() - below.mean())
    separation = distance / float(spread) if spread > 0 else 0.0
    return Split(float(below[-1] + above[0]) / 2, separation)


def find_copies(table: pd.DataFrame) -> dict[int, str]:
    """Find frames with the very pixels of another.

    Parameters
    ----------
    table
        ``frame_id, class, content_hash`` per frame.

    Returns
    -------
    dict
        Reason by row number: every copy but the first by ``frame_id``; all of them if the copies
        are filed under different classes.
    """
    reasons: dict[int, str] = {}
    rows = table.reset_index(drop=True).sort_values("frame_id")
    for _, group in rows[rows["content_hash"].duplicated(keep=False)].groupby("content_hash"):
        names = ", ".join(group["frame_id"])
        if group["class"].nunique() > 1:
            reasons |= {int(row): f"same pixels under two classes: {names}" for row in group.index}
        else:
            first = group["frame_id"].iloc[0]
            reasons |= {int(row): f"same pixels as {first}" for row in group.index[1:]}
    return reasons


def _pick_reference(
    density: NDArray[np.float64], trusted: NDArray[np.bool_], kin: NDArray[np.bool_]
) -> float | None:
    chosen = trusted & kin if (trusted & kin).any() else trusted
    return float(np.median(density[chosen])) if chosen.any() else None


def _is_low_ood(values: NDArray[np.float64], split: Split, reference: float | None) -> bool:
    low, high = values[values < split.threshold], values[values >= split.threshold]
    if reference is None:
        return len(low) <= len(high)
    return bool(abs(np.median(low) - reference) > abs(np.median(high) - reference))


def _relative_sharpness(table: pd.DataFrame, usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Sharpness over the median of its class and magnification; 1 without usable frames."""
    scale = group_scales(table["pixel_size_um"].to_numpy())
    median = table["sharpness"].where(usable).groupby([table["class"], scale]).transform("median")
    return (table["sharpness"] / median).where(usable & (median > 0), 1.0).to_numpy()


def _name_state(word: str) -> str | None:
    match = _STATE_WORD.fullmatch(word)
    if match is None:
        return None
    return "formation" if match[1] else "cycled"


def _usable_flat(params: QualityParams) -> float:
    return max(params.max_flat_fraction, 0.15)


def _rows(mask: NDArray[np.bool_]) -> list[int]:
    return [int(row) for row in np.flatnonzero(mask)]
