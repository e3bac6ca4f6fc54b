"""The compiled work on cut-outs: cutting, filling, counting, heights of surfaces."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ncm_kedro.particles.kernels.filling import (
    close_particle,
    count_connected_components,
    fill_voids,
)
from ncm_kedro.tomo.volumes.volume import Spacing

COUNTS = ("filled", "z", "y", "x", "zz", "yy", "xx", "zy", "zx", "yx", "solid", "perimeter",
          "solid_perimeter", "closed", "pieces")  # fmt: skip
ROUGHNESS = ("outer_n", "outer_sum", "outer_sum2", "inner_n", "inner_sum", "inner_sum2")
_MOUTH_VX = 0.25


def list_bars(radius_um: float, voxel_um: Spacing) -> NDArray[np.int64]:
    """List the rows that a ball of voxels is made of: step z, step y, half length; (n, 3)."""
    reach = [int(radius_um / edge + 1e-6) for edge in voxel_um]
    bars = []
    for z in range(-reach[0], reach[0] + 1):
        for y in range(-reach[1], reach[1] + 1):
            rest = radius_um**2 * (1 + 1e-6) - (z * voxel_um[0]) ** 2 - (y * voxel_um[1]) ** 2
            if rest >= 0:
                bars.append((z, y, int(np.sqrt(rest) / voxel_um[2] + 1e-6)))
    return np.array(bars, dtype=np.int64)


@njit(cache=True, nogil=True)
def measure_all(  # noqa: PLR0917  (numba takes positions)
    labels: NDArray[Any],
    cracks: NDArray[Any],
    view: NDArray[Any],
    origin: NDArray[Any],
    cuts: NDArray[Any],
    ids: NDArray[Any],
    voxel_um: NDArray[Any],
    radii_um: NDArray[Any],
    tight: bool,
    smooth: NDArray[Any],
    bars: NDArray[Any],
    ball_um: float,
    directions: NDArray[Any],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Measure particles out of one region, whose first voxel is ``origin``."""
    counts = np.zeros((len(ids), len(COUNTS)), dtype=np.int64)
    crossings = np.zeros((len(ids), 13), dtype=np.int64)
    rough = np.zeros((len(ids), 6), dtype=np.float64)
    for row in range(len(ids)):
        filled, solid, seen, closed = fill_one(
            labels, cracks, view, origin, cuts[row], ids[row], voxel_um, radii_um[row], tight
        )
        counts[row] = _count_filled(filled, solid, cuts[row, 2])
        counts[row, 13] = closed
        if tight:  # the published code's surfaces
            counts[row, 11] = _count_rim(filled)
            counts[row, 12] = _count_rim(filled & solid)
        crossings[row] = _count_crossings(filled, seen, directions)
        if smooth[row]:
            rough[row] = _sum_heights(filled, solid, seen, bars, ball_um)
    return counts, crossings, rough


