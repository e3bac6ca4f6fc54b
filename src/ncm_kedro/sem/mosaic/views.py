"""Which frames show a common region at another magnification, rotation, size or contrast.

Frames that phase correlation has chained stand for one another where they share most of their
area; all other pairs are compared by local features, the cheap ones first.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ncm_kedro.params.sem_ingest import MosaicParams
from ncm_kedro.sem.io.frames import Frames
from ncm_kedro.sem.io.pixel_size import PARAMETER
from ncm_kedro.sem.mosaic.features import (
    BASE_SIDE_PX,
    MAX_LEVEL,
    Features,
    SimilarView,
    compare_views,
    find_features,
)
from ncm_kedro.sem.mosaic.geometry import (
    PIXEL_SIZE_STEP,
    corners,
    invert,
    map_points,
    split_matrix,
)
from ncm_kedro.sem.mosaic.mosaic import find_components
from ncm_kedro.sem.mosaic.registration import IndexArray

_LOG = logging.getLogger(__name__)
_REPRESENTED = 0.6
_PAIRS_AT_ONCE = 64
_MOST_CLOSER_PAIRS = 400  # of 35 ms each at 1280 px


@dataclass(frozen=True)
class _Jobs:
    """Comparisons: frames, and the level that each one's keypoints are taken at."""

    first: IndexArray
    second: IndexArray
    first_level: NDArray[np.int_]
    second_level: NDArray[np.int_]

    def take(self, chosen: NDArray[np.int_]) -> _Jobs:
        return _Jobs(
            self.first[chosen],
            self.second[chosen],
            self.first_level[chosen],
            self.second_level[chosen],
        )


def find_similar_views(
    frames: Frames, ordered: pd.DataFrame, links: pd.DataFrame, params: MosaicParams
) -> tuple[pd.DataFrame, int, int]:
    """Find frames with a common region that `links` does not join.

    Parameters
    ----------
    ordered
        Frames in order of time, index 0, 1, ....
    links
        Overlaps found so far: `frame_a`, `frame_b`, `overlap`.

    Returns
    -------
    views
        As `find_overlaps` returns.
    compared, skipped
        Pairs of representatives that were compared, and those that were not.
    """
    component, standing = _choose_representatives(ordered, links)
    row, column = np.triu_indices(len(standing), 1)
    first, second = standing[row], standing[column]
    apart = component[first] != component[second]
    views, compared, skipped = compare_frames(frames, ordered, first[apart], second[apart], params)
    linked = _join_components(component, ordered, views)
    left = _choose_closer(ordered, linked, first, second)
    closer, _, _ = compare_frames(
        frames, ordered, first[left], second[left], params, levels_closer=1
    )
    views = pd.concat([views, closer], ignore_index=True)
    _LOG.info(
        "%d of %d frames stand for all; %d of their %d pairs compared by features: %d show a "
        "common region",
        len(standing),
        len(ordered),
        compared,
        len(row),
        len(views),
    )
    return views, compared, skipped


def compare_frames(
    frames: Frames,
    ordered: pd.DataFrame,
    first: IndexArray,
    second: IndexArray,
    params: MosaicParams,
    *,
    levels_closer: int = 0,
) -> tuple[pd.DataFrame, int, int]:
    """Find which of the pairs of frames show a common region, the cheap comparisons first.

    Parameters
    ----------
    ordered
        Frames, index 0, 1, ....
    first, second
        Their numbers, ``(P,)``.
    levels_closer
        How many levels closer than usual both are looked at; what is already at its closest is
        passed over.

    Returns
    -------
    views, compared, skipped
        As `find_similar_views` returns.
    """
    jobs = _plan_jobs(ordered, first, second, levels_closer)
    cost = 4.0 ** (jobs.first_level + jobs.second_level)
    order = np.lexsort((jobs.second - jobs.first, cost))
    chosen = jobs.take(np.sort(order[np.cumsum(cost[order]) <= params.max_view_pairs]))
    compared, total = (
        len(np.unique(np.stack([each.first, each.second]), axis=1).T) for each in (chosen, jobs)
    )
    found = _compare(_extract(frames, ordered, chosen, params), ordered, chosen, params)
    return _tabulate(ordered, found, params.min_gap_overlap), compared, total - compared


