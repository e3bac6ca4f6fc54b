"""Packing of ellipsoids: thrown in at random, then pushed apart until they only touch.

The relaxation follows the idea of force-biased packing (Jodrey and Tory, Phys. Rev. A 32,
2347, 1985): overlapping pairs repel each other in proportion to their overlap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_STEPS = 400
_TOLERANCE = 2e-3


def reach_ellipsoids(
    half_um: FloatArray, axes: FloatArray, index: IntArray, unit: FloatArray
) -> FloatArray:
    """Radius of ellipsoids in given directions.

    Parameters
    ----------
    half_um
        (N, 3), half axes.
    axes
        (N, 3, 3), rows are the axes.
    index
        (M,), which ellipsoid.
    unit
        (M, 3), unit vectors z, y, x.

    Returns
    -------
    (M,) array
        Radii in um.
    """
    local = np.einsum("mij,mj->mi", axes[index], unit)
    radius: FloatArray = ((local / half_um[index]) ** 2).sum(axis=1) ** -0.5
    return radius


def pack_ellipsoids(
    rng: np.random.Generator,
    half_um: FloatArray,
    axes: FloatArray,
    box_um: tuple[FloatArray, FloatArray],
    press: float,
) -> FloatArray:
    """Find places where ellipsoids do not overlap by more than they are pressed together.

    Parameters
    ----------
    rng
        Source of the first, random places.
    half_um
        (N, 3), half axes.
    axes
        (N, 3, 3), rows are the axes.
    box_um
        Low and high corner of the box, (3,) each. Along z ellipsoids stay within it;
        along y and x only their centres do, so that the box may be cut out of a wider electrode.
    press
        Overlap of touching ellipsoids as a share of the sum of their reaches.

    Returns
    -------
    (N, 3) array
        Centres z, y, x in um.
    """
    low_um, high_um = box_um
    centre = rng.uniform(low_um, high_um, half_um.shape)
    height = np.sqrt(((axes[:, :, 0] * half_um) ** 2).sum(axis=1))
    room = np.minimum(height, (high_um[0] - low_um[0]) / 2)
    far = 2 * float(half_um.max())
    for step in range(_STEPS):
        pairs = cKDTree(centre).query_pairs(far, output_type="ndarray").astype(np.int64)
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        offset = centre[pairs[:, 1]] - centre[pairs[:, 0]]
        distance = np.sqrt((offset**2).sum(axis=1)) + 1e-9
        unit = offset / distance[:, None]
        reach = reach_ellipsoids(half_um, axes, pairs[:, 0], unit)
        reach = reach + reach_ellipsoids(half_um, axes, pairs[:, 1], unit)
        overlap = np.maximum(reach * (1 - press) - distance, 0)
        if step > 0 and (not overlap.size or (overlap / reach).max() < _TOLERANCE):
            break
        push = unit * (0.5 * overlap)[:, None]
        np.add.at(centre, pairs[:, 1], push)
        np.add.at(centre, pairs[:, 0], -push)
        centre = np.clip(centre, low_um, high_um)
        centre[:, 0] = np.clip(centre[:, 0], low_um[0] + room, high_um[0] - room)
    return centre
