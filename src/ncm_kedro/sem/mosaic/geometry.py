"""Similarity transforms between frames and their mosaics.

A place (x, y) of a frame, in px from its corner, lies at ``matrix[:, :2] @ (x, y) + matrix[:, 2]``.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
PLACE_COLUMNS = (
    "mosaic_x_px",
    "mosaic_y_px",
    "mosaic_scale",
    "mosaic_angle_deg",
    "mosaic_mirrored",
)
PIXEL_SIZE_STEP = 0.05
"""Relative difference of pixel sizes below which they may be one, measured twice (no unit)."""


def make_matrices(
    scale: FloatArray, angle_deg: FloatArray, mirrored: NDArray[np.bool_], offset_xy: FloatArray
) -> FloatArray:
    """Compose transforms.

    Parameters
    ----------
    scale
        Enlargement, ``(N,)``.
    angle_deg
        Rotation, clockwise as seen with y downwards, ``(N,)``.
    mirrored
        Whether x is reversed before the rotation, ``(N,)``.
    offset_xy
        Where the frame's corner lies, ``(N, 2)`` (px).

    Returns
    -------
    ndarray
        ``(N, 2, 3)``.
    """
    angle = np.deg2rad(np.asarray(angle_deg, dtype=np.float64))
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    sign = np.where(mirrored, -1.0, 1.0)
    rows = np.stack([cos * sign, -sin, sin * sign, cos], axis=-1)
    return np.concatenate([rows.reshape(-1, 2, 2), np.asarray(offset_xy)[:, :, None]], axis=2)


def split_matrices(
    matrices: FloatArray,
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Return enlargement, clockwise angle (degrees), mirroring of transforms ``(N, 2, 3)``."""
    down = matrices[:, :, 1]
    angle_deg = np.rad2deg(np.arctan2(-down[:, 0] + 0.0, down[:, 1]))
    return np.hypot(down[:, 0], down[:, 1]), angle_deg, np.linalg.det(matrices[:, :, :2]) < 0


def split_matrix(matrix: FloatArray) -> tuple[float, float, bool]:
    """Return enlargement, clockwise angle (degrees) and mirroring of a transform ``(2, 3)``."""
    scale, angle_deg, mirrored = split_matrices(matrix[None])
    return float(scale[0]), float(angle_deg[0]), bool(mirrored[0])


def map_points(matrix: FloatArray, points_xy: FloatArray) -> FloatArray:
    """Map places ``(..., K, 2)`` by transforms ``(..., 2, 3)``."""
    moved = points_xy @ np.swapaxes(matrix[..., :2], -1, -2)
    return np.asarray(moved + matrix[..., None, :, 2], dtype=np.float64)


def chain(outer: FloatArray, inner: FloatArray) -> FloatArray:
    """Return the transform that maps by ``inner`` and then by ``outer``; both ``(2, 3)``."""
    offset = outer[:, :2] @ inner[:, 2] + outer[:, 2]
    return np.column_stack([outer[:, :2] @ inner[:, :2], offset])


def invert(matrix: FloatArray) -> FloatArray:
    """Return the inverse of a transform ``(2, 3)``."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def fit_similarity(source_xy: FloatArray, target_xy: FloatArray, *, mirrored: bool) -> FloatArray:
    """Fit a similarity transform by least squares.

    Umeyama, S. (1991), "Least-squares estimation of transformation parameters between two point
    patterns", IEEE Trans. Pattern Anal. Mach. Intell. 13, 376-380; in the plane a complex quotient.

    Parameters
    ----------
    source_xy, target_xy
        Places that belong together, ``(K, 2)``, at least two different ones.
    mirrored
        Whether the transform reverses x.

    Returns
    -------
    ndarray
        ``(2, 3)``.
    """
    sign = -1.0 if mirrored else 1.0
    source = source_xy[:, 0] * sign + 1j * source_xy[:, 1]
    target = target_xy[:, 0] + 1j * target_xy[:, 1]
    centred = source - source.mean()
    power = float((np.abs(centred) ** 2).sum())
    factor = complex((centred.conj() * (target - target.mean())).sum() / max(power, 1e-12))
    offset = complex(target.mean() - factor * source.mean())
    return np.array(
        [
            [factor.real * sign, -factor.imag, offset.real],
            [factor.imag * sign, factor.real, offset.imag],
        ]
    )


def corners(extent_xy: FloatArray) -> FloatArray:
    """Return the corners of frames of width and height ``(..., 2)``, in turn, ``(..., 4, 2)``."""
    unit = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    return np.asarray(np.asarray(extent_xy)[..., None, :] * unit, dtype=np.float64)


def place_by_shift(position_yx: FloatArray) -> FloatArray:
    """Return the transforms of frames that are moved only to their place ``(N, 2)`` (px)."""
    n = len(position_yx)
    return make_matrices(np.ones(n), np.zeros(n), np.zeros(n, bool), position_yx[:, ::-1])


def frame_matrices(manifest: pd.DataFrame) -> FloatArray:
    """Return the transforms of frames to their mosaics, ``(N, 2, 3)``.

    Parameters
    ----------
    manifest
        With `mosaic_x_px` and `mosaic_y_px`, and where frames are turned or enlarged the other
        `PLACE_COLUMNS`.
    """
    offset_xy = manifest[["mosaic_x_px", "mosaic_y_px"]].to_numpy(np.float64)
    if not set(PLACE_COLUMNS) <= set(manifest):
        return place_by_shift(offset_xy[:, ::-1])
    return make_matrices(
        manifest["mosaic_scale"].to_numpy(np.float64),
        manifest["mosaic_angle_deg"].to_numpy(np.float64),
        manifest["mosaic_mirrored"].to_numpy(bool),
        offset_xy,
    )


def outline_frames(manifest: pd.DataFrame) -> FloatArray:
    """Return the corners of frames in their mosaics, in turn, ``(N, 4, 2)`` (px)."""
    extent_xy = manifest[["width_px", "height_px"]].to_numpy(np.float64)
    return map_points(frame_matrices(manifest), corners(extent_xy))
