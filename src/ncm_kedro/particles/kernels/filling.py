"""The cracks of a particle that open to the outside.

A crack that opens to the outside belongs to the particle where a ball of the closing radius does
not fit into it from outside. The closing works on a cut-out with a margin, so that the outside is
outside: closing within the tight bounding box, whose border counts as filled, makes the corners
of the box part of the particle (an intact ball of radius 15 voxels then seems to be one third
damage). Distances are exact within the radius and are not computed beyond it.

Connected parts of a small array, by runs: rows of equal voxels joined with their neighbours.

A run is one step where a voxel-wise flood fill takes as many as the run is long.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

FAR = np.float32(1e30)
_TIE = 1e-5  # two voxels as far apart as the radius are within it, whatever the rounding


@njit(cache=True, nogil=True)
def close_particle(  # noqa: PLR0917  (numba takes positions)
    solid: NDArray[Any],
    label: NDArray[Any],
    blocked: NDArray[Any],
    voxel_um: NDArray[Any],
    radius_um: float,
    mouth_um: float = 0.0,
) -> NDArray[np.uint8]:
    """Add to a particle the cracks that open to the outside.

    What lies beyond the array counts as filled: with a margin of the radius there is only outside
    there, without one this is the published code's closing in a tight box.

    Parameters
    ----------
    solid, label
        1 in the particle's solid, and in all its voxels, uint8 (Z, Y, X).
    blocked
        1 where another particle is or nothing is known; such voxels stay out, uint8.
    voxel_um
        Edges of a voxel along z, y, x, float32 (3,).
    radius_um
        Radius of the closing; 0 closes nothing.
    mouth_um
        How much deeper the ball may sink into a crack's mouth: on a grid a closing takes most of
        a voxel off each mouth. Voxels beside a closed crack that lie less than this within the
        ball's reach are given back. Sound surfaces stay as they are.

    Returns
    -------
    uint8 array (Z, Y, X)
        1 in the particle and its open cracks.
    """
    filled = label.copy()
    if radius_um > 0:
        squared = np.float32(radius_um * radius_um * (1 + _TIE))
        outside = (_spread(solid, voxel_um, radius_um) > squared).astype(np.uint8)
        open_um2 = _spread(outside, voxel_um, radius_um)
        depth, rows, columns = solid.shape
        for z in range(depth):
            for y in range(rows):
                for x in range(columns):
                    if open_um2[z, y, x] > squared and not blocked[z, y, x]:
                        filled[z, y, x] = 1
        if mouth_um > 0:
            sunk = np.float32(max(radius_um - mouth_um, 0.0) ** 2)
            _reopen_overclosed(filled, label, blocked, open_um2, sunk)
    return filled


@njit(cache=True, nogil=True)
def _reopen_overclosed(
    filled: NDArray[Any], label: NDArray[Any], blocked: NDArray[Any], open_um2: NDArray[Any],
    sunk: Any,
) -> None:  # fmt: skip
    """Add, in place, voxels further from the outside than ``sunk`` that share a face with a crack.

    Cracks are what the closing added; what is added here adds no more.
    """
    depth, rows, columns = filled.shape
    for z in range(1, depth - 1):
        for y in range(1, rows - 1):
            for x in range(1, columns - 1):
                if filled[z, y, x] or blocked[z, y, x] or open_um2[z, y, x] <= sunk:
                    continue
                for axis in range(3):
                    for way in (-1, 1):
                        at = (
                            z + way * (axis == 0), y + way * (axis == 1), x + way * (axis == 2),
                        )  # fmt: skip
                        if filled[at] == 1 and not label[at]:
                            filled[z, y, x] = 2
    for z in range(depth):
        for y in range(rows):
            for x in range(columns):
                filled[z, y, x] = min(filled[z, y, x], 1)


@njit(cache=True, nogil=True)
def _spread(  # noqa: PLR0912  (three passes, one per axis)
    marked: NDArray[Any], voxel_um: NDArray[Any], radius_um: float
) -> NDArray[np.float32]:
    """Return squared distances to the nearest marked voxel, far beyond a radius, in um2."""
    depth, rows, columns = marked.shape
    reach_z, reach_y, reach_x = (
        int(radius_um / voxel_um[0]) + 1,
        int(radius_um / voxel_um[1]) + 1,
        int(radius_um / voxel_um[2]) + 1,
    )
    cost = np.full(reach_x + 2, FAR, dtype=np.float32)
    for gap in range(reach_x + 1):
        cost[gap] = np.float32(gap * gap) * voxel_um[2] * voxel_um[2]
    along = np.empty(marked.shape, dtype=np.float32)
    for z in range(depth):
        for y in range(rows):
            row, line = marked[z, y], along[z, y]
            gap = reach_x + 1
            for x in range(columns):
                gap = 0 if row[x] else min(gap + 1, reach_x + 1)
                line[x] = cost[gap]
            gap = reach_x + 1
            for x in range(columns - 1, -1, -1):
                gap = 0 if row[x] else min(gap + 1, reach_x + 1)
                line[x] = min(line[x], cost[gap])
    across = along.copy()
    for z in range(depth):
        for y in range(rows):
            for other in range(max(y - reach_y, 0), min(y + reach_y + 1, rows)):
                if other != y:
                    far = np.float32((other - y) ** 2) * voxel_um[1] * voxel_um[1]
                    _lower(across[z, y], along[z, other], far)
    result = across.copy()
    for z in range(depth):
        for other in range(max(z - reach_z, 0), min(z + reach_z + 1, depth)):
            if other != z:
                far = np.float32((other - z) ** 2) * voxel_um[0] * voxel_um[0]
                for y in range(rows):
                    _lower(result[z, y], across[other, y], far)
    return result


@njit(cache=True, nogil=True)
def _lower(line: NDArray[Any], other: NDArray[Any], far: Any) -> None:
    """Lower a row, in place, to another one plus a constant where that is lower."""
    for x in range(len(line)):
        found = other[x] + far
        line[x] = found if found < line[x] else line[x]


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def _find_root(root: NDArray[Any], run: int) -> int:
    while root[run] != run:
        root[run] = root[root[run]]
        run = root[run]
    return run


@njit(cache=True, nogil=True)
def count_connected_components(marked: NDArray[Any]) -> int:
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


@njit(cache=True, nogil=True)
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
