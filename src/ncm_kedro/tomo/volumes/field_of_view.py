"""Which voxels a tomogram really holds: constant grey around the image circle is no material.

The volume is first reduced to cells of 1 x 8 x 8 voxels, of which the smallest and the largest
value are kept. A cell is flat where the two are nearly equal. Constant grey is a connected body
of flat cells of one value per section, at least three cells thick, that reaches a corner of the
sections and lies beyond the convex hull of everything else. The last condition keeps saturated
particles and empty pores at the sides in, because an image circle is convex and they bulge into
it. Where many of the remaining cells are flat as well, as in a map of phases, flatness says
nothing and everything is inside. The outline is drawn voxel by voxel, growing from the cells
that were found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import ndimage

from ncm_kedro.params.tomo_segment import TomoVolumeParams
from ncm_kedro.tomo.volumes.blocks import Block

CELL_VX = 8
"""Edge of a cell along y and x; blocks start at multiples of it."""

HALO_YX_VX = 40
"""Margin along y and x that `mark_inside` needs; a multiple of a cell."""

_REACH_VX = 32  # how far beyond the cells that were found the outline may lie; below the halo
_NEARLY_ALL = 99.9  # percent of the cells found that set how far constant grey wavers
_SPOT = np.ones((3, 3), np.uint8)
_THICK = np.ones((1, 3, 3), dtype=bool)
_JOINED = ndimage.generate_binary_structure(3, 1)
_HULL_SECTIONS = 32  # sections per body whose hull is looked at
_FLAT_MATERIAL = 0.2  # share of flat cells among the rest from which flatness says nothing
_MANY_LEVELS = 32  # of 8-bit data

Cells = NDArray[Any]


@dataclass(frozen=True)
class Outside:
    """Where constant grey lies, to a cell.

    Attributes
    ----------
    cells_zyx
        Cells that lie in it wholly, (Z, Y / 8, X / 8).
    grey_z
        Its value in each section, NaN in sections without.
    tolerance
        How far voxels waver around it.
    """

    cells_zyx: NDArray[np.bool_]
    grey_z: NDArray[np.float64]
    tolerance: float

    @property
    def is_empty(self) -> bool:
        """Whether everything is inside."""
        return not self.cells_zyx.any()

    def cut(self, block: Block) -> NDArray[np.bool_]:
        """Return the cells that a block touches."""
        rows, columns = (
            slice(a // CELL_VX, -(-b // CELL_VX))
            for a, b in zip(block.start[1:], block.stop[1:], strict=True)
        )
        return self.cells_zyx[block.start[0] : block.stop[0], rows, columns]


def reduce_cells(block_zyx: NDArray[Any]) -> tuple[Cells, Cells]:
    """Reduce a block to the smallest and largest value of each cell.

    Parameters
    ----------
    block_zyx
        (Z, Y, X); starts at a multiple of 8 along y and x.

    Returns
    -------
    low, high
        (Z, ceil(Y / 8), ceil(X / 8)), same type.
    """
    edge = [(0, 0), *((0, -n % CELL_VX) for n in block_zyx.shape[1:])]
    whole = np.pad(block_zyx, edge, mode="edge") if edge[1:] != [(0, 0)] * 2 else block_zyx
    low, high = whole, whole
    for axis in (1, 2):
        for _ in range(CELL_VX.bit_length() - 1):
            low = np.minimum(*_halves(low, axis))
            high = np.maximum(*_halves(high, axis))
    return low, high


def find_outside(
    low_zyx: Cells, high_zyx: Cells, kind: DTypeLike, params: TomoVolumeParams
) -> Outside:
    """Find constant grey around the field of view.

    Parameters
    ----------
    low_zyx, high_zyx
        Of the whole volume, as from `reduce_cells`.
    params
        How much constant grey may waver, and how it must lie.
    """
    tolerance = _choose_tolerance(low_zyx, high_zyx, np.dtype(kind), params)
    low, high = low_zyx.astype(np.float32), high_zyx.astype(np.float32)
    flat = high - low <= 2 * tolerance
    middle = (low + high) * np.float32(0.5)
    grey_z = _find_border_grey(flat, middle, tolerance)
    with np.errstate(invalid="ignore"):
        even = flat & (np.abs(middle - grey_z[:, None, None]) <= tolerance)
    found = _keep_bodies(_open_cells(even), params.outside_margin)
    if np.count_nonzero(flat & ~found) > _FLAT_MATERIAL * np.count_nonzero(~found):
        found = np.zeros_like(found)
    grey_z = np.full(len(found), np.nan)
    for index in np.flatnonzero(found.any(axis=(1, 2))):
        grey_z[index] = np.median(middle[index][found[index]])
    off = np.fmax(high - grey_z[:, None, None], grey_z[:, None, None] - low)[found]
    return Outside(found, grey_z, float(np.percentile(off, _NEARLY_ALL)) if off.size else 0.0)


def mark_inside(
    values_zyx: NDArray[Any], outer: Block, block: Block, outside: Outside
) -> NDArray[np.uint8]:
    """Draw the field of view voxel by voxel.

    Parameters
    ----------
    values_zyx
        Grey values of ``outer``.
    outer
        The block with a margin of 40 voxels along y and x, cut at the volume's faces.
    outside
        What `find_outside` returned.

    Returns
    -------
    ndarray of uint8, shape of ``block``
        1 inside.
    """
    cells = outside.cut(outer)
    inside = np.ones(block.shape, np.uint8)
    _, rows, columns = block.within(outer)
    for index in np.flatnonzero(cells.any(axis=(1, 2))):
        grey = outside.grey_z[block.start[0] + index]
        off = np.abs(values_zyx[index].astype(np.float32) - grey)
        even_yx = (off <= outside.tolerance).astype(np.uint8)
        solid_yx = cv2.morphologyEx(even_yx, cv2.MORPH_OPEN, _SPOT)
        seeds = cells[index].repeat(CELL_VX, axis=0).repeat(CELL_VX, axis=1)
        grown_yx = _grow(seeds[: outer.shape[1], : outer.shape[2]].astype(np.uint8), solid_yx)
        inside[index] = 1 - grown_yx[rows, columns]
    return inside


def _grow(seeds_yx: NDArray[np.uint8], solid_yx: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grow seeds within a mask, a voxel at a time, up to the reach."""
    grown = seeds_yx & solid_yx
    for _ in range(_REACH_VX):
        larger = cv2.dilate(grown, _SPOT) & solid_yx
        if np.array_equal(larger, grown):
            break
        grown = larger
    return grown


