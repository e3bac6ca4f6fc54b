"""Mosaics of frames that are shifted only, joined where their frames are turned or enlarged.

Such a sheet has one scale, angle and orientation. The largest sheet of a mosaic gives the
coordinates; the others follow one by one, over the link of highest score, each fitted to all links
that agree with that one. Frames that contradict each other in their class are excluded, those that
do so in their pixel sizes are listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.sem.mosaic.geometry import (
    PIXEL_SIZE_STEP,
    chain,
    corners,
    fit_similarity,
    frame_matrices,
    invert,
    make_matrices,
    map_points,
    outline_frames,
)
from ncm_kedro.sem.mosaic.registration import IndexArray

FloatArray = NDArray[np.float64]
LABEL_CONFLICT = "label_conflict"


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


def describe_views(links: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how the second frame of each link lies in the first, ``(P, 2, 3)``, and the scores."""
    matrices = make_matrices(
        links["scale"].to_numpy(np.float64),
        links["angle_deg"].to_numpy(np.float64),
        links["mirrored"].to_numpy(bool),
        links[["dx_px", "dy_px"]].to_numpy(np.float64),
    )
    return matrices, links["score"].to_numpy(np.float64)


def list_scale_conflicts(manifest: pd.DataFrame, links: pd.DataFrame) -> list[dict[str, Any]]:
    """List pairs of frames whose pixel sizes contradict how large the common region is in each.

    Returns
    -------
    list of dict
        `frame_a`, `frame_b`, `measured` and `stated` (pixel size of b over that of a), the largest
        contradiction first.
    """
    pixel_um = manifest.set_index("frame_id")["pixel_size_um"]
    stated = pixel_um.loc[links["frame_b"]].to_numpy() / pixel_um.loc[links["frame_a"]].to_numpy()
    factor = np.abs(np.log(links["scale"].to_numpy(np.float64) / stated))
    order = np.argsort(-factor, kind="stable")
    chosen = order[factor[order] > np.log1p(PIXEL_SIZE_STEP)]
    named = links.iloc[chosen].assign(measured=links["scale"].iloc[chosen], stated=stated[chosen])
    rows = named[["frame_a", "frame_b", "measured", "stated"]].to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


def exclude_conflicts(manifest: pd.DataFrame, links: pd.DataFrame) -> pd.DataFrame:
    """Exclude the frames that show a region of another class, with the reason.

    One of two such classes is wrong, and crops of the two could end in different splits. Frames
    that share a region by their places in the mosaics count, whether they were compared or not.
    """
    usable = manifest[~manifest["excluded"].astype(bool)].set_index("frame_id")
    conflicts = links[links["kind"] == "label_conflict"]
    conflicts = conflicts[
        conflicts["frame_a"].isin(usable.index) & conflicts["frame_b"].isin(usable.index)
    ].sort_values("score", ascending=False, kind="stable")
    ends = [usable.loc[conflicts[end], "mosaic"].to_numpy() for end in ("frame_a", "frame_b")]
    best = conflicts[~pd.DataFrame(dict(enumerate(ends))).duplicated().to_numpy()]
    partner = dict(zip(conflicts["frame_a"], conflicts["frame_b"], strict=True))
    partner |= dict(zip(conflicts["frame_b"], conflicts["frame_a"], strict=True))
    for link in best.itertuples(index=False):
        a, b = str(link.frame_a), str(link.frame_b)
        here, there = (usable[usable["mosaic"] == usable.loc[end, "mosaic"]] for end in (a, b))
        view = describe_views(best[(best["frame_a"] == a) & (best["frame_b"] == b)])[0][0]
        to_here = chain(
            chain(frame_matrices(here.loc[[a]])[0], view), invert(frame_matrices(there.loc[[b]])[0])
        )
        common = _share_area(outline_frames(here), map_points(to_here, outline_frames(there)))
        for row, column in zip(*np.nonzero(common), strict=True):
            partner.setdefault(str(here.index[row]), str(there.index[column]))
            partner.setdefault(str(there.index[column]), str(here.index[row]))
    result = manifest.copy()
    mine = manifest["frame_id"].isin(partner).to_numpy()
    flags = manifest.loc[mine, "flags"].str.split(";").map(lambda old: {*filter(None, old)})
    result.loc[mine, "flags"] = flags.map(lambda old: ";".join(sorted({*old, LABEL_CONFLICT})))
    result.loc[mine, "excluded"] = True
    result.loc[mine, "exclusion_reason"] = [
        f"shows the same region as {partner[frame_id]} of another class"
        for frame_id in manifest.loc[mine, "frame_id"]
    ]
    return result


def _share_area(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether boxes around outlines ``(N, 4, 2)`` and ``(M, 4, 2)`` overlap, ``(N, M)``."""
    low = np.maximum(first.min(axis=1)[:, None], second.min(axis=1)[None])
    high = np.minimum(first.max(axis=1)[:, None], second.max(axis=1)[None])
    return np.asarray((high > low).all(axis=2), dtype=bool)