def _choose_representatives(
    ordered: pd.DataFrame, links: pd.DataFrame
) -> tuple[NDArray[np.int_], IndexArray]:
    """Component of each frame, and frames that show most of the area of all others."""
    index = pd.Series(np.arange(len(ordered)), index=ordered["frame_id"])
    first = index.loc[links["frame_a"]].to_numpy()
    second = index.loc[links["frame_b"]].to_numpy()
    near = links["overlap"].to_numpy() >= _REPRESENTED
    neighbours: dict[int, list[int]] = {}
    for a, b in zip(first[near].tolist(), second[near].tolist(), strict=True):
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    represented = np.zeros(len(ordered), dtype=bool)
    standing = []
    for frame in range(len(ordered)):
        if not represented[frame]:
            standing.append(frame)
            represented[neighbours.get(frame, [])] = True
    component = find_components(len(ordered), first, second)
    return component, np.array(standing, dtype=np.intp)


def _join_components(
    component: NDArray[np.int_], ordered: pd.DataFrame, views: pd.DataFrame
) -> NDArray[np.int_]:
    """Component of each frame once more links are there."""
    if views.empty:
        return component
    index = pd.Series(component, index=ordered["frame_id"])
    ends = [index.loc[views[name]].to_numpy() for name in ("frame_a", "frame_b")]
    return find_components(int(component.max()) + 1, *ends)[component]


def _choose_closer(
    ordered: pd.DataFrame, component: NDArray[np.int_], first: IndexArray, second: IndexArray
) -> IndexArray:
    """Pairs to look at again: of one class, then of two, the nearest in time first.

    Fine texture and noise may leave next to no keypoints in common at the usual level.
    """
    classes = ordered["class"].to_numpy()
    order = np.lexsort((second - first, classes[first] != classes[second]))
    apart = component[first[order]] != component[second[order]]
    return np.asarray(order[apart][:_MOST_CLOSER_PAIRS], dtype=np.intp)


def _plan_jobs(
    ordered: pd.DataFrame, first: IndexArray, second: IndexArray, levels_closer: int
) -> _Jobs:
    """List the comparisons of pairs of frames, and how closely each one is looked at.

    The frame of the coarser pixels is looked at the more closely the smaller the part of it is
    that the other one can show. Where a pixel size is only assumed, both are.
    """
    pixel_um = ordered["pixel_size_um"].to_numpy(np.float64)
    side_px = ordered[["height_px", "width_px"]].max(axis=1).to_numpy()
    finest = np.clip(np.ceil(np.log2(side_px / BASE_SIDE_PX)), 0, MAX_LEVEL).astype(int)
    extent_um = np.log2(side_px * pixel_um)
    wider = np.rint(extent_um[first] - extent_um[second]).astype(int)
    first_level = np.minimum(np.clip(wider, 0, MAX_LEVEL), finest[first])
    second_level = np.minimum(np.clip(-wider, 0, MAX_LEVEL), finest[second])
    stated = _Jobs(first, second, first_level, second_level)
    assumed = (ordered["pixel_size_source"] == PARAMETER).to_numpy()
    unsure = np.flatnonzero(assumed[first] | assumed[second])
    extra = [
        _Jobs(
            first[unsure],
            second[unsure],
            np.minimum(levels[0], finest[first[unsure]]),
            np.minimum(levels[1], finest[second[unsure]]),
        )
        for levels in ((1, 0), (0, 1))
    ]
    joined = [
        np.concatenate([getattr(part, name) for part in (stated, *extra)])
        for name in ("first", "second", "first_level", "second_level")
    ]
    one, other, one_level, other_level = np.unique(np.stack(joined), axis=1)
    one_closer, other_closer = (
        np.minimum(level + levels_closer, finest[frame])
        for frame, level in ((one, one_level), (other, other_level))
    )
    usual = (one_closer == one_level) & (other_closer == other_level) & (levels_closer > 0)
    return _Jobs(one, other, one_closer, other_closer).take(np.flatnonzero(~usual))


def _extract(
    frames: Frames, ordered: pd.DataFrame, jobs: _Jobs, params: MosaicParams
) -> Mapping[tuple[int, int], Features]:
    wanted = sorted(
        {
            *zip(jobs.first.tolist(), jobs.first_level.tolist(), strict=True),
            *zip(jobs.second.tolist(), jobs.second_level.tolist(), strict=True),
        }
    )
    levels: dict[int, list[int]] = {}
    for frame, level in wanted:
        levels.setdefault(frame, []).append(level)
    names = ordered["frame_id"].to_numpy()

    def run(frame: int) -> list[Features]:
        image_yx = frames[str(names[frame])]
        return [find_features(image_yx, level) for level in levels[frame]]

    with ThreadPoolExecutor(params.workers) as pool:
        jobs_done = tqdm(
            pool.map(run, levels), total=len(levels), desc="features", disable=None, leave=False
        )
        return {
            (frame, level): features
            for frame, found in zip(levels, jobs_done, strict=True)
            for level, features in zip(levels[frame], found, strict=True)
        }


