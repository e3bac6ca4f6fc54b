"""Principal axes of a particle: lengths, direction, and how well it is known.

Roughness of a surface from local heights, voxel steps taken off.

The height of a surface voxel over the plane that a ball around it sees (integral invariants:
Pottmann et al. 2009, Comput. Aided Geom. Des. 26, 37) scatters even on a smooth surface, because
voxel centres lie at any depth below it. On a plane with normal n the voxels with an outer face
lie 0 to max(|n_i| h_i) deep, evenly; over all normals that scatter is a number of the voxel size,
which is taken off the variance.

What a particle's surroundings are like: nearest particles, alignment, packing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from ncm_kedro.particles.measure import Cells
from ncm_kedro.tomo.volumes.volume import Spacing, Triple

FloatArray = NDArray[np.float64]

_GIMBAL = 1e-9
_FLAT = 1e-9  # a particle of one layer has no thickness that could be measured


@dataclass(frozen=True)
class PrincipalAxes:
    """Principal axes of n particles.

    Attributes
    ----------
    centre_um
        Centroids z, y, x, (n, 3), from the volume's first corner.
    spread_um2
        Eigenvalues of the covariance of the particle's points, largest first, (n, 3).
    direction
        Unit vectors, (n, 3, 3): ``direction[i, k]`` is axis k (0 the longest) as x, y, z;
        right-handed.
    """

    centre_um: FloatArray
    spread_um2: FloatArray
    direction: FloatArray

    @property
    def elongation(self) -> FloatArray:
        """Longest over shortest axis, (n,)."""
        longest, shortest = self.spread_um2[:, 0], self.spread_um2[:, 2]
        ratio = np.full(len(shortest), np.nan)
        np.divide(longest, shortest, out=ratio, where=shortest > _FLAT * longest)
        return np.asarray(np.sqrt(ratio))

    def distinct(self, first: int, second: int, min_ratio: float) -> NDArray[np.bool_]:
        """Return whether two axes differ in length by at least a factor."""
        one, two = self.spread_um2[:, first], self.spread_um2[:, second]
        has_length = one > _FLAT * np.maximum(self.spread_um2[:, 0], np.finfo(np.float64).tiny)
        return np.asarray(has_length & (one >= min_ratio**2 * two))


def find_axes(sums: NDArray[np.int64], voxel_size_um: Spacing) -> PrincipalAxes:
    """Find principal axes from sums over voxels.

    Parameters
    ----------
    sums
        (n, 10): number of voxels, sums of z, y, x, zz, yy, xx, zy, zx, yx in voxels.
    voxel_size_um
        Edges of a voxel along z, y, x. Voxels count as points: over random places of a solid the
        sums over the voxels whose centres it holds are its integrals, and the spread of a voxel
        over its own box (h^2 / 12) would come on top.
    """
    edges = np.asarray(voxel_size_um, dtype=np.float64)
    number = np.maximum(sums[:, :1], 1)
    mean = sums[:, 1:4] / number
    # n * sum(ab) - sum(a) * sum(b) may pass 2**63: subtract whole voxels first
    near = np.rint(mean).astype(np.int64)
    rest = sums[:, 1:4] - near * number
    covariance = np.empty((len(sums), 3, 3))
    for column, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)), start=4):
        shifted = (
            sums[:, column]
            - near[:, a] * sums[:, 1 + b]
            - near[:, b] * sums[:, 1 + a]
            + near[:, a] * near[:, b] * number[:, 0]
        )
        value = shifted / number[:, 0] - (rest[:, a] / number[:, 0]) * (rest[:, b] / number[:, 0])
        covariance[:, a, b] = covariance[:, b, a] = value * edges[a] * edges[b]
    values, vectors = np.linalg.eigh(covariance)
    direction = np.swapaxes(vectors, 1, 2)[:, ::-1, ::-1]  # longest first; x, y, z
    return PrincipalAxes(
        centre_um=(mean + 0.5) * edges,
        spread_um2=values[:, ::-1],
        direction=_turn_axes(direction),
    )


def find_angles(direction: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return yaw, pitch and roll of axes.

    The rotation that takes x, y, z to the longest, middle and shortest axis, as counterclockwise
    turns about z, then the turned y, then the turned x (Table S1, ID 4 to 6). An axis has no sign:
    the longest one is taken with its x component positive, and a turn of the other two by half a
    circle changes nothing.

    Parameters
    ----------
    direction
        (n, 3, 3), as of `PrincipalAxes`.

    Returns
    -------
    yaw, pitch, roll
        Degrees, (n,): (-90, 90], [-90, 90] and (-90, 90]. Where the longest axis runs along z yaw
        and roll are not separable: roll is 0 there.
    """
    long, middle, short = direction[:, 0], direction[:, 1], direction[:, 2]
    level = np.sqrt(long[:, 0] ** 2 + long[:, 1] ** 2)
    upright = level < _GIMBAL
    yaw = np.degrees(np.arctan2(long[:, 1], long[:, 0]))
    pitch = np.degrees(np.arctan2(-long[:, 2], level))
    roll = np.degrees(np.arctan2(middle[:, 2], short[:, 2]))
    yaw = np.where(upright, np.degrees(np.arctan2(-middle[:, 0], middle[:, 1])), yaw)
    roll = np.where(upright, 0.0, roll)
    return _halve(yaw), pitch, _halve(roll)


