"""Which pairs of frames are worth a comparison, and which overlaps a closer look."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.params.sem_mosaic import MosaicParams
from ncm_kedro.sem.registration import IndexArray


def pairs_within(
    classes: NDArray[np.object_], params: MosaicParams
) -> tuple[IndexArray, IndexArray]:
    """List all pairs of each class; if too many, neighbours in time and a regular subset.

    Parameters
    ----------
    classes
        Class of each frame in order of time, ``(N,)``.
    params
        Most pairs, and neighbours.

    Returns
    -------
    first, second
        Indices of the pairs, ``(P,)``, first < second.
    """
    members = [np.flatnonzero(classes == name) for name in sorted(set(classes))]
    total = sum(len(group) * (len(group) - 1) // 2 for group in members)
    stride = max(1, int(np.ceil(np.sqrt(total / params.max_pairs))))
    pairs: set[tuple[int, int]] = set()
    for group in members:
        pairs.update(_combinations(group[::stride]))
        if stride > 1:
            for step in range(1, min(params.neighbours, len(group) - 1) + 1):
                pairs.update(zip(group[:-step].tolist(), group[step:].tolist(), strict=True))
    return _as_indices(sorted(pairs))


def pairs_across(
    classes: NDArray[np.object_], params: MosaicParams
) -> tuple[IndexArray, IndexArray]:
    """List pairs of frames of different classes; if too many, of evenly spaced frames only.

    Parameters
    ----------
    classes
        Class of each frame in order of time, ``(N,)``.
    params
        Most pairs.

    Returns
    -------
    first, second
        Indices of the pairs, ``(P,)``, first < second.
    """
    first, second = np.triu_indices(len(classes), 1)
    crossing = classes[first] != classes[second]
    stride = max(1, int(np.ceil(np.sqrt(crossing.sum() / params.max_pairs))))
    crossing &= (first % stride == 0) & (second % stride == 0)
    return first[crossing], second[crossing]


def choose_links(
    first: IndexArray,
    second: IndexArray,
    score: NDArray[np.float64],
    n_frames: int,
    per_frame: int,
) -> NDArray[np.bool_]:
    """Choose the best overlaps of each frame and, evenly, some of the others, to span loops.

    Parameters
    ----------
    first, second
        Frames of each link, ``(P,)``.
    score
        How sure each link is, ``(P,)``.
    n_frames
        Number of frames.
    per_frame
        Links to choose per frame; the better half of them by score.

    Returns
    -------
    ndarray
        Whether a link is chosen, ``(P,)``.
    """
    chosen = np.zeros(len(first), dtype=bool)
    ends = np.concatenate([first, second])
    owners = np.tile(np.arange(len(first)), 2)
    order = np.lexsort((owners, -score[owners], ends))
    bounds = np.searchsorted(ends[order], np.arange(n_frames + 1))
    for start, stop in pairwise(bounds.tolist()):
        mine = owners[order[start:stop]]
        best = (per_frame + 1) // 2
        spread = np.linspace(best, len(mine) - 1, per_frame - best).round().astype(int)
        chosen[mine[:best]] = True
        if len(mine) > best:
            chosen[mine[spread]] = True
    return chosen


def _combinations(group: IndexArray) -> Iterator[tuple[int, int]]:
    rows, columns = np.triu_indices(len(group), 1)
    return zip(group[rows].tolist(), group[columns].tolist(), strict=True)


def _as_indices(pairs: list[tuple[int, int]]) -> tuple[IndexArray, IndexArray]:
    table = np.array(pairs, dtype=np.intp).reshape(-1, 2)
    return table[:, 0], table[:, 1]