def _halves(array: NDArray[Any], axis: int) -> tuple[NDArray[Any], NDArray[Any]]:
    even = tuple(slice(0 if a == axis else None, None, 2 if a == axis else None) for a in range(3))
    odd = tuple(slice(1 if a == axis else None, None, 2 if a == axis else None) for a in range(3))
    return array[even], array[odd]


def _choose_tolerance(
    low: Cells, high: Cells, kind: np.dtype[Any], params: TomoVolumeParams
) -> float:
    span = float(np.percentile(high, 99)) - float(np.percentile(low, 1))
    if kind.kind in "ui" and kind.itemsize == 1:
        return params.outside_noise_levels * min(1.0, span / _MANY_LEVELS)
    return params.outside_noise_levels * span / 255


def _find_border_grey(
    flat: NDArray[np.bool_], middle: NDArray[Any], tolerance: float
) -> NDArray[np.float64]:
    """Choose, for each section, the corner's value that most of the flat border shares."""
    border = np.zeros(flat.shape[1:], dtype=bool)
    border[[0, -1]] = border[:, [0, -1]] = True
    values_zn, flat_zn = middle[:, border], flat[:, border]
    best = np.zeros(len(flat), dtype=np.int64)
    grey_z = np.full(len(flat), np.nan)
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        corner_z = middle[:, row, column]
        same = flat_zn & (np.abs(values_zn - corner_z[:, None]) <= tolerance)
        count = np.where(flat[:, row, column], same.sum(axis=1), 0)
        grey_z = np.where(count > best, corner_z, grey_z)
        best = np.maximum(best, count)
    return grey_z


def _open_cells(even: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Drop what is thinner than three cells; beyond the sides everything counts as even."""
    thick = ndimage.binary_erosion(even, _THICK, border_value=1)
    opened: NDArray[np.bool_] = ndimage.binary_dilation(thick, _THICK) & even
    return opened


def _keep_bodies(found: NDArray[np.bool_], margin: float) -> NDArray[np.bool_]:
    """Keep connected bodies at the corners that lie beyond the convex hull of the rest."""
    labels, _ = ndimage.label(found, _JOINED)
    corners = labels[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    kept = np.zeros_like(found)
    for number in np.unique(corners[corners > 0]):
        body = labels == number
        if _share_within_hull(body) <= margin:
            kept |= body
    return kept


def _share_within_hull(body: NDArray[np.bool_]) -> float:
    """Measure which share of a body lies within the convex hull of its complement."""
    sections = np.flatnonzero(body.any(axis=(1, 2)))
    chosen = sections[np.linspace(0, len(sections) - 1, _HULL_SECTIONS).astype(int)]
    within = total = 0
    for section_yx in body[np.unique(chosen)]:
        rest = cv2.findNonZero((~section_yx).astype(np.uint8))
        hull_yx = np.zeros(section_yx.shape, np.uint8)
        if rest is not None:
            cv2.fillConvexPoly(hull_yx, cv2.convexHull(rest), 1)
        within += int(np.count_nonzero(section_yx & (hull_yx > 0)))
        total += int(np.count_nonzero(section_yx))
    return within / total
