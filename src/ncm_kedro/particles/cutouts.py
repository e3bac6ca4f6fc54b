"""What is measured on each particle's own cut-out: its filling, cracks, roughness and pieces.

A particle is cut out and measured once, by the block that holds the first corner of its bounding
box. Small ones of a block come out of one read and are worked off by one compiled call, so that
what a particle costs is its voxels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import edt
import numpy as np
from numba import njit
from numpy.typing import NDArray

from ncm_kedro.particles.crack_profile import count_shells
from ncm_kedro.particles.crack_width import measure_crack_width
from ncm_kedro.particles.crofton import DIRECTIONS
from ncm_kedro.particles.filling import close_particle
from ncm_kedro.particles.runs import count_pieces, fill_voids
from ncm_kedro.particles.specimen import Specimen
from ncm_kedro.tomo.blocks import Block
from ncm_kedro.tomo.volume import Spacing

COUNTS = ("filled", "z", "y", "x", "zz", "yy", "xx", "zy", "zx", "yx", "solid", "perimeter",
          "solid_perimeter", "closed", "pieces")  # fmt: skip
ROUGHNESS = ("outer_n", "outer_sum", "outer_sum2", "inner_n", "inner_sum", "inner_sum2")
_SHARED_VX = 64
_MIN_ROUGHNESS_VX = 2.0
_SHY = 0.1
_MOUTH_VX = 0.35

Region = tuple[NDArray[Any], NDArray[np.uint8], NDArray[np.uint8]]
"""Labels, cracks and field of view of a box; the latter two have no voxels where there are none."""


@dataclass(frozen=True)
class CutoutSettings:
    """Lengths and choices of the work on cut-outs.

    Attributes
    ----------
    closing_um
        Radius of the closing.
    tight
        Whether open cracks are closed for the damage alone, within the tight bounding box, as in
        the published code; all else is then measured on the label and its enclosed voids.
    roughness_um
        Radius of the ball that roughness is measured with; at least two voxels are taken.
    profile_bins
        Shells of the crack profile; 0: none.
    crack_width
        Whether the width of cracks is measured.
    """

    closing_um: float
    tight: bool
    roughness_um: float
    profile_bins: int
    crack_width: bool

    def radii_um(
        self, voxel_size_um: Spacing, equivalent_um: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the radius of the closing for each particle, (n,).

        It is no more than half the particle's own equivalent radius, and just under a whole
        number of voxels: on a grid, a closing by a whole number or a little more takes the
        outermost layer off a crack's mouth.

        Parameters
        ----------
        voxel_size_um
            Edges of a voxel along z, y, x.
        equivalent_um
            Radii of balls of the labels' volumes, (n,).
        """
        if self.tight or self.closing_um == 0:
            return np.full(len(equivalent_um), self.closing_um)
        edge = float(np.cbrt(np.prod(voxel_size_um)))
        wanted = np.minimum(self.closing_um, equivalent_um / 2)
        return edge * (np.maximum(1.0, np.rint(wanted / edge + _SHY)) - _SHY)

    def ball_um(self, voxel_size_um: Spacing) -> float:
        """Return the radius of the ball for the roughness."""
        return max(self.roughness_um, _MIN_ROUGHNESS_VX * float(np.cbrt(np.prod(voxel_size_um))))


