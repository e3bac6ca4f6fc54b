"""Connected parts of a small array, by runs: rows of equal voxels joined with their neighbours.

A run is one step where a voxel-wise flood takes as many as the run is long.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(nogil=True)
def connect_runs(
    marked: NDArray[Any], wanted: int, corners: bool
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Find the runs of a value and join those that touch.

    Parameters
    ----------
    marked
        0 and 1, uint8 (Z, Y, X).
    wanted
        The value, 0 or 1.
    corners
        True joins over faces, edges and corners (26 neighbours), False over faces (6).

    Returns
    -------
    runs : (n, 4) array
        z, y, first x, one past the last x.
    root : (n,) array
        The first run of the part that each run belongs to.
    """
    depth, rows, columns = marked.shape
    runs = np.empty((256, 4), dtype=np.int32)
    first = np.zeros((depth, rows + 1), dtype=np.int32)  # first run of each row
    number = 0
    for z in range(depth):
        for y in range(rows):
            first[z, y] = number
            x = 0
            while x < columns:
                if marked[z, y, x] != wanted:
                    x += 1
                    continue
                start = x
                while x < columns and marked[z, y, x] == wanted:
                    x += 1
                if number == len(runs):
                    wider = np.empty((2 * number, 4), dtype=np.int32)
                    wider[:number] = runs
                    runs = wider
                runs[number, 0], runs[number, 1] = z, y
                runs[number, 2], runs[number, 3] = start, x
                number += 1
        first[z, rows] = number
    root = np.arange(number).astype(np.int32)
    reach = 1 if corners else 0
    for z in range(depth):
        for y in range(rows):
            _join_rows(runs, root, first, (z, y), (z, y - 1), reach)
            for other in range(y - reach, y + reach + 1):
                _join_rows(runs, root, first, (z, y), (z - 1, other), reach)
    for run in range(number):
        root[run] = _find_root(root, run)
    return runs[:number].copy(), root


@njit(nogil=True)
def _join_rows(  # noqa: PLR0917  (numba takes positions)
    runs: NDArray[Any],
    root: NDArray[Any],
    first: NDArray[Any],
    here: tuple[int, int],
    there: tuple[int, int],
    reach: int,
) -> None:
    ends = first.shape[1]
    if there[0] < 0 or there[1] < 0 or there[1] >= ends - 1:
        return
    a, a_end = first[here[0], here[1]], first[here[0], here[1] + 1]
    b, b_end = first[there[0], there[1]], first[there[0], there[1] + 1]
    while a < a_end and b < b_end:
        if runs[a, 2] < runs[b, 3] + reach and runs[b, 2] < runs[a, 3] + reach:
            one, two = _find_root(root, a), _find_root(root, b)
            root[max(one, two)] = min(one, two)
        if runs[a, 3] < runs[b, 3]:
            a += 1
        else:
            b += 1


@njit(nogil=True)
def _find_root(root: NDArray[Any], run: int) -> int:
    while root[run] != run:
        root[run] = root[root[run]]
        run = root[run]
    return run


@njit(nogil=True)
def count_pieces(marked: NDArray[Any]) -> int:
    """Count the parts that share no voxel face, edge or corner.

    Parameters
    ----------
    marked
        0 and 1, uint8 (Z, Y, X).
    """
    _, root = connect_runs(marked, 1, True)
    pieces = 0
    for run in range(len(root)):
        pieces += root[run] == run
    return pieces


@njit(nogil=True)
def fill_voids(marked: NDArray[Any], blocked: NDArray[Any], is_open: NDArray[Any]) -> None:
    """Mark, in place, what cannot be reached from the array's open sides through voxel faces.

    What touches two closed sides is background of a small volume, or may be, and is left.

    Parameters
    ----------
    marked
        0 and 1, uint8 (Z, Y, X).
    blocked
        1 where a voxel stays as it is.
    is_open
        Whether there is an outside beyond the first and the last voxel along z, y, x, (3, 2).
    """
    depth, rows, columns = marked.shape
    runs, root = connect_runs(marked, 0, False)
    sides = np.zeros((len(root), 6), dtype=np.uint8)
    for run in range(len(root)):
        z, y, start, stop = runs[run]
        part = sides[root[run]]
        part[0] |= z == 0
        part[1] |= z == depth - 1
        part[2] |= y == 0
        part[3] |= y == rows - 1
        part[4] |= start == 0
        part[5] |= stop == columns
    for run in range(len(root)):
        part = sides[root[run]]
        reached = part.sum() > 1
        for side in range(6):
            reached |= part[side] and is_open[side // 2, side % 2]
        if not reached:
            z, y, start, stop = runs[run]
            for x in range(start, stop):
                if not blocked[z, y, x]:
                    marked[z, y, x] = 1