def _compare(
    bank: Mapping[tuple[int, int], Features],
    ordered: pd.DataFrame,
    jobs: _Jobs,
    params: MosaicParams,
) -> dict[tuple[int, int], SimilarView]:
    """Compare all; of several comparisons of a pair the one with most matches counts."""
    pixel_um = ordered["pixel_size_um"].to_numpy(np.float64)
    rows = np.stack([jobs.first, jobs.second, jobs.first_level, jobs.second_level], axis=1)

    def run(start: int) -> list[SimilarView | None]:
        return [
            compare_views(
                bank[first, first_level],
                bank[second, second_level],
                scales=_likely_scales(pixel_um[second] / pixel_um[first]),
                tolerance_px=params.max_residual_px,
                min_matches=params.min_matches,
                min_correlation=params.min_correlation,
            )
            for first, second, first_level, second_level in rows[
                start : start + _PAIRS_AT_ONCE
            ].tolist()
        ]

    found: dict[tuple[int, int], SimilarView] = {}
    starts = range(0, len(rows), _PAIRS_AT_ONCE)
    with (
        threadpool_limits(1, "blas"),  # threads of BLAS in each worker wait for each other
        ThreadPoolExecutor(params.workers) as pool,
        tqdm(total=len(rows), desc="views", unit="pair", disable=None, leave=False) as bar,
    ):
        for start, views in zip(starts, pool.map(run, starts), strict=True):
            bar.update(len(views))
            for (first, second, *_), view in zip(
                rows[start : start + _PAIRS_AT_ONCE].tolist(), views, strict=True
            ):
                best = found.get((first, second))
                if view is not None and (best is None or view.n_matches > best.n_matches):
                    found[first, second] = view
    return found


def _likely_scales(ratio: float) -> tuple[float, ...]:
    """Return the ratio of two pixel sizes, and 1 where they may be the same one, measured twice."""
    same = 1 / (1 + PIXEL_SIZE_STEP) <= ratio <= 1 + PIXEL_SIZE_STEP
    return (1.0, float(ratio)) if same else (float(ratio),)


def _tabulate(
    ordered: pd.DataFrame, found: Mapping[tuple[int, int], SimilarView], min_overlap: float
) -> pd.DataFrame:
    names = ordered["frame_id"].tolist()
    extents = ordered[["width_px", "height_px"]].to_numpy(np.float64)
    rows = []
    for (first, second), view in found.items():
        a, b, matrix = first, second, view.matrix
        if names[a] > names[b]:
            a, b, matrix = second, first, invert(view.matrix)
        scale, angle_deg, mirrored = split_matrix(matrix)
        overlap = measure_overlap(matrix, extents[a], extents[b])
        if overlap < min_overlap:
            continue
        rows.append(
            {
                "frame_a": names[a],
                "frame_b": names[b],
                "dx_px": matrix[0, 2],
                "dy_px": matrix[1, 2],
                "score": float(view.n_matches),
                "correlation": view.correlation,
                "overlap": overlap,
                "refined": True,
                "scale": scale,
                "angle_deg": angle_deg,
                "mirrored": mirrored,
                "inverted": view.inverted,
            }
        )
    return pd.DataFrame(rows)


def measure_overlap(
    matrix: NDArray[np.float64], first_xy: NDArray[np.float64], second_xy: NDArray[np.float64]
) -> float:
    """Return the common area over that of the smaller of two frames.

    Parameters
    ----------
    matrix
        Takes places of the second frame to those of the first, ``(2, 3)``.
    first_xy, second_xy
        Width and height, ``(2,)`` (px).
    """
    placed = map_points(matrix, corners(second_xy)).astype(np.float32)
    common, _ = cv2.intersectConvexConvex(corners(first_xy).astype(np.float32), placed)
    smaller = min(float(first_xy.prod()), float(cv2.contourArea(placed)))
    return float(np.clip(common / smaller, 0.0, 1.0))