@njit(cache=True, nogil=True)
def fill_one(  # noqa: PLR0917  (numba takes positions)
    labels: NDArray[Any],
    cracks: NDArray[Any],
    view: NDArray[Any],
    origin: NDArray[Any],
    cut: NDArray[Any],
    own: int,
    voxel_um: NDArray[Any],
    radius_um: float,
    tight: bool,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], int]:
    """Cut a particle out and fill it: its label, cracks that open to the outside, and voids.

    Beyond a face of the volume voxels go on as they are at the face: a crack that the face cuts
    stays a crack, and a void that it cuts stays a void. They are not seen, and not filled.

    Returns
    -------
    filled, solid, seen
        uint8, the cut-out with its margin.
    closed
        Voxels of the particle with its open cracks and voids, which damage refers to.
    """
    label, solid, blocked, seen = _split(labels, cracks, view, origin, cut, own)
    low = np.maximum(cut[2], 0) - cut[2]
    high = np.minimum(cut[3], cut[4]) - cut[2]
    is_open = np.ones((3, 2), dtype=np.uint8)
    for axis in range(3):
        is_open[axis, 0] = cut[2, axis] > 0
        is_open[axis, 1] = cut[3, axis] < cut[4, axis]
    closed = label
    if not tight:
        edge_um = (voxel_um[0] * voxel_um[1] * voxel_um[2]) ** (1 / 3)
        closed = close_particle(solid, label, blocked, voxel_um, radius_um, _MOUTH_VX * edge_um)
    filled = np.zeros(label.shape, dtype=np.uint8)
    real = filled[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    real[:] = closed[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    fill_voids(real, blocked[low[0] : high[0], low[1] : high[1], low[2] : high[2]], is_open)
    if not tight:
        return filled, solid, seen, filled.sum()
    a, b = cut[0] - cut[2], cut[1] - cut[2]
    boxed = close_particle(
        solid[a[0] : b[0], a[1] : b[1], a[2] : b[2]],
        filled[a[0] : b[0], a[1] : b[1], a[2] : b[2]],
        blocked[a[0] : b[0], a[1] : b[1], a[2] : b[2]],
        voxel_um,
        radius_um,
    )
    return filled, solid, seen, boxed.sum()


@njit(cache=True, nogil=True)
def _split(  # noqa: PLR0917  (numba takes positions)
    labels: NDArray[Any],
    cracks: NDArray[Any],
    view: NDArray[Any],
    origin: NDArray[Any],
    cut: NDArray[Any],
    own: int,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return label, solid, blocked and seen of one particle's cut-out, each uint8."""
    depth, rows, columns = cut[3] - cut[2]
    label = np.zeros((depth, rows, columns), dtype=np.uint8)
    solid = np.zeros((depth, rows, columns), dtype=np.uint8)
    blocked = np.zeros((depth, rows, columns), dtype=np.uint8)
    seen = np.ones((depth, rows, columns), dtype=np.uint8)
    has_cracks, has_view = cracks.size > 0, view.size > 0
    for z in range(depth):
        vz = min(max(z + cut[2, 0], 0), cut[4, 0] - 1)
        for y in range(rows):
            vy = min(max(y + cut[2, 1], 0), cut[4, 1] - 1)
            beside = vz != z + cut[2, 0] or vy != y + cut[2, 1]
            for x in range(columns):
                vx = min(max(x + cut[2, 2], 0), cut[4, 2] - 1)
                at = (vz - origin[0], vy - origin[1], vx - origin[2])
                if beside or vx != x + cut[2, 2]:
                    seen[z, y, x] = 0
                there = labels[at]
                if has_view and view[at] == 0:
                    blocked[z, y, x] = 1
                    seen[z, y, x] = 0
                elif there == own:
                    label[z, y, x] = 1
                    solid[z, y, x] = not (has_cracks and cracks[at] > 0)
                elif there != 0:
                    blocked[z, y, x] = 1
    return label, solid, blocked, seen


@njit(cache=True, nogil=True)
def _count_filled(
    filled: NDArray[Any], solid: NDArray[Any], start: NDArray[Any]
) -> NDArray[np.int64]:
    """Count voxels, moments and pieces; the order is that of `COUNTS`."""
    counts = np.zeros(len(COUNTS), dtype=np.int64)
    depth, rows, columns = filled.shape
    for z in range(depth):
        for y in range(rows):
            number, along, along2 = 0, 0, 0
            for x in range(columns):
                number += filled[z, y, x]
                along += filled[z, y, x] * x
                along2 += filled[z, y, x] * x * x
                counts[10] += filled[z, y, x] & solid[z, y, x]
            vz, vy, vx = z + start[0], y + start[1], start[2]
            sum_x = along + number * vx
            counts[0] += number
            counts[1] += number * vz
            counts[2] += number * vy
            counts[3] += sum_x
            counts[4] += number * vz * vz
            counts[5] += number * vy * vy
            counts[6] += along2 + 2 * along * vx + number * vx * vx
            counts[7] += number * vz * vy
            counts[8] += sum_x * vz
            counts[9] += sum_x * vy
    counts[14] = count_connected_components(filled)
    return counts


@njit(cache=True, nogil=True)
def _count_rim(marked: NDArray[Any]) -> int:
    """Count marked voxels with a face towards one that is not, or towards the array's outside."""
    depth, rows, columns = marked.shape
    inside = 0
    total = 0
    for z in range(depth):
        for y in range(rows):
            for x in range(columns):
                total += marked[z, y, x]
            if 0 < z < depth - 1 and 0 < y < rows - 1:
                own, above, below = marked[z, y], marked[z - 1, y], marked[z + 1, y]
                left, right = marked[z, y - 1], marked[z, y + 1]
                for x in range(1, columns - 1):
                    inside += (
                        own[x] & own[x - 1] & own[x + 1]
                        & above[x] & below[x] & left[x] & right[x]
                    )  # fmt: skip
    return total - inside


@njit(cache=True, nogil=True)
def _count_crossings(
    filled: NDArray[Any], seen: NDArray[Any], directions: NDArray[Any]
) -> NDArray[np.int64]:
    """Count how often the surface is crossed between voxels that are seen, along each direction."""
    state = filled | ((1 - seen) << 1)  # two states differ in the lowest bit alone: a crossing
    depth, rows, columns = filled.shape
    crossings = np.zeros(len(directions), dtype=np.int64)
    for line in range(len(directions)):
        dz, dy, dx = directions[line, 0], directions[line, 1], directions[line, 2]
        total = 0
        for z in range(depth - dz):
            for y in range(max(0, -dy), min(rows, rows - dy)):
                here, there = state[z, y], state[z + dz, y + dy]
                for x in range(max(0, -dx), min(columns, columns - dx)):
                    total += (here[x] ^ there[x + dx]) == 1
        crossings[line] = total
    return crossings


@njit(cache=True, nogil=True)
def _sum_heights(  # noqa: PLR0912  (one pass over voxels)
    filled: NDArray[Any],
    solid: NDArray[Any],
    seen: NDArray[Any],
    bars: NDArray[Any],
    ball_um: float,
) -> NDArray[np.float64]:
    """Sum the local heights of the outer surface and of the solid along cracks.

    The fraction of a ball around a surface voxel that lies inside gives how far the voxel lies
    below a flat surface: 4/3 of the radius times (share - 1/2), for small heights. Nothing of the
    particle lies beyond its cut-out.
    """
    depth, rows, columns = filled.shape
    inside = np.zeros((depth, rows, columns + 1), dtype=np.int32)
    crack = np.zeros((depth, rows, columns + 1), dtype=np.int32)
    for z in range(depth):
        for y in range(rows):
            for x in range(columns):
                inside[z, y, x + 1] = inside[z, y, x] + filled[z, y, x]
                cracked = filled[z, y, x] > solid[z, y, x]
                crack[z, y, x + 1] = crack[z, y, x] + cracked
    total = 0
    for bar in range(len(bars)):
        total += 2 * bars[bar, 2] + 1
    sums = np.zeros(6, dtype=np.float64)
    for z in range(1, depth - 1):
        for y in range(1, rows - 1):
            for x in range(1, columns - 1):
                if not filled[z, y, x]:
                    continue
                outer, inner = False, False
                for axis in range(3):
                    for way in (-1, 1):
                        nz = z + way * (axis == 0)
                        ny = y + way * (axis == 1)
                        nx = x + way * (axis == 2)
                        if not filled[nz, ny, nx]:
                            outer |= seen[nz, ny, nx] > 0
                        elif not solid[nz, ny, nx]:
                            inner = solid[z, y, x] > 0
                if outer:
                    share = _count_bars(inside, bars, z, y, x) / total
                    height = 4 / 3 * ball_um * (share - 0.5)
                    sums[0] += 1
                    sums[1] += height
                    sums[2] += height * height
                if inner:
                    share = 1 - _count_bars(crack, bars, z, y, x) / total
                    height = 4 / 3 * ball_um * (share - 0.5)
                    sums[3] += 1
                    sums[4] += height
                    sums[5] += height * height
    return sums


@njit(cache=True, nogil=True)
def _count_bars(before: NDArray[Any], bars: NDArray[Any], z: int, y: int, x: int) -> int:
    depth, rows, ends = before.shape
    count = 0
    for bar in range(len(bars)):
        cz, cy = z + bars[bar, 0], y + bars[bar, 1]
        if 0 <= cz < depth and 0 <= cy < rows:
            half = bars[bar, 2]
            count += before[cz, cy, min(x + half + 1, ends - 1)] - before[cz, cy, max(x - half, 0)]
    return count