def _turn_axes(direction: FloatArray) -> FloatArray:
    """Choose signs: the longest axis towards positive x (then y, then z), right-handed."""
    turned = direction.copy()
    long = turned[:, 0]
    sign = np.zeros(len(turned))
    for component in range(3):
        clear = (sign == 0) & (np.abs(long[:, component]) > _GIMBAL)
        sign = np.where(clear, np.sign(long[:, component]), sign)
    turned[:, 0] *= np.where(sign == 0, 1, sign)[:, None]
    turned[:, 2] = np.cross(turned[:, 0], turned[:, 1])
    return turned


def _halve(angle_deg: FloatArray) -> FloatArray:
    """Bring the angle of an axis without sign into (-90, 90]."""
    halved: FloatArray = 90 - np.mod(90 - angle_deg, 180)
    return halved


_NORMALS = 4000
_GOLDEN = np.pi * (3 - np.sqrt(5))
_FEW = 20


def measure_roughness(raw: pd.DataFrame, voxel_size_um: Spacing) -> tuple[FloatArray, FloatArray]:
    """Return the standard deviation of the local height of outer and inner surfaces.

    Parameters
    ----------
    raw
        ``outer_n, outer_sum, outer_sum2, inner_n, inner_sum, inner_sum2``, heights in um.

    Returns
    -------
    outer, inner
        (n,), um; not a number where there are fewer than twenty surface voxels.
    """
    floor = find_voxel_scatter(voxel_size_um)
    found = []
    for name in ("outer", "inner"):
        number = raw[f"{name}_n"].to_numpy()
        number = np.where(number >= _FEW, number, np.nan)
        mean = raw[f"{name}_sum"].to_numpy() / number
        variance = raw[f"{name}_sum2"].to_numpy() / number - mean**2
        found.append(np.sqrt(np.maximum(variance - floor, 0.0)))
    return found[0], found[1]


def find_voxel_scatter(voxel_size_um: Spacing) -> float:
    """Return the variance of the depth of surface voxels below a smooth surface, um2."""
    step = np.arange(_NORMALS)
    height = 1 - 2 * (step + 0.5) / _NORMALS
    flat = np.sqrt(1 - height**2)
    normal = np.stack([height, flat * np.sin(_GOLDEN * step), flat * np.cos(_GOLDEN * step)], 1)
    deepest = (np.abs(normal) * np.asarray(voxel_size_um)).max(axis=1)
    share = deepest / deepest.sum()  # voxels per area
    mean = float(share @ (deepest / 2))
    return float(share @ (deepest**2 / 3)) - mean**2


