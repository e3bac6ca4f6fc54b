"""Width of cracks: local thickness, rendered with the few balls that no other ball contains.

The local thickness of a voxel is the diameter of the largest ball that fits inside the crack and
contains the voxel (Hildebrand & Rueegsegger 1997, J. Microsc. 185:67). Both the balls' centres
and the solid that stops them are taken on voxels and half-way between voxels of a kind: on voxels
alone, a crack an even number of voxels wide has no centre and reads one voxel low.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import edt
import numpy as np
from numba import njit
from numpy.typing import NDArray

from ncm_kedro.tomo.volumes.volume import Spacing

_SLAB_VX = 4_000_000
_FINE_RADIUS_VX = 8.0
_REACH_VX = 10.0
_BLUNT_GAIN = 0.8
_SLACK = 1e-5


class _Balls(NamedTuple):
    """Centres in half voxels, (n, 3); distance to the nearest solid point and the width (um)."""

    place: NDArray[np.int32]
    radius_um: NDArray[np.float32]
    width_um: NDArray[np.float32]


def measure_crack_width(
    crack_zyx: NDArray[np.bool_], voxel_size_um: Spacing
) -> tuple[float, float]:
    """Measure how wide cracks are.

    Parameters
    ----------
    crack_zyx
        Cracks and voids of one particle, (Z, Y, X).

    Returns
    -------
    mean_um, max_um
        Mean local thickness over the crack's voxels, and the largest (um); not a number where
        there is no crack.
    """
    width_um = map_crack_width(crack_zyx, voxel_size_um)
    values = width_um[width_um > 0]
    if not len(values):
        return float("nan"), float("nan")
    return float(values.mean(dtype=np.float64)), float(values.max())


def map_crack_width(crack_zyx: NDArray[np.bool_], voxel_size_um: Spacing) -> NDArray[np.float32]:
    """Find the local thickness of every voxel of a crack.

    A ball's width is twice its radius less the voxel's extent along the radius, since the wall
    stands half a voxel before the nearest solid point. A flat crack along an axis reads exactly
    its number of voxels up to 16. Centres of wider balls stand on voxels alone, so that they read
    up to one voxel low.

    Parameters
    ----------
    crack_zyx
        Cracks and voids, (Z, Y, X). What lies outside the array is taken as solid.

    Returns
    -------
    ndarray
        Width (um), (Z, Y, X), 0 outside cracks.
    """
    width_um = np.zeros(crack_zyx.shape, dtype=np.float32)
    box = _bound(crack_zyx)
    if box is not None:
        crack = np.pad(np.asarray(crack_zyx[box], dtype=np.bool_), 1)
        z, y, x = (float(edge) for edge in voxel_size_um)
        width_um[box] = _map_padded(crack, (z, y, x))[1:-1, 1:-1, 1:-1]
    return width_um


def _map_padded(crack: NDArray[np.bool_], spacing_um: Spacing) -> NDArray[np.float32]:
    balls = _find_balls(crack, spacing_um)
    order = np.argsort(-balls.width_um, kind="stable")
    painted = np.zeros(crack.shape, dtype=np.float32)
    _paint(*(part[order] for part in balls), crack, np.asarray(spacing_um), painted)
    _fill_bare(crack, painted)
    return painted


def _fill_bare(crack: NDArray[np.bool_], painted: NDArray[np.float32]) -> None:
    """Let voxels that no ball has reached take the widest width beside them, as far as needed."""
    bare = np.argwhere(crack & (painted == 0))
    while len(bare):
        widest = np.zeros(len(bare), np.float32)
        for step in product((-1, 0, 1), repeat=3):
            np.maximum(widest, painted[tuple((bare + step).T)], out=widest)
        if not widest.any():
            return
        painted[tuple(bare.T)] = widest
        bare = bare[widest == 0]


def _bound(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice] | None:
    spans = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        at = np.flatnonzero(mask.any(axis=others))
        if not len(at):
            return None
        spans.append(slice(int(at[0]), int(at[-1]) + 1))
    return spans[0], spans[1], spans[2]


def _find_balls(crack: NDArray[np.bool_], spacing_um: Spacing) -> _Balls:
    """Find narrow balls on half voxels; look for wide ones on voxels twice as large."""
    edge_um = float(np.prod(spacing_um)) ** (1 / 3)
    reach_um = _REACH_VX * edge_um
    balls = _find_narrow(crack, spacing_um, reach_um)
    depth_um = edt.edt(crack, anisotropy=spacing_um, parallel=1)
    if depth_um.max() <= reach_um - max(spacing_um):
        return balls
    wide = _find_wide(crack, spacing_um, depth_um)
    keep = wide.width_um > 2 * _FINE_RADIUS_VX * edge_um
    return _Balls(*(np.concatenate([a, b[keep]]) for a, b in zip(balls, wide, strict=True)))


def _find_wide(
    crack: NDArray[np.bool_], spacing_um: Spacing, depth_um: NDArray[np.float32]
) -> _Balls:
    """Find the centres of balls on voxels twice as large, and measure them here.

    Of the large voxels only whole ones count, so that no thin wall is lost. A centre there lies
    between eight voxels; the deepest of them takes its place.
    """
    even = np.pad(crack, [(0, n % 2) for n in crack.shape])
    corners = list(product((0, 1), repeat=3))
    whole = np.logical_and.reduce([even[z::2, y::2, x::2] for z, y, x in corners])
    z, y, x = (2 * edge for edge in spacing_um)
    place = _find_balls(whole, (z, y, x)).place
    depths = np.stack([depth_um[tuple((place + corner).T)] for corner in corners])
    radius_um = depths.max(axis=0)
    place = 2 * (place + np.array(corners, dtype=np.int32)[depths.argmax(axis=0)])
    return _Balls(place, radius_um, 2 * radius_um - np.float32(np.cbrt(np.prod(spacing_um))))


def _find_narrow(crack: NDArray[np.bool_], spacing_um: Spacing, reach_um: float) -> _Balls:
    """Find balls slab by slab; distances on half voxels take eight times a slab's memory."""
    halo = int(reach_um / spacing_um[0]) + 2
    height = max(halo, _SLAB_VX // (crack.shape[1] * crack.shape[2]) - 2 * halo)
    found = []
    for start in range(0, crack.shape[0], height):
        low = max(0, start - halo)
        slab = crack[low : start + height + halo]
        rows = (2 * (start - low), 2 * (min(start + height, crack.shape[0]) - low))
        balls = _find_in_slab(slab, rows, spacing_um, reach_um)
        found.append(balls._replace(place=balls.place + np.array([2 * low, 0, 0], np.int32)))
    return _Balls(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _find_in_slab(
    crack: NDArray[np.bool_], rows: tuple[int, int], spacing_um: Spacing, reach_um: float
) -> _Balls:
    """Find the balls whose centres stand in some rows of a slab (half voxels along z)."""
    step_um = np.asarray(spacing_um) / 2
    space = _halve(crack, np.logical_or)
    depth_um = edt.edt(space, anisotropy=tuple(step_um.tolist()), parallel=1)
    centre = _halve(crack, np.logical_and)
    place = _list_centres(depth_um, centre, step_um, rows, reach_um)
    radius_um = depth_um[place[:, 0], place[:, 1], place[:, 2]]
    if len(set(spacing_um)) == 1:
        return _Balls(place, radius_um, 2 * radius_um - np.float32(spacing_um[0]))
    offset, distance_um, extent_um = _list_offsets(spacing_um, reach_um)
    extent = _find_extents(space, place, radius_um, offset, distance_um, extent_um)
    return _Balls(place, radius_um, 2 * radius_um - extent)


def _halve(mask: NDArray[np.bool_], combine: np.ufunc) -> NDArray[np.bool_]:
    """Double the resolution; a point between voxels gets what they give combined."""
    for axis in range(mask.ndim):
        moved = np.moveaxis(mask, axis, 0)
        finer = np.empty((2 * len(moved) - 1, *moved.shape[1:]), dtype=np.bool_)
        finer[::2] = moved
        finer[1::2] = combine(moved[:-1], moved[1:])
        mask = np.moveaxis(finer, 0, axis)
    return np.ascontiguousarray(mask)


@lru_cache(maxsize=16)
def _list_offsets(
    spacing_um: Spacing, reach_um: float
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """List the points around a centre, nearest first.

    Returns
    -------
    offset : ndarray
        In half voxels, (n, 3).
    distance_um, extent_um : ndarray
        Distance, and extent of a voxel along that direction (um), (n,).
    """
    edges = np.asarray(spacing_um)
    spans = [np.arange(-n, n + 1) for n in (2 * reach_um / edges + 1).astype(int).tolist()]
    offset = np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, 3)
    away = offset * edges / 2
    distance = np.linalg.norm(away, axis=1)
    keep = np.flatnonzero((distance > 0) & (distance <= reach_um * (1 + _SLACK)))
    keep = keep[np.argsort(distance[keep], kind="stable")]
    extent = np.linalg.norm(away[keep] * edges, axis=1) / distance[keep]
    return (
        offset[keep].astype(np.int32),
        distance[keep].astype(np.float32),
        extent.astype(np.float32),
    )


@njit(cache=True, nogil=True)
def _find_extents(  # noqa: PLR0917  (numba takes positions)
    space: NDArray[Any],
    place: NDArray[Any],
    radius_um: NDArray[Any],
    offset: NDArray[Any],
    distance_um: NDArray[Any],
    extent_um: NDArray[Any],
) -> NDArray[np.float32]:
    """Find the voxel's extent towards the solid point that stops each ball, the largest (um)."""
    extents = np.zeros(len(place), np.float32)
    for n in range(len(place)):
        i = np.searchsorted(distance_um, radius_um[n] * (1 - _SLACK))
        while i < len(offset) and distance_um[i] <= radius_um[n] * (1 + _SLACK):
            z, y, x = place[n] + offset[i]
            inside = 0 <= z < space.shape[0] and 0 <= y < space.shape[1] and 0 <= x < space.shape[2]
            if inside and not space[z, y, x]:
                extents[n] = max(extents[n], extent_um[i])
            i += 1
    return extents


@njit(cache=True, nogil=True)
def _list_centres(
    depth_um: NDArray[Any],
    centre: NDArray[Any],
    step_um: NDArray[Any],
    rows: tuple[int, int],
    reach_um: float,
) -> NDArray[np.int32]:
    """List the centres whose balls no neighbouring ball contains, in half voxels, (n, 3).

    Wider balls than ``reach_um`` are omitted, but contain others.
    """
    place = np.empty((4096, 3), np.int32)
    found = 0
    for z in range(rows[0], min(rows[1], depth_um.shape[0])):
        for y in range(depth_um.shape[1]):
            for x in range(depth_um.shape[2]):
                if not centre[z, y, x] or depth_um[z, y, x] > reach_um:
                    continue
                if not _is_contained(depth_um, centre, (z, y, x), step_um, 0.4 * reach_um):
                    if found == len(place):
                        longer = np.empty((2 * found, 3), np.int32)
                        longer[:found] = place
                        place = longer
                    place[found] = (z, y, x)
                    found += 1
    return place[:found].copy()


@njit(cache=True, nogil=True)
def _is_contained(
    depth_um: NDArray[Any],
    centre: NDArray[Any],
    at: tuple[int, int, int],
    step_um: NDArray[Any],
    blunt_um: float,
) -> bool:
    """Return whether the ball around a point lies inside the ball around one of its neighbours."""
    z, y, x = at
    own = depth_um[z, y, x]
    for dz in range(-1, 2):
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                near = depth_um[z + dz, y + dy, x + dx]
                if near > own and centre[z + dz, y + dy, x + dx]:
                    step = (dz * step_um[0]) ** 2 + (dy * step_um[1]) ** 2 + (dx * step_um[2]) ** 2
                    gain = np.sqrt(step) * (1.0 if own < blunt_um else _BLUNT_GAIN)
                    if near >= (own + gain) * (1 - _SLACK):
                        return True
    return False


@njit(cache=True, nogil=True)
def _paint(  # noqa: PLR0917  (numba takes positions)
    place: NDArray[Any],
    radius_um: NDArray[Any],
    width_um: NDArray[Any],
    crack: NDArray[Any],
    spacing_um: NDArray[Any],
    painted: NDArray[Any],
) -> None:
    """Write each ball's width, widest first, into the voxels that no ball before it has.

    ``onward`` leads from a voxel to the next one in memory that may still be bare, so that what
    has a width is passed over in one step.
    """
    flat = painted.reshape(-1)
    onward = np.arange(painted.size + 1).astype(np.int32)
    for at in range(painted.size - 1, -1, -1):
        if not crack.flat[at]:
            onward[at] = onward[at + 1]
    for n in range(len(place)):
        z, y, x = 0.5 * place[n, 0], 0.5 * place[n, 1], 0.5 * place[n, 2]
        reach = radius_um[n] * (1 - _SLACK)
        deep = reach / spacing_um[0]
        for k in _span(z, deep, painted.shape[0]):
            left = reach**2 - ((k - z) * spacing_um[0]) ** 2
            high = np.sqrt(max(left, 0.0)) / spacing_um[1]
            for j in _span(y, high, painted.shape[1]):
                across = np.sqrt(max(left - ((j - y) * spacing_um[1]) ** 2, 0.0)) / spacing_um[2]
                row = (k * painted.shape[1] + j) * painted.shape[2]
                span = _span(x, across, painted.shape[2])
                last = row + span.stop - 1
                at = _skip(onward, row + span.start)
                while at <= last:
                    flat[at] = width_um[n]
                    onward[at] = at + 1
                    at = _skip(onward, at + 1)


@njit(cache=True, nogil=True)
def _span(centre: float, reach: float, length: int) -> range:
    """Return the voxels along an axis whose centres lie within reach."""
    return range(max(0, int(np.ceil(centre - reach))), min(length, int(centre + reach) + 1))


@njit(cache=True, nogil=True)
def _skip(onward: NDArray[Any], at: int) -> int:
    """Return the first bare voxel from here on, and shorten the way there."""
    while onward[at] != at:
        onward[at] = onward[onward[at]]
        at = onward[at]
    return at
