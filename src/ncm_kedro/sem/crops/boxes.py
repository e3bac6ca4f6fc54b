"""Frames, and parts of them, as boxes in their mosaics.

A box is ``(x0, y0, x1, y1)`` (px).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.sem.mosaic.geometry import frame_matrices, map_points, outline_frames

FloatArray = NDArray[np.float64]
_SLABS = 64
_ASKEW = 1e-3  # of the area of the box around a frame
_ROUNDING = 1e-9  # px


def frame_boxes(manifest: pd.DataFrame) -> FloatArray:
    """Return the box around each frame in its mosaic, ``(N, 4)`` (px).

    Parameters
    ----------
    manifest
        With the place in the mosaic (`PLACE_COLUMNS`), `width_px` and `height_px`.
    """
    return _bound(outline_frames(manifest))


def place_boxes(rows: pd.DataFrame, boxes: FloatArray) -> FloatArray:
    """Return the boxes in the mosaic around boxes in frames, ``(N, 4)`` (px).

    Parameters
    ----------
    rows
        Place of the frame of each box in its mosaic (`PLACE_COLUMNS`).
    boxes
        ``(N, 4)`` in the coordinates of the frames (px).
    """
    return _bound(map_points(frame_matrices(rows), _box_corners(boxes)))


def cover_boxes(rows: pd.DataFrame, boxes: FloatArray) -> tuple[FloatArray, NDArray[np.int_]]:
    """Cover boxes in frames by boxes in the mosaic whose union has the same area.

    A box that lies askew in the mosaic becomes slabs, so that its area stays right.

    Parameters
    ----------
    rows, boxes
        As for `place_boxes`.

    Returns
    -------
    covering, owner
        Boxes ``(M, 4)`` (px), and the row that each one is of, ``(M,)``.
    """
    outlines = map_points(frame_matrices(rows), _box_corners(boxes))
    bounds = _bound(outlines)
    sides = np.diff(outlines[:, [0, 1, 2]], axis=1)
    filled = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0])
    askew = filled < (1 - _ASKEW) * (bounds[:, 2:] - bounds[:, :2]).prod(axis=1)
    slabs = [_cut_slabs(outlines[row]) for row in np.flatnonzero(askew)]
    owner = np.concatenate([np.flatnonzero(~askew), np.repeat(np.flatnonzero(askew), _SLABS)])
    return np.concatenate([bounds[~askew], *slabs]), owner


def _box_corners(boxes: FloatArray) -> FloatArray:
    return np.asarray(boxes, dtype=np.float64)[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)


def _bound(outlines: FloatArray) -> FloatArray:
    """Boxes around outlines ``(N, 4, 2)``."""
    return np.concatenate([outlines.min(axis=1), outlines.max(axis=1)], axis=1)


def _cut_slabs(outline: FloatArray) -> FloatArray:
    """Level slabs of equal height that fill a rectangle ``(4, 2)`` which lies askew."""
    edges = np.linspace(outline[:, 1].min(), outline[:, 1].max(), _SLABS + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    left, right = np.full(_SLABS, np.inf), np.full(_SLABS, -np.inf)
    for start, stop in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        low, high = sorted([start, stop], key=lambda point: float(point[1]))
        crossed = (middle >= low[1]) & (middle <= high[1])
        x = np.interp(middle[crossed], [low[1], high[1]], [low[0], high[0]])
        left[crossed] = np.minimum(left[crossed], x)
        right[crossed] = np.maximum(right[crossed], x)
    return np.stack([left, edges[:-1], right, edges[1:]], axis=1)


def cut_frames(
    rows: pd.DataFrame, axis: int, start_px: float, stop_px: float, *, slack_px: float = 0.0
) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Cut frames to the largest part that lies between two places of the mosaic.

    A frame that lies askew loses what its slant needs, so that no corner lies beyond the places.

    Parameters
    ----------
    rows
        Frames of one mosaic: `PLACE_COLUMNS`, `width_px`, `height_px`.
    axis
        0: the places are of x, 1: of y.
    slack_px
        Width left unused at each cut of a frame that is turned or enlarged (px of the coarser of
        frame and mosaic), since its place is known less well.

    Returns
    -------
    low, high
        Whole pixels in the frame, ``(N, 2)`` x, y; empty where ``high <= low``.
    """
    matrices = frame_matrices(rows)
    extent = rows[["width_px", "height_px"]].to_numpy(int)
    slope, offset = matrices[:, axis, :2], matrices[:, axis, 2]
    along = np.abs(slope).argmax(axis=1)
    number = np.arange(len(rows))
    slant = slope[number, 1 - along] * extent[number, 1 - along]
    linear = matrices[:, :, :2]
    moved_only = (linear == np.eye(2)).all(axis=(1, 2))
    scale = np.sqrt(np.abs(np.linalg.det(linear)))
    slack = np.where(moved_only, 0.0, slack_px * np.maximum(1.0, scale))
    first = start_px - offset - np.minimum(slant, 0.0) + slack
    last = stop_px - offset - np.maximum(slant, 0.0) - slack
    main = slope[number, along]
    bounds = np.sort(np.stack([first, last], axis=1) / main[:, None], axis=1)
    bounds[last < first] = (0.0, 0.0)
    low, high = np.zeros_like(extent), extent.copy()
    bounds = np.clip(bounds, 0, extent[number, along][:, None])
    low[number, along] = np.ceil(bounds[:, 0] - _ROUNDING).astype(int)
    high[number, along] = np.floor(bounds[:, 1] + _ROUNDING).astype(int)
    return low, high
