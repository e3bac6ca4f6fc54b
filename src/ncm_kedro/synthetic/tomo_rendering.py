"""A scene evaluated on a grid: a volume, a part of it, or a section at any pixel size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.synthetic.tomo_scene import Scene
from ncm_kedro.synthetic.tomo_solids import render_box

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Rendering:
    """A scene on a grid of voxels, before imaging; arrays are (D, Y, X).

    Attributes
    ----------
    cover_zyx
        float32, share of the voxel that particles cover, 0-1.
    solid_zyx
        float32, share of that which is solid, 0-1.
    owner_zyx
        int32, number of the nearest particle, 0 where none is near.
    labels_zyx, cracks_zyx
        uint32 and uint8, of particles, filled, and 1 in the voids and cracks within them.
    """

    cover_zyx: NDArray[np.float32]
    solid_zyx: NDArray[np.float32]
    owner_zyx: NDArray[np.int32]
    labels_zyx: NDArray[np.uint32]
    cracks_zyx: NDArray[np.uint8]


def render_scene(
    scene: Scene,
    origin_um: tuple[float, float, float],
    spacing_um: tuple[float, float, float],
    shape_zyx: Triple,
) -> Rendering:
    """Evaluate a scene on a grid.

    Parameters
    ----------
    scene
        Particles.
    origin_um
        Centre of the first voxel, z, y, x.
    spacing_um
        Between voxels. A share of a voxel is reckoned over the smallest of the three.
    shape_zyx
        Voxels along each axis; 1 along one of them gives a section.

    Returns
    -------
    Rendering
        The same for a voxel whatever box it is part of.
    """
    origin, spacing = np.array(origin_um, np.float64), np.array(spacing_um, np.float64)
    solids = scene.solids
    reach = solids.bound_um + 2 * spacing.max()
    last = origin + (np.array(shape_zyx) - 1) * spacing
    near = (solids.centre_um + reach[:, None] >= origin) & (
        solids.centre_um - reach[:, None] <= last
    )
    nearby = np.flatnonzero(near.all(axis=1)).astype(np.int64)
    outline, missing, owner = render_box(solids, nearby, origin, spacing, shape_zyx)
    width = np.float32(spacing.min())
    inside = outline < 0
    return Rendering(
        cover_zyx=np.clip(0.5 - outline / width, 0, 1),
        solid_zyx=np.clip(0.5 + missing / width, 0, 1),
        owner_zyx=owner,
        labels_zyx=np.where(inside, owner, 0).astype(np.uint32),
        cracks_zyx=(inside & (missing < 0)).astype(np.uint8),
    )