@dataclass(frozen=True)
class CutoutTask:
    """Measure the particles that belong to a block.

    Attributes
    ----------
    specimen
        The volume.
    ids
        Labels, ascending, (n,).
    box
        Bounding boxes, start and stop, (n, 6).
    owner
        Index of the block that measures each particle, -1 for none, (n,).
    voxels
        Voxels of each, (n,).
    settings
        Lengths and choices.
    """

    specimen: Specimen
    ids: NDArray[np.int64]
    box: NDArray[np.int64]
    owner: NDArray[np.int64]
    voxels: NDArray[np.int64]
    settings: CutoutSettings

    def __call__(self, block: Block) -> dict[str, NDArray[np.generic]]:
        """Return what was measured.

        Returns
        -------
        dict
            ``row`` (n,), positions in ``ids``; ``counts`` (n, 15) in the order of `COUNTS`, with
            coordinates in voxels of the volume; ``crossings`` (n, 13) of the filled particle;
            ``rough`` (n, 6) in the order of `ROUGHNESS`, heights in um; ``shells`` (n, 2, bins);
            ``width`` (n, 2), mean and largest width of cracks in um.
        """
        settings, voxel_size_um = self.settings, self.specimen.voxel_size_um
        bins = settings.profile_bins
        ball_um = settings.ball_um(voxel_size_um)
        bars = _list_bars(ball_um, voxel_size_um)
        edges = np.array(voxel_size_um, dtype=np.float32)
        parts: list[tuple[NDArray[Any], ...]] = []
        for rows, region, start in self._read_groups(block):
            radii_um, cuts = self._list_cuts(rows)
            smooth = self._find_equivalent(rows) >= 2 * ball_um
            counts, crossings, rough = _measure_all(
                *region, start, cuts, self.ids[rows], edges, radii_um, settings.tight, smooth,
                bars, ball_um, DIRECTIONS,
            )  # fmt: skip
            shells = np.zeros((len(rows), 2, bins), dtype=np.int64)
            width = np.full((len(rows), 2), np.nan)
            if bins or settings.crack_width:
                for at, row in enumerate(rows):
                    filled, solid, _, _ = _fill_one(
                        *region, start, cuts[at], int(self.ids[row]), edges, float(radii_um[at]),
                        settings.tight,
                    )  # fmt: skip
                    shells[at], width[at] = self._measure_cracks(filled, solid)
            parts.append((rows, counts, crossings, rough, shells, width))
        names = ("row", "counts", "crossings", "rough", "shells", "width")
        if not parts:
            parts.append(_empty_part(bins))
        return {name: np.concatenate([part[n] for part in parts]) for n, name in enumerate(names)}

    def _read_groups(
        self, block: Block
    ) -> Iterator[tuple[NDArray[np.int64], Region, NDArray[np.int64]]]:
        """Yield rows with the voxels that hold them: the small ones together, large ones alone."""
        shape = self.specimen.shape_zyx
        rows = np.flatnonzero(self.owner == block.index)
        room = block.grow(_SHARED_VX, shape)
        fits = (self.box[rows, :3] >= room.start).all(axis=1)
        fits &= (self.box[rows, 3:] <= room.stop).all(axis=1)
        groups = [rows[fits]] * bool(fits.any()) + [np.array([row]) for row in rows[~fits]]
        for group in groups:
            cuts = self._list_cuts(group)[1]
            low = np.maximum(cuts[:, 2].min(axis=0), 0)
            high = np.minimum(cuts[:, 3].max(axis=0), shape)
            yield group, self._read(Block(0, tuple(low.tolist()), tuple(high.tolist()))), low

    def _read(self, cut: Block) -> Region:
        specimen = self.specimen
        nothing = np.zeros((0, 0, 0), dtype=np.uint8)
        return (
            np.asarray(specimen.labels[cut.region]),
            nothing if specimen.cracks is None else np.asarray(specimen.cracks[cut.region]),
            nothing if specimen.view is None else np.asarray(specimen.view[cut.region]),
        )

    def _list_cuts(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """List radii of the closing (n,), and cuts (n, 5, 3).

        Rows of a cut: start and stop of the box; start and stop of the cut-out with its margin,
        which may reach beyond the volume; stop of the volume.
        """
        voxel_size_um = self.specimen.voxel_size_um
        radii_um = self.settings.radii_um(voxel_size_um, self._find_equivalent(rows))
        reach_um = np.zeros(len(rows)) if self.settings.tight else radii_um
        margin = (reach_um[:, None] / np.array(voxel_size_um) + 1e-6).astype(np.int64) + 1
        low, high = self.box[rows, :3], self.box[rows, 3:]
        end = np.broadcast_to(np.array(self.specimen.shape_zyx), low.shape)
        return radii_um, np.stack([low, high, low - margin, high + margin, end], axis=1)

    def _find_equivalent(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the radii of balls of the labels' volumes in um, (n,)."""
        volume_um3 = self.voxels[rows] * float(np.prod(self.specimen.voxel_size_um))
        return np.asarray(np.cbrt(3 * volume_um3 / (4 * np.pi)))

    def _measure_cracks(
        self, filled: NDArray[np.uint8], solid: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int64], tuple[float, float]]:
        bins, voxel_size_um = self.settings.profile_bins, self.specimen.voxel_size_um
        crack = (filled > 0) & (solid == 0)
        shells = np.zeros((2, bins), dtype=np.int64)
        if bins:
            depth_um = edt.edt(filled, anisotropy=voxel_size_um, parallel=1)
            shells = np.stack(count_shells(depth_um, filled > 0, crack, bins))
        if self.settings.crack_width and crack.any():
            return shells, measure_crack_width(crack, voxel_size_um)
        return shells, (np.nan, np.nan)


def _empty_part(bins: int) -> tuple[NDArray[Any], ...]:
    return (
        np.zeros(0, np.int64), np.zeros((0, len(COUNTS)), np.int64), np.zeros((0, 13), np.int64),
        np.zeros((0, len(ROUGHNESS))), np.zeros((0, 2, bins), np.int64), np.zeros((0, 2)),
    )  # fmt: skip


def _list_bars(radius_um: float, voxel_um: Spacing) -> NDArray[np.int64]:
    """List the rows that a ball of voxels is made of: step z, step y, half length; (n, 3)."""
    reach = [int(radius_um / edge + 1e-6) for edge in voxel_um]
    bars = []
    for z in range(-reach[0], reach[0] + 1):
        for y in range(-reach[1], reach[1] + 1):
            rest = radius_um**2 * (1 + 1e-6) - (z * voxel_um[0]) ** 2 - (y * voxel_um[1]) ** 2
            if rest >= 0:
                bars.append((z, y, int(np.sqrt(rest) / voxel_um[2] + 1e-6)))
    return np.array(bars, dtype=np.int64)


@njit(nogil=True)
def _measure_all(  # noqa: PLR0917  (numba takes positions)
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
        filled, solid, seen, closed = _fill_one(
            labels, cracks, view, origin, cuts[row], ids[row], voxel_um, radii_um[row], tight
        )
        counts[row] = _count_filled(filled, solid, cuts[row, 2])
        counts[row, 13] = closed
        if tight:  # the published code's surfaces
            counts[row, 11] = _count_rim(filled)
            counts[row, 12] = _count_rim(solid)
        crossings[row] = _count_crossings(filled, seen, directions)
        if smooth[row]:
            rough[row] = _sum_heights(filled, solid, seen, bars, ball_um)
    return counts, crossings, rough


@njit(nogil=True)
def _fill_one(  # noqa: PLR0917  (numba takes positions)
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


@njit(nogil=True)
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


@njit(nogil=True)
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
    counts[14] = count_pieces(filled)
    return counts


@njit(nogil=True)
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


@njit(nogil=True)
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


@njit(nogil=True)
def _sum_heights(  # noqa: PLR0912  (one pass over voxels)
    filled: NDArray[Any],
    solid: NDArray[Any],
    seen: NDArray[Any],
    bars: NDArray[Any],
    ball_um: float,
) -> NDArray[np.float64]:
    """Sum the local heights of the outer surface and of the solid along cracks.

    The share of a ball around a surface voxel that lies inside tells how far the voxel lies below
    a flat surface: 4/3 of the radius times (share - 1/2), for small heights. Nothing of the
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


@njit(nogil=True)
def _count_bars(before: NDArray[Any], bars: NDArray[Any], z: int, y: int, x: int) -> int:
    depth, rows, ends = before.shape
    count = 0
    for bar in range(len(bars)):
        cz, cy = z + bars[bar, 0], y + bars[bar, 1]
        if 0 <= cz < depth and 0 <= cy < rows:
            half = bars[bar, 2]
            count += before[cz, cy, min(x + half + 1, ends - 1)] - before[cz, cy, max(x - half, 0)]
    return count
