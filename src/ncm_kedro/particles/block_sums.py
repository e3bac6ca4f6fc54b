"""One pass over the blocks of a volume: what adds up over blocks, for every particle at once.

Voxels, moments, grey values, crossings of the surface along 13 directions (`crofton`), and
crossings that face another particle. All but the grey values are whole numbers, so that the sums
do not depend on how the volume is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ncm_kedro.errors import TomogramError
from ncm_kedro.particles.crofton import DIRECTIONS
from ncm_kedro.particles.specimen import Specimen, read_box
from ncm_kedro.tomo.blocks import Block

CELL_VX = 4
"""Edge of the cells in which labelled voxels are counted for the packing density."""

COUNTS = ("voxels", "z", "y", "x", "zz", "yy", "xx", "zy", "zx", "yx", "solid", "border",
          "perimeter", "perimeter_contact")  # fmt: skip
GREYS = ("grey_solid", "grey2_solid", "grey_label", "grey2_label")
_OUTSIDE = -1
_UNKNOWN = -2
_LARGEST = 2**62


@dataclass(frozen=True)
class SumsTask:
    """Add up what a block holds of each particle.

    Attributes
    ----------
    specimen
        The volume.
    contact_gap_um
        Largest gap between particles in contact.
    """

    specimen: Specimen
    contact_gap_um: float

    def __call__(self, block: Block) -> dict[str, NDArray[np.generic]]:
        """Return ids and their sums, contacts, and cells.

        Returns
        -------
        dict
            ``label`` (n,), ``counts`` (n, 14) in the order of `COUNTS`, with coordinates in voxels
            of the volume; ``greys`` (n, 4); ``crossings`` and ``solid_crossings`` (n, 13);
            ``box`` (n, 6); ``pair`` (m, 2) and ``pair_crossings`` (m, 13); ``valid`` and
            ``filled``, uint8 cells.
        """
        near = _list_near(self.contact_gap_um, self.specimen.voxel_size_um)
        halo = 1 + (int(np.abs(near).max()) if len(near) else 0)
        ids, code = self._encode(block, halo)
        core = tuple(slice(halo, -halo) for _ in range(3))
        valid, filled = _count_cells(code[core])
        counts, greys, crossings, solid, box, records = _add_up(
            code, self._read_grey(block), np.array(block.start, dtype=np.int64), halo, len(ids),
            DIRECTIONS, near,
        )  # fmt: skip
        pair, pair_crossings = _count_records(records, ids)
        used = counts[:, 0] > 0
        return {
            "label": ids[used], "counts": counts[used], "greys": greys[used],
            "crossings": crossings[used], "solid_crossings": solid[used], "box": box[used],
            "pair": pair, "pair_crossings": pair_crossings, "valid": valid, "filled": filled,
        }  # fmt: skip

    def _encode(self, block: Block, halo: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return ids, and a code per voxel of the block and its margin.

        The code is -1 beyond the volume and the field of view, 0 in the background, else twice
        the position of the id, counted from 1, plus 1 in cracks.
        """
        specimen = self.specimen
        outer = block.grow(halo, specimen.shape_zyx)
        labels = read_box(specimen.labels, outer)
        _check_range(labels, specimen.name)
        code = np.full([n + 2 * halo for n in block.shape], _OUTSIDE, dtype=np.int32)
        corner = [a - b + halo for a, b in zip(outer.start, block.start, strict=True)]
        nothing = np.zeros((0, 0, 0), dtype=np.uint8)
        ids = _encode_labels(
            labels,
            nothing if specimen.cracks is None else read_box(specimen.cracks, outer),
            nothing if specimen.view is None else read_box(specimen.view, outer),
            code[tuple(slice(a, a + n) for a, n in zip(corner, labels.shape, strict=True))],
        )
        return ids, code

    def _read_grey(self, block: Block) -> NDArray[np.generic]:
        if self.specimen.grey is None:
            return np.zeros((0, 0, 0), dtype=np.uint8)
        return read_box(self.specimen.grey, block)