def find_nearest(
    centre_um: FloatArray, usable: NDArray[np.bool_], neighbours: int
) -> tuple[NDArray[np.int64], FloatArray]:
    """Find the nearest other particles of each one.

    Parameters
    ----------
    centre_um
        (n, 3).
    usable
        Which particles may be neighbours, (n,).
    neighbours
        How many are wanted.

    Returns
    -------
    index : (n, neighbours) array
        Positions of the neighbours, the nearest first; where there are fewer, all are -1.
    distance_um : (n, neighbours) array
        Their distances, not a number where there are fewer.
    """
    number = len(centre_um)
    index = np.full((number, neighbours), -1, dtype=np.int64)
    distance = np.full((number, neighbours), np.nan)
    places = np.flatnonzero(usable)
    if len(places) < neighbours:
        return index, distance
    tree = cKDTree(centre_um[places])
    reach = min(neighbours + 1, len(places))
    far, found = tree.query(centre_um, k=reach)
    found = places[found]
    is_other = found != np.arange(number)[:, None]
    rank = np.cumsum(is_other, axis=1)
    enough = rank[:, -1] >= neighbours
    keep = is_other & (rank <= neighbours) & enough[:, None]
    index[enough] = found[keep].reshape(-1, neighbours)
    distance[enough] = far[keep].reshape(-1, neighbours)
    return index, distance


def spread_over(values: FloatArray, index: NDArray[np.int64]) -> FloatArray:
    """Return the standard deviation (ddof 1) of a value over neighbours, (n,).

    Parameters
    ----------
    values
        (n,).
    index
        (n, k), from `find_nearest`; -1 gives not a number.
    """
    spread: FloatArray = np.std(values[index], axis=1, ddof=1)
    return np.where((index < 0).any(axis=1), np.nan, spread)


def measure_alignment(axis: FloatArray, index: NDArray[np.int64]) -> FloatArray:
    """Return the nematic order parameter S2 of the neighbours' long axes, (n,).

    The largest eigenvalue of the mean of (3 u u' - 1) / 2: 1 where all are parallel. Six random
    axes have 0.35 on average, not 0.

    Parameters
    ----------
    axis
        Unit vectors, (n, 3); their sign does not matter.
    index
        (n, k), from `find_nearest`; -1 gives not a number.
    """
    near = axis[index]
    order = 1.5 * np.einsum("nki,nkj->nij", near, near) / index.shape[1] - 0.5 * np.eye(3)
    largest: FloatArray = np.linalg.eigvalsh(order)[:, -1]
    return np.where((index < 0).any(axis=1), np.nan, np.clip(largest, 0, 1))


def measure_packing(
    centre_um: FloatArray,
    window_um: float,
    cells: Cells,
    grid: tuple[Triple, Spacing],
    *,
    clipped: bool,
) -> FloatArray:
    """Return the fraction of a cube around each centre that is labelled, (n,).

    Parameters
    ----------
    centre_um
        (n, 3).
    window_um
        Edge of the cube.
    cells
        Counts; within a cell at the cube's face, voxels are taken as evenly spread.
    grid
        Voxels of the volume along z, y, x, and their edges in um.
    clipped
        True divides by what is known of the cube (inside the volume and the field of view),
        False by the whole cube.
    """
    shape, voxel_size_um = grid
    edges = np.asarray(voxel_size_um)
    low = np.clip((centre_um - window_um / 2) / edges, 0, shape)
    high = np.clip((centre_um + window_um / 2) / edges, 0, shape)
    filled = _sum_window(cells.filled, cells.edge_vx, shape, low, high)
    if not clipped:
        return np.asarray(filled * np.prod(edges) / window_um**3)
    valid = _sum_window(cells.valid, cells.edge_vx, shape, low, high)
    share = np.full(len(filled), np.nan)
    np.divide(filled, valid, out=share, where=valid > 0.5)
    return share


def _sum_window(
    counts: NDArray[np.uint8], edge_vx: Triple, shape: Triple, low: FloatArray, high: FloatArray
) -> FloatArray:
    """Sum counts over boxes whose corners are given in voxels."""
    total = np.zeros([n + 1 for n in counts.shape], dtype=np.int64)
    total[1:, 1:, 1:] = counts
    for axis in range(3):
        np.cumsum(total, axis=axis, out=total)
    knots = [np.append(np.arange(0, n, edge), n) for n, edge in zip(shape, edge_vx, strict=True)]
    ends = [
        [np.interp(bound[:, axis], knots[axis], np.arange(len(knots[axis]))) for axis in range(3)]
        for bound in (low, high)
    ]
    window = np.zeros(len(low))
    for corner in range(8):
        pick = [corner >> 2 & 1, corner >> 1 & 1, corner & 1]
        place = np.stack([ends[side][axis] for axis, side in enumerate(pick)])
        sign = -1 if (3 - sum(pick)) % 2 else 1
        window += sign * map_coordinates(total, place, output=np.float64, order=1, mode="nearest")
    return window
