"""Frames, and parts of them, as boxes in their mosaics, and the positions of crops in these.

A box is ``(x0, y0, x1, y1)`` (px). Positions are drawn uniformly over the unique imaged area of a
split, each in one of the frames that show it, and thinned to the most distant ones (Gonzalez, T. F.
(1985), "Clustering to minimize the maximum intercluster distance", Theor. Comput. Sci. 38,
293-306).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.params.crop_augment import CropParams
from ncm_kedro.sem.mosaic.geometry import frame_matrices, invert, map_points, outline_frames

FloatArray = NDArray[np.float64]
_SLABS = 64
_ASKEW = 1e-3  # of the area of the box around a frame
_ROUNDING = 1e-9  # px
_MAX_ROUNDS = 50
_APART_PX = 1.0e7
_ROUNDING_PX = 1e-6


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


@dataclass(frozen=True)
class Strip:
    """Part of a mosaic between two places along its longer side.

    Parameters
    ----------
    mosaic
        Name of the mosaic.
    axis
        0: the strip is bounded in x; 1: in y.
    start_px, stop_px
        Bounds in mosaic coordinates.
    split
        What the strip is for.
    """

    mosaic: str
    axis: int
    start_px: float
    stop_px: float
    split: str

    @property
    def length_px(self) -> float:
        """Extent along the axis (px)."""
        return self.stop_px - self.start_px


@dataclass(frozen=True)
class Windows:
    """Parts of frames that belong to one split, a row per frame and strip.

    Parameters
    ----------
    table
        `frame_id`, `class`, `mosaic` and the place in it.
    region
        Part of the frame, ``(R, 4)`` x0, y0, x1, y1 in frame coordinates (px), whole numbers.
    strip
        Index of the strip, ``(R,)``.
    """

    table: pd.DataFrame
    region: NDArray[np.int_]
    strip: NDArray[np.int_]


def cut_windows(
    group: pd.DataFrame, strips: list[Strip], split: str, params: CropParams
) -> Windows:
    """Cut frames at the bounds of a split's strips; parts smaller than a crop fall out."""
    mosaics = group["mosaic"].to_numpy()
    rows, regions, owners = [], [], []
    for number, strip in enumerate(strips):
        if strip.split != split:
            continue
        mine = np.flatnonzero(mosaics == strip.mosaic)
        part = group.iloc[mine]
        bounds = _open_ends(strip, part)
        low, high = cut_frames(part, strip.axis, *bounds, slack_px=params.split.guard_px)
        region = np.concatenate([low, high], axis=1)
        fits = (region[:, 2:] - region[:, :2] >= params.size_px).all(axis=1)
        rows.append(mine[fits])
        regions.append(region[fits])
        owners.append(np.full(int(fits.sum()), number))
    if not rows:
        return Windows(group.iloc[:0], np.zeros((0, 4), int), np.zeros(0, int))
    chosen = group.iloc[np.concatenate(rows)]
    return Windows(chosen, np.concatenate(regions), np.concatenate(owners))


def _open_ends(strip: Strip, frames: pd.DataFrame) -> tuple[float, float]:
    """Bounds of a strip, infinite where the mosaic itself ends."""
    boxes = frame_boxes(frames)
    start = -np.inf if strip.start_px <= boxes[:, strip.axis].min() else strip.start_px
    stop = np.inf if strip.stop_px >= boxes[:, strip.axis + 2].max() else strip.stop_px
    return start, stop


def draw_positions(
    windows: Windows, wanted: int, size_px: int, rng: np.random.Generator
) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Draw different positions, uniform over the unique imaged area.

    A spot shown k times is retained 1 in k times.

    Parameters
    ----------
    size_px
        Edge of a crop (px).

    Returns
    -------
    rows, corner
        Row of `windows` ``(P,)`` and top-left corner in the frame ``(P, 2)`` x, y (px).
    """
    low = windows.region[:, :2]
    count = windows.region[:, 2:] - size_px - low + 1
    matrices = frame_matrices(windows.table)
    weight = count.prod(axis=1) * np.abs(np.linalg.det(matrices[:, :, :2]))
    inverse = np.stack([invert(matrix) for matrix in matrices])
    n_places = int(count.prod(axis=1).sum())
    codes = pd.factorize(windows.table["mosaic"], sort=True)[0]
    found = np.zeros((0, 3), int)
    for _ in range(_MAX_ROUNDS):
        rows = rng.choice(len(weight), size=4 * wanted, p=weight / weight.sum())
        corner = low[rows] + (rng.random((len(rows), 2)) * count[rows]).astype(int)
        middle = np.asarray(corner + size_px / 2, dtype=np.float64)
        place = map_points(matrices[rows], middle[:, None])[:, 0]
        inside = codes[rows][:, None] == codes[None]
        for axis in (0, 1):
            here = place @ inverse[:, axis, :2].T + inverse[:, axis, 2] - size_px / 2
            inside &= here >= low[:, axis] - _ROUNDING_PX
            inside &= here < low[:, axis] + count[:, axis] - _ROUNDING_PX
        keep = rng.random(len(rows)) * np.maximum(1, inside.sum(axis=1)) < 1
        drawn = np.concatenate([rows[keep, None], corner[keep]], axis=1)
        found = np.concatenate([found, drawn])
        first = np.unique(found, axis=0, return_index=True)[1]
        found = found[np.sort(first)]
        if len(found) >= min(wanted, n_places):
            break
    found = found[:wanted]
    return found[:, 0], found[:, 1:]


def most_distant(
    windows: Windows, rows: NDArray[np.int_], corner: NDArray[np.int_], wanted: int
) -> NDArray[np.int_]:
    """Choose positions one by one, each the most distant from those chosen before.

    Parameters
    ----------
    windows, rows, corner
        What `draw_positions` was given and returned; mosaics count as far apart.
    """
    codes = pd.factorize(windows.table["mosaic"], sort=True)[0][rows]
    places = map_points(frame_matrices(windows.table)[rows], corner[:, None].astype(np.float64))[
        :, 0
    ]
    places[:, 0] += codes * _APART_PX
    chosen = np.zeros(min(wanted, len(places)), dtype=int)
    distance = np.full(len(places), np.inf)
    for step in range(len(chosen)):
        chosen[step] = int(np.argmax(distance))
        gap = places - places[chosen[step]]
        distance = np.minimum(distance, (gap * gap).sum(axis=1))
    return chosen