def _check_range(labels: NDArray[Any], name: str) -> None:
    if not labels.size or (labels.dtype.kind == "u" and labels.dtype.itemsize < 8):
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > _LARGEST:
        raise TomogramError(
            f"sample {name}",
            found=f"the label {low if low < 0 else high}",
            expected=f"labels of 0 (background) to {_LARGEST}",
            action="renumber the labels; some tools mark borders or the unknown by -1",
        )


def _list_near(gap_um: float, voxel_size_um: tuple[float, float, float]) -> NDArray[np.int64]:
    """List the steps (n, 3) that are no longer than a gap, the shortest first; not the zero step.

    A particle's surface lies half a voxel before the centre of the first voxel outside it, and
    another particle's half a voxel before the centre of its first voxel: the gap between the two
    is the distance between these centres.
    """
    reach = [range(-int(gap_um / edge + 1e-6), int(gap_um / edge + 1e-6) + 1)
             for edge in voxel_size_um]  # fmt: skip
    steps = np.array(list(product(*reach)), dtype=np.int64)
    length = np.sqrt(((steps * voxel_size_um) ** 2).sum(axis=1))
    order = np.argsort(length, kind="stable")
    keep = order[(length[order] > 0) & (length[order] <= gap_um * (1 + 1e-6))]
    near: NDArray[np.int64] = steps[keep]
    return near


def _count_cells(
    code_zyx: NDArray[np.int32],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Count valid and labelled voxels in cells; the last ones may be smaller."""
    starts = [np.arange(0, n, CELL_VX) for n in code_zyx.shape]
    cells = []
    for marked in (code_zyx != _OUTSIDE, code_zyx > 0):
        total = marked.astype(np.uint8)
        for axis, start in enumerate(starts):
            total = np.add.reduceat(total, start, axis=axis, dtype=np.uint8)
        cells.append(total)
    return cells[0], cells[1]


def _count_records(
    records: NDArray[np.int64], ids: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count crossings by pair of particles and direction."""
    lines = len(DIRECTIONS)
    key, number = np.unique(records, return_counts=True)
    pair_key, place = np.unique(key // lines, return_inverse=True)
    crossings = np.zeros((len(pair_key), lines), dtype=np.int64)
    crossings[place, key % lines] = number
    width = max(len(ids), 1)
    pair = np.stack([ids[pair_key // width], ids[pair_key % width]], axis=1)
    return pair.astype(np.int64).reshape(-1, 2), crossings


@njit(nogil=True)
def _encode_labels(
    labels: NDArray[Any], cracks: NDArray[Any], view: NDArray[Any], code: NDArray[Any]
) -> NDArray[np.int64]:
    """Write codes (see `SumsTask`); return the ids, in the order of their first voxels."""
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
                    code[z, y, x] = _OUTSIDE
    return ids[:number].copy()


@njit(nogil=True)
def _find_slot(slots: NDArray[Any], label: int) -> int:
    """Find where a label stands in a hash table, or where it would."""
    mask = len(slots) - 1
    at = (label * 2654435761) & mask
    while slots[at, 0] != 0 and slots[at, 0] != label:
        at = (at + 1) & mask
    return at


@njit(nogil=True)
def _add_up(  # noqa: PLR0917  (numba takes positions)
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
            _compare_rows(code, z, y, alike)
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


@njit(nogil=True)
def _compare_rows(code: NDArray[Any], z: int, y: int, alike: NDArray[Any]) -> None:
    """Mark, along a row, the voxels whose 26 neighbours all have their code."""
    line = code[z, y]
    columns = len(line)
    same = np.ones(columns, dtype=np.uint8)
    for dz in range(-1, 2):
        for dy in range(-1, 2):
            other = code[z + dz, y + dy]
            for x in range(columns):
                same[x] &= other[x] == line[x]
    for x in range(1, columns - 1):
        level = (line[x] == line[x - 1]) & (line[x] == line[x + 1])
        alike[x] = level & same[x] & same[x - 1] & same[x + 1]


@njit(nogil=True)
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


@njit(nogil=True)
def _sum_squares(stop: int) -> int:
    """Sum the squares of 0 to stop - 1."""
    return (stop - 1) * stop * (2 * stop - 1) // 6


@njit(nogil=True)
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
            if there == _OUTSIDE:
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
                    known[:, nz, ny, nx] = _find_two(code, nz, ny, nx, near)
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


@njit(nogil=True)
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
