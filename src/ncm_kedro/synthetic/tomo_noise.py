"""Random fields: smooth, drawn out along a direction, broken into cells."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

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
