"""What changed between two versions of labels, out of a table of overlaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

COLUMNS = ("kind", "particles_before", "particles_after", "voxels_changed")


@dataclass(frozen=True)
class LabelOverlaps:
    """How many voxels have which label before and after.

    Attributes
    ----------
    before, after, voxels
        (N,) each: label before, label after, voxels; each pair once, (0, 0) left out.
    """

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    voxels: NDArray[np.int64]


def merge_overlaps(parts: Sequence[LabelOverlaps]) -> LabelOverlaps:
    """Add up the overlaps of blocks.

    Parameters
    ----------
    parts
        Overlaps of disjoint blocks.
    """
    before = np.concatenate([part.before for part in parts] or [np.zeros(0, np.int64)])
    after = np.concatenate([part.after for part in parts] or [np.zeros(0, np.int64)])
    voxels = np.concatenate([part.voxels for part in parts] or [np.zeros(0, np.int64)])
    pairs, place = np.unique(np.stack([before, after], axis=1), axis=0, return_inverse=True)
    total = np.zeros(len(pairs), dtype=np.int64)
    np.add.at(total, place.reshape(-1), voxels)
    return LabelOverlaps(pairs[:, 0], pairs[:, 1], total)


def list_changes(overlaps: LabelOverlaps) -> pd.DataFrame:
    """List what was deleted, added, merged, split, reshaped, renumbered or rearranged.

    A particle before and one after belong together where one of them keeps more than half of its
    voxels in the other, or where they have the same number and overlap at all. Groups of
    particles that belong together are one change: none after is deleted, none before added,
    several before merged, several after split, several on both sides rearranged, one on both
    sides reshaped, or renumbered where only the number changed.

    Parameters
    ----------
    overlaps
        Overlaps of the whole volume.

    Returns
    -------
    pandas.DataFrame
        ``kind, particles_before, particles_after`` (numbers parted by blanks) and
        ``voxels_changed`` (voxels of the group whose number is another one now), by the smallest
        particle number. A voxel that went from one group to another counts in both.
    """
    groups = _group_particles(overlaps)
    rows = []
    for before, after in groups:
        touched = np.isin(overlaps.before, list(before)) | np.isin(overlaps.after, list(after))
        moved = touched & (overlaps.before != overlaps.after)
        kind = _name_change(before, after, overlaps, moved)
        if kind is not None:
            rows.append(
                {
                    "kind": kind,
                    "particles_before": " ".join(map(str, sorted(before))),
                    "particles_after": " ".join(map(str, sorted(after))),
                    "voxels_changed": int(overlaps.voxels[moved].sum()),
                }
            )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({**dict.fromkeys(COLUMNS, "str"), "voxels_changed": np.int64})


def _group_particles(overlaps: LabelOverlaps) -> list[tuple[set[int], set[int]]]:
    old = np.unique(overlaps.before[overlaps.before > 0])
    new = np.unique(overlaps.after[overlaps.after > 0])
    size_old, size_new = (
        dict(zip(*_sum_by(labels, overlaps.voxels), strict=True))
        for labels in (overlaps.before, overlaps.after)
    )
    both = (overlaps.before > 0) & (overlaps.after > 0)
    links = [
        (a, b)
        for a, b, n in zip(
            overlaps.before[both].tolist(),
            overlaps.after[both].tolist(),
            overlaps.voxels[both].tolist(),
            strict=True,
        )
        if a == b or 2 * n > size_old[a] or 2 * n > size_new[b]
    ]
    rows = np.searchsorted(old, [a for a, _ in links])
    columns = len(old) + np.searchsorted(new, [b for _, b in links])
    count = len(old) + len(new)
    graph = coo_array((np.ones(len(links)), (rows, columns)), shape=(count, count))
    _, group = connected_components(graph, directed=False)
    members: dict[int, tuple[set[int], set[int]]] = {}
    for place, owner in enumerate(group.tolist()):
        before, after = members.setdefault(owner, (set(), set()))
        if place < len(old):
            before.add(int(old[place]))
        else:
            after.add(int(new[place - len(old)]))
    return sorted(members.values(), key=lambda pair: min(pair[0] | pair[1]))


def _sum_by(labels: NDArray[np.int64], voxels: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    values, place = np.unique(labels, return_inverse=True)
    total = np.zeros(len(values), dtype=np.int64)
    np.add.at(total, place, voxels)
    return values.tolist(), total.tolist()


def _name_change(
    before: set[int], after: set[int], overlaps: LabelOverlaps, moved: NDArray[np.bool_]
) -> str | None:
    if not after:
        return "deleted"
    if not before:
        return "added"
    if len(before) > 1 or len(after) > 1:
        if len(after) == 1:
            return "merged"
        return "split" if len(before) == 1 else "rearranged"
    if not moved.any():
        return None
    (old,), (new,) = before, after
    pairs = set(zip(overlaps.before[moved].tolist(), overlaps.after[moved].tolist(), strict=True))
    return "renumbered" if pairs == {(old, new)} else "reshaped"
