"""Random fields: smooth, drawn out along a direction, broken into cells.

A scene evaluated on a grid: a volume, a part of it, or a section at any pixel size.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ncm_kedro.synthetic.tomo.scene import Scene
from ncm_kedro.synthetic.tomo.solids import render_box

FloatArray = NDArray[np.float32]

_MAX_DIRECT_SIGMA_PX = 3.0


def draw_smooth(rng: np.random.Generator, shape_yx: tuple[int, int], sigma_px: float) -> FloatArray:
    """Draw Gaussian noise of a given grain.

    Parameters
    ----------
    rng
        Source of the noise.
    shape_yx
        Rows and columns.
    sigma_px
        Standard deviation of the blur that sets the grain (px); 0 gives white noise. Coarse
        grain is drawn on a coarser grid and interpolated.

    Returns
    -------
    (H, W) array
        Mean about 0, standard deviation 1.
    """
    step = max(1.0, sigma_px / _MAX_DIRECT_SIGMA_PX)
    margin = 4
    rows = int(np.ceil(shape_yx[0] / step)) + 2 * margin
    columns = int(np.ceil(shape_yx[1] / step)) + 2 * margin
    field = rng.standard_normal((rows, columns), dtype=np.float32)
    sigma = sigma_px / step
    if sigma > 0:
        field = blur(field, sigma)
        field *= np.float32(_blur_gain(sigma))
    field = field[margin:-margin, margin:-margin]
    if step > 1:
        field = cv2.resize(field, shape_yx[::-1], interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(field[: shape_yx[0], : shape_yx[1]])


def draw_streaks(
    rng: np.random.Generator, shape_yx: tuple[int, int], angle: float, length_px: float
) -> FloatArray:
    """Draw noise that is drawn out along one direction.

    Parameters
    ----------
    rng
        Source of the noise.
    shape_yx
        Rows and columns.
    angle
        Direction of the streaks, from the x axis towards the y axis (rad).
    length_px
        Standard deviation of the blur along the direction (px).

    Returns
    -------
    (H, W) array
        Mean about 0, standard deviation 1.
    """
    half = int(np.ceil(2.5 * length_px)) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-(along**2) / (2 * length_px**2) - across**2 / (2 * 0.7**2))
    kernel /= np.sqrt((kernel**2).sum())
    padded = (shape_yx[0] + 2 * half, shape_yx[1] + 2 * half)
    noise = rng.standard_normal(padded, dtype=np.float32)
    return np.ascontiguousarray(cv2.filter2D(noise, -1, kernel)[half:-half, half:-half])


def draw_cells(
    rng: np.random.Generator, shape_yx: tuple[int, int], spacing_px: float
) -> tuple[FloatArray, NDArray[np.int32]]:
    """Break the plane into irregular cells around random seeds (Voronoi cells).

    Parameters
    ----------
    rng
        Source of the seeds.
    shape_yx
        Rows and columns.
    spacing_px
        Typical distance between seeds (px).

    Returns
    -------
    edge_yx : (H, W) array
        Distance to the nearest border between cells (px).
    cell_yx : (H, W) array of int32
        Number of the cell, from 1.
    """
    count = max(2, int(shape_yx[0] * shape_yx[1] / spacing_px**2))
    free = np.ones(shape_yx, np.uint8)
    free[rng.integers(shape_yx[0], size=count), rng.integers(shape_yx[1], size=count)] = 0
    _, cell = cv2.distanceTransformWithLabels(
        free, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    same = np.ones(shape_yx, np.uint8)
    same[:, 1:] &= (cell[:, 1:] == cell[:, :-1]).view(np.uint8)
    same[1:] &= (cell[1:] == cell[:-1]).view(np.uint8)
    edge = cv2.distanceTransform(same, cv2.DIST_L2, cv2.DIST_MASK_3)
    return edge.astype(np.float32), cell.astype(np.int32)


def blur(image_yx: FloatArray, sigma_px: float) -> FloatArray:
    """Blur with a Gaussian of a standard deviation in px; 0 changes nothing."""
    if sigma_px <= 0:
        return image_yx
    blurred = cv2.GaussianBlur(image_yx, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, np.float32)


def _blur_gain(sigma_px: float) -> float:
    """Factor that gives blurred white noise its standard deviation of 1 back."""
    reach = np.arange(-int(4 * sigma_px) - 1, int(4 * sigma_px) + 2)
    kernel = np.exp(-(reach**2) / (2 * sigma_px**2))
    kernel /= kernel.sum()
    return float(1 / (kernel**2).sum())


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
    particle_label_zyx
        int32, number of the nearest particle, 0 where none is near.
    labels_zyx, cracks_zyx
        uint32 and uint8, of particles, filled, and 1 in the voids and cracks within them.
    """

    cover_zyx: NDArray[np.float32]
    solid_zyx: NDArray[np.float32]
    particle_label_zyx: NDArray[np.int32]
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
        particle_label_zyx=owner,
        labels_zyx=np.where(inside, owner, 0).astype(np.uint32),
        cracks_zyx=(inside & (missing < 0)).astype(np.uint8),
    )
