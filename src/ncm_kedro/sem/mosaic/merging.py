"""Mosaics of frames that are shifted only, joined where their frames are turned or enlarged.

Such a sheet has one scale, angle and orientation. The largest sheet of a mosaic gives the
coordinates; the others follow one by one, over the link of highest score, each fitted to all links
that agree with that one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.sem.mosaic.geometry import chain, corners, fit_similarity, invert, map_points
from ncm_kedro.sem.mosaic.registration import IndexArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Views:
    """Links of any similarity transform.

    Parameters
    ----------
    first, second
        Linked frames, ``(P,)``.
    matrix
        Takes places of the second frame to those of the first, ``(P, 2, 3)``.
    score
        Which link to trust first, ``(P,)``.
    """

    first: IndexArray
    second: IndexArray
    matrix: FloatArray
    score: FloatArray


def merge_sheets(
    matrices: FloatArray,
    component: NDArray[np.int_],
    extent_xy: FloatArray,
    views: Views,
    tolerance_px: float,
) -> tuple[FloatArray, NDArray[np.int_], FloatArray]:
    """Join the sheets that views link.

    Parameters
    ----------
    matrices
        Where each frame lies in its sheet, ``(N, 2, 3)``.
    component
        Sheet of each frame, ``(N,)``.
    extent_xy
        Width and height of the frames, ``(N, 2)`` (px).
    tolerance_px
        Largest disagreement of a link with the one that a sheet is joined by (px of the coarser).

    Returns
    -------
    matrices, component
        The same for the joined mosaics.
    residual_px
        Largest distance between where a link and where the mosaic has the common region, ``(P,)``
        (px of the coarser frame).
    """
    placed, joined = matrices.copy(), component.copy()
    sheets = np.unique(component)
    size = dict(zip(sheets.tolist(), np.bincount(component)[sheets].tolist(), strict=True))
    spots_xy = np.array([_common_corners(views, extent_xy, k) for k in range(len(views.first))])
    spots_xy = spots_xy.reshape(-1, 4, 2)
    done: set[int] = set()
    for root in sorted(sheets.tolist(), key=lambda sheet: (-size[sheet], sheet)):
        if root in done:
            continue
        done.add(root)
        while True:
            inside = joined == root
            open_ends = inside[views.first] != inside[views.second]
            if not open_ends.any():
                break
            link = int(np.flatnonzero(open_ends)[views.score[open_ends].argmax()])
            outer = views.second[link] if inside[views.first[link]] else views.first[link]
            sheet = int(component[outer])
            mine = component == sheet
            spots = _list_spots(placed, inside, mine, views, spots_xy)
            move = _fit_sheet(spots, link, tolerance_px)
            for frame in np.flatnonzero(mine):
                placed[frame] = chain(move, matrices[frame])
            joined[mine] = root
            done.add(sheet)
    return placed, joined, _measure_residuals(placed, views, spots_xy)


def _common_corners(views: Views, extent_xy: FloatArray, link: int) -> FloatArray:
    """Corners, in the second frame, of the box around what the first shows of it."""
    first, second = views.first[link], views.second[link]
    seen_xy = map_points(invert(views.matrix[link]), corners(extent_xy[first]))
    low = np.clip(seen_xy.min(axis=0), 0, extent_xy[second])
    high = np.clip(seen_xy.max(axis=0), 0, extent_xy[second])
    return np.asarray(corners(high - low) + low, dtype=np.float64)


def _list_spots(
    placed: FloatArray,
    inside: NDArray[np.bool_],
    mine: NDArray[np.bool_],
    views: Views,
    spots_xy: FloatArray,
) -> dict[int, tuple[FloatArray, FloatArray]]:
    """Corners of the common region in a sheet and in the mosaic, by link between the two."""
    known = (inside[views.first] & mine[views.second]) | (mine[views.first] & inside[views.second])
    spots = {}
    for link in np.flatnonzero(known).tolist():
        first, second = int(views.first[link]), int(views.second[link])
        of_second = map_points(placed[second], spots_xy[link])
        of_first = map_points(chain(placed[first], views.matrix[link]), spots_xy[link])
        spots[link] = (of_second, of_first) if mine[second] else (of_first, of_second)
    return spots


def _fit_sheet(
    spots: dict[int, tuple[FloatArray, FloatArray]], best: int, tolerance_px: float
) -> FloatArray:
    """Fit where a sheet lies to one link and all that agree with it."""
    rough = _fit_points(*spots[best])
    scale = float(np.sqrt(abs(np.linalg.det(rough[:, :2]))))
    agreeing = [
        (source, target)
        for link, (source, target) in spots.items()
        if link == best
        or np.linalg.norm(map_points(rough, source) - target, axis=1).max()
        <= tolerance_px * max(1.0, scale)
    ]
    return _fit_points(*(np.concatenate(part) for part in zip(*agreeing, strict=True)))


def _fit_points(source_xy: FloatArray, target_xy: FloatArray) -> FloatArray:
    fits = [fit_similarity(source_xy, target_xy, mirrored=mirrored) for mirrored in (False, True)]
    misses = [np.square(map_points(fit, source_xy) - target_xy).sum() for fit in fits]
    return fits[int(np.argmin(misses))]  # four corners of a box tell a mirror image


def _measure_residuals(placed: FloatArray, views: Views, spots_xy: FloatArray) -> FloatArray:
    """Largest distance, in px of the coarser frame of each link, ``(P,)``."""
    residual = np.zeros(len(views.first))
    for link, (first, second) in enumerate(zip(views.first, views.second, strict=True)):
        said = map_points(chain(placed[first], views.matrix[link]), spots_xy[link])
        found = map_points(placed[second], spots_xy[link])
        coarser = max(
            float(np.sqrt(abs(np.linalg.det(placed[frame][:, :2])))) for frame in (first, second)
        )
        residual[link] = np.linalg.norm(said - found, axis=1).max() / coarser
    return residual
