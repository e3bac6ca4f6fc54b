"""Where crops may lie, and a choice of positions that repeats as little ground as possible.

Positions are drawn uniformly over the unique ground of a split and thinned to the most distant
ones (Gonzalez, T. F. (1985), "Clustering to minimize the maximum intercluster distance", Theor.
Comput. Sci. 38, 293-306).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.sem.split_areas import Strip

_MAX_ROUNDS = 50
_APART_PX = 1.0e7


@dataclass(frozen=True)
class Windows:
    """Parts of frames that belong to one split, a row per frame and strip.

    Parameters
    ----------
    table
        `frame_id`, `class`, `mosaic`, `mosaic_x_px`, `mosaic_y_px`.
    region
        Part of the frame, ``(R, 4)`` x0, y0, x1, y1 in frame coordinates (px), whole numbers.
    strip
        Index of the strip, ``(R,)``.
    """

    table: pd.DataFrame
    region: NDArray[np.int_]
    strip: NDArray[np.int_]


def cut_windows(group: pd.DataFrame, strips: list[Strip], split: str, size_px: int) -> Windows:
    """Cut frames at the bounds of a split's strips; parts smaller than a crop fall out.

    Parameters
    ----------
    group
        Frames of one class, with their mosaics.
    strips
        How the ground of the class is shared out.
    split
        The split.
    size_px
        Edge of a crop (px).
    """
    mosaics = group["mosaic"].to_numpy()
    corner = group[["mosaic_x_px", "mosaic_y_px"]].to_numpy(np.float64)
    extent = group[["width_px", "height_px"]].to_numpy(int)
    rows, regions, owners = [], [], []
    for number, strip in enumerate(strips):
        if strip.split != split:
            continue
        mine = np.flatnonzero(mosaics == strip.mosaic)
        region = np.concatenate([np.zeros_like(extent[mine]), extent[mine]], axis=1)
        offset = corner[mine, strip.axis]
        low = np.ceil(strip.start_px - offset).astype(int)
        high = np.floor(strip.stop_px - offset).astype(int)
        region[:, strip.axis] = np.maximum(region[:, strip.axis], low)
        region[:, strip.axis + 2] = np.minimum(region[:, strip.axis + 2], high)
        fits = (region[:, 2:] - region[:, :2] >= size_px).all(axis=1)
        rows.append(mine[fits])
        regions.append(region[fits])
        owners.append(np.full(int(fits.sum()), number))
    if not rows:
        return Windows(group.iloc[:0], np.zeros((0, 4), int), np.zeros(0, int))
    chosen = group.iloc[np.concatenate(rows)]
    return Windows(chosen, np.concatenate(regions), np.concatenate(owners))


def draw_positions(
    windows: Windows, wanted: int, size_px: int, rng: np.random.Generator
) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Draw different positions, uniform over the ground; a spot shown k times is kept 1 in k times.

    Parameters
    ----------
    windows
        Ground of a split, at least one part.
    wanted
        Number of positions; fewer if the ground does not hold more.
    size_px
        Edge of a crop (px).
    rng
        Random numbers.

    Returns
    -------
    rows, corner
        Row of `windows` ``(P,)`` and top-left corner in the frame ``(P, 2)`` x, y (px).
    """
    low = windows.region[:, :2]
    count = windows.region[:, 2:] - size_px - low + 1
    weight = count.prod(axis=1).astype(np.float64)
    origin = windows.table[["mosaic_x_px", "mosaic_y_px"]].to_numpy(np.float64)
    codes = pd.factorize(windows.table["mosaic"], sort=True)[0]
    found = np.zeros((0, 3), int)
    for _ in range(_MAX_ROUNDS):
        rows = rng.choice(len(weight), size=4 * wanted, p=weight / weight.sum())
        corner = low[rows] + (rng.random((len(rows), 2)) * count[rows]).astype(int)
        place = corner + origin[rows]
        inside = codes[rows][:, None] == codes[None]
        for axis in (0, 1):
            start = origin[:, axis] + low[:, axis]
            inside &= place[:, axis, None] >= start
            inside &= place[:, axis, None] < start + count[:, axis]
        keep = rng.random(len(rows)) * np.maximum(1, inside.sum(axis=1)) < 1
        drawn = np.concatenate([rows[keep, None], corner[keep]], axis=1)
        found = np.concatenate([found, drawn])
        first = np.unique(found, axis=0, return_index=True)[1]
        found = found[np.sort(first)]
        if len(found) >= min(wanted, weight.sum()):
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
    wanted
        Number of positions.

    Returns
    -------
    ndarray
        Indices of the chosen positions, ``(min(P, wanted),)``.
    """
    codes = pd.factorize(windows.table["mosaic"], sort=True)[0][rows]
    places = corner + windows.table[["mosaic_x_px", "mosaic_y_px"]].to_numpy(np.float64)[rows]
    places[:, 0] += codes * _APART_PX
    chosen = np.zeros(min(wanted, len(places)), dtype=int)
    distance = np.full(len(places), np.inf)
    for step in range(len(chosen)):
        chosen[step] = int(np.argmax(distance))
        gap = places - places[chosen[step]]
        distance = np.minimum(distance, (gap * gap).sum(axis=1))
    return chosen
