"""The compiled pass over the voxels of a block: codes, sums, crossings, contacts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

OUTSIDE = -1
"""Code of voxels beyond the volume and the field of view."""

_UNKNOWN = -2


@njit(cache=True, nogil=True)
def encode_labels(
    labels: NDArray[Any], cracks: NDArray[Any], view: NDArray[Any], code: NDArray[Any]
) -> NDArray[np.int64]:
    """Write the code of each voxel; return the ids, in the order of their first voxels.

    The code is `OUTSIDE`, 0 in the background, else twice the position of the id, counted from 1,
    plus 1 in cracks. ``cracks`` and ``view`` have no voxels where there are none.
    """
    slots = np.zeros((1024, 2), dtype=np.int64)  # label and number; open addressing
    ids = np.zeros(len(slots) // 2, dtype=np.int64)
    number, last, mark = 0, np.int64(0), np.int32(0)
    has_cracks, has_view = cracks.size > 0, view.size > 0
    depth, rows, columns = labels.shape
    for z in range(depth):
        for y in range(rows):
            for x in range(columns):
                label = np.int64(labels[z, y, x])
                if label == 0:
                    code[z, y, x] = 0
                else:
                    if label != last:
                        slot = _find_slot(slots, label)
                        if slots[slot, 0] == 0:
                            if number == len(ids):  # half full: twice the room
                                slots = np.zeros((2 * len(slots), 2), dtype=np.int64)
                                for known in range(number):
                                    slot = _find_slot(slots, ids[known])
                                    slots[slot, 0], slots[slot, 1] = ids[known], known + 1
                                ids = np.append(ids, np.zeros(number, dtype=np.int64))
                                slot = _find_slot(slots, label)
                            ids[number] = label
                            number += 1
                            slots[slot, 0], slots[slot, 1] = label, number
                        last, mark = label, np.int32(slots[slot, 1])
                    code[z, y, x] = 2 * mark + (has_cracks and cracks[z, y, x] > 0)
                if has_view and view[z, y, x] == 0:
                    code[z, y, x] = OUTSIDE
    return ids[:number].copy()


@njit(cache=True, nogil=True)
def _find_slot(slots: NDArray[Any], label: int) -> int:
    """Find where a label stands in a hash table, or where it would."""
    mask = len(slots) - 1
    at = (label * 2654435761) & mask
    while slots[at, 0] != 0 and slots[at, 0] != label:
        at = (at + 1) & mask
    return at


@njit(cache=True, nogil=True)
def add_up(  # noqa: PLR0917  (numba takes positions)
    code: NDArray[Any],
    grey: NDArray[Any],
    origin: NDArray[Any],
    halo: int,
    labels: int,
    directions: NDArray[Any],
    near: NDArray[Any],
) -> tuple[
    NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64],
    NDArray[np.int64], NDArray[np.int64],
]:  # fmt: skip
    """Add up the inner voxels of a block, without its margin ``halo``.

    Runs of one particle are added as a whole; only voxels with something else at the end of one of
    the ``directions``, forth or back, are looked around from.

    Returns
    -------
    counts, greys, crossings, solid_crossings, box
        A row per id, as in `block_sums.SumsTask`.
    records
        One number per crossing that faces another particle: (particle * ids + other) * 13 + line.
    """
    counts = np.zeros((labels, 14), dtype=np.int64)
    greys = np.zeros((labels, 4), dtype=np.float64)
    crossings = np.zeros((2, labels, 13), dtype=np.int64)  # of the label, of its solid
    box = np.zeros((labels, 6), dtype=np.int64)
    records = np.empty(1024, dtype=np.int64)
    recorded = 0
    known = np.full((2, *code.shape) if len(near) else (2, 0, 0, 0), _UNKNOWN, dtype=np.int32)
    depth, rows, columns = code.shape
    alike = np.empty(columns, dtype=np.uint8)
    for z in range(halo, depth - halo):
        for y in range(halo, rows - halo):
            line = code[z, y]
            _compare_ends(code, z, y, directions, halo, alike)
            vz, vy, shift = z - halo + origin[0], y - halo + origin[1], origin[2] - halo
            x = halo
            while x < columns - halo:
                own = line[x] >> 1
                if own <= 0:
                    x += 1
                    continue
                start = x
                while x < columns - halo and line[x] >> 1 == own:
                    if not alike[x]:
                        records, recorded = _look_around(
                            code, (z, y, x), directions, near, known, counts, crossings,
                            records, recorded,
                        )  # fmt: skip
                    x += 1
                _add_run(counts[own - 1], box[own - 1], vz, vy, start + shift, x + shift)
                for at in range(start, x):
                    counts[own - 1, 10] += 1 - (line[at] & 1)
                if grey.size:
                    shades = grey[z - halo, y - halo]
                    for at in range(start, x):
                        value = np.float64(shades[at - halo])
                        solid = 1 - (line[at] & 1)
                        greys[own - 1, 0] += solid * value
                        greys[own - 1, 1] += solid * value * value
                        greys[own - 1, 2] += value
                        greys[own - 1, 3] += value * value
    return counts, greys, crossings[0], crossings[1], box, records[:recorded].copy()


@njit(cache=True, nogil=True)
def _compare_ends(  # noqa: PLR0917  (numba takes positions)
    code: NDArray[Any], z: int, y: int, directions: NDArray[Any], halo: int, alike: NDArray[Any]
) -> None:
    """Mark, along a row, the voxels whose code is also that of all ends of the directions."""
    line = code[z, y]
    columns = len(line)
    alike[:] = 1
    for way in (1, -1):
        for step in range(len(directions)):
            dz, dy, dx = way * directions[step, 0], way * directions[step, 1], directions[step, 2]
            other = code[z + dz, y + dy]
            for x in range(halo, columns - halo):
                alike[x] &= other[x + way * dx] == line[x]


@njit(cache=True, nogil=True)
def _add_run(  # noqa: PLR0917  (numba takes positions)
    counts: NDArray[Any], box: NDArray[Any], z: int, y: int, start: int, stop: int
) -> None:
    """Add a run of voxels of one particle, from x = start to stop - 1, to sums and box."""
    number = stop - start
    along = number * (start + stop - 1) // 2
    if counts[0] == 0:
        box[0], box[1], box[2] = z, y, start
    box[1] = min(box[1], y)
    box[2] = min(box[2], start)
    box[3] = z + 1
    box[4] = max(box[4], y + 1)
    box[5] = max(box[5], stop)
    counts[0] += number
    counts[1] += number * z
    counts[2] += number * y
    counts[3] += along
    counts[4] += number * z * z
    counts[5] += number * y * y
    counts[6] += _sum_squares(stop) - _sum_squares(start)
    counts[7] += number * z * y
    counts[8] += along * z
    counts[9] += along * y


@njit(cache=True, nogil=True)
def _sum_squares(stop: int) -> int:
    """Sum the squares of 0 to stop - 1."""
    return (stop - 1) * stop * (2 * stop - 1) // 6


@njit(cache=True, nogil=True)
def _look_around(  # noqa: PLR0917  (numba takes positions)
    code: NDArray[Any],
    place: tuple[int, int, int],
    directions: NDArray[Any],
    near: NDArray[Any],
    known: NDArray[Any],
    counts: NDArray[Any],
    crossings: NDArray[Any],
    records: NDArray[Any],
    recorded: int,
) -> tuple[NDArray[np.int64], int]:
    """Count how the surface runs between a voxel and its neighbours, and whom it faces there."""
    z, y, x = place
    here = code[z, y, x]
    own = here >> 1
    solid = (here & 1) == 0
    row, labels = np.int64(own - 1), len(counts)
    edge, rim, met = False, False, False
    for line in range(len(directions)):
        dz, dy, dx = directions[line, 0], directions[line, 1], directions[line, 2]
        face = abs(dz) + abs(dy) + abs(dx) == 1
        for way in (1, -1):
            nz, ny, nx = z + way * dz, y + way * dy, x + way * dx
            there = code[nz, ny, nx]
            if there == here:
                continue
            if there == OUTSIDE:
                edge |= face
                rim |= face
                continue
            other = there >> 1
            crossings[1, row, line] += solid
            if other == own:
                continue
            crossings[0, row, line] += 1
            rim |= face
            met |= other > 0
            if other == 0 and len(near):
                if known[0, nz, ny, nx] == _UNKNOWN:
                    nearest = _find_two(code, nz, ny, nx, near)
                    known[0, nz, ny, nx], known[1, nz, ny, nx] = nearest[0], nearest[1]
                other = known[0, nz, ny, nx]
                if other == own:
                    other = known[1, nz, ny, nx]
            if other > 0:
                if recorded == len(records):
                    records = np.append(records, np.empty(recorded, dtype=np.int64))
                records[recorded] = (row * labels + other - 1) * len(directions) + line
                recorded += 1
    counts[row, 11] += edge
    counts[row, 12] += rim
    counts[row, 13] += rim and met
    return records, recorded


@njit(cache=True, nogil=True)
def _find_two(code: NDArray[Any], z: int, y: int, x: int, near: NDArray[Any]) -> NDArray[np.int32]:
    """Find the nearest particle and the nearest other one, 0 where there is none."""
    found = np.zeros(2, dtype=np.int32)
    for step in range(len(near)):
        there = code[z + near[step, 0], y + near[step, 1], x + near[step, 2]]
        if there > 0:
            label = there >> 1
            if found[0] == 0:
                found[0] = label
            elif label != found[0]:
                found[1] = label
                break
    return found
