"""Which frames overlap.

Overlaps are searched within classes to chain frames into mosaics, and across classes because the
same region under two labels is a mistake that must be reported; it is never merged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from ncm_kedro.params.sem_ingest import MosaicParams
from ncm_kedro.sem.io.frames import Frames
from ncm_kedro.sem.mosaic.geometry import (
    PIXEL_SIZE_STEP,
    invert,
    place_by_shift,
    split_matrices,
)
from ncm_kedro.sem.mosaic.mosaic import (
    find_components,
    order_by_time,
)
from ncm_kedro.sem.mosaic.refinement import find_slant, refine_shift
from ncm_kedro.sem.mosaic.registration import (
    IndexArray,
    SpectrumBank,
    build_spectrum_bank,
    common_fraction,
    correlate_padded,
    correlate_pairs,
    reduce_frame,
    unwrap_shifts,
)
from ncm_kedro.sem.mosaic.views import find_similar_views

_LOG = logging.getLogger(__name__)
_SIZE_STEP = 0.25


@dataclass(frozen=True)
class _Links:
    """Pairs of frames found to overlap: indices, offsets (frame px), score, correlation."""

    first: IndexArray
    second: IndexArray
    shift_yx: NDArray[np.float64]
    score: NDArray[np.float64]
    correlation: NDArray[np.float64]

    def take(self, chosen: NDArray[np.bool_]) -> _Links:
        return _Links(*(getattr(self, item.name)[chosen] for item in fields(self)))


def find_overlaps(frames: Frames, manifest: pd.DataFrame, params: MosaicParams) -> pd.DataFrame:
    """Find pairs of frames that show a common region.

    Frames of nearly the same size and pixel size are compared by phase correlation, all others,
    and what turned, mirrored or inverted frames share, by local features.

    Parameters
    ----------
    manifest
        A row per frame with `frame_id`, `file`, `class`, `acquired_at`, `height_px`, `width_px`,
        `pixel_size_um` and `pixel_size_source`.

    Returns
    -------
    pandas.DataFrame
        A row per overlapping pair, ``frame_a < frame_b``: `frame_a`, `frame_b`, `dx_px` and
        `dy_px` (corner of b in the coordinates of a), `scale`, `angle_deg` and `mirrored` (how b
        lies in a: x reversed, enlarged, turned clockwise), `inverted`, `score` (peak in standard
        deviations, or number of matched keypoints), `correlation` of the common region, `overlap`
        (fraction of the smaller frame) and `refined` (offset measured to a fraction of a pixel).
        Its ``attrs`` hold `pairs_compared` and `pairs_skipped`.
    """
    ordered = order_by_time(manifest).reset_index(drop=True)
    parts = [
        _find_in_group(frames, group.reset_index(drop=True), params)
        for _, group in ordered.groupby(_size_keys(ordered), sort=True)
    ]
    empty = pd.DataFrame(
        {
            "frame_a": pd.Series(dtype="str"),
            "frame_b": pd.Series(dtype="str"),
            **{name: pd.Series(dtype="float64") for name in ("dx_px", "dy_px", "score")},
            **{name: pd.Series(dtype="float64") for name in ("correlation", "overlap")},
            "refined": pd.Series(dtype="bool"),
            **{name: pd.Series(dtype="float64") for name in ("scale", "angle_deg")},
            **{name: pd.Series(dtype="bool") for name in ("mirrored", "inverted")},
        }
    )
    parts = [part for part in parts if len(part)]
    shifted = pd.concat(parts, ignore_index=True) if parts else empty
    views, compared, skipped = find_similar_views(frames, ordered, shifted, params)
    overlaps = pd.concat([shifted, views], ignore_index=True) if len(views) else shifted
    overlaps = overlaps.sort_values(["frame_a", "frame_b"], ignore_index=True)
    overlaps.attrs = {"pairs_compared": compared, "pairs_skipped": skipped}
    _LOG.info("%d frames, %d overlapping pairs", len(manifest), len(overlaps))
    return overlaps


def _find_in_group(frames: Frames, group: pd.DataFrame, params: MosaicParams) -> pd.DataFrame:
    classes = group["class"].to_numpy()
    widest_px = int(group["width_px"].max())
    factor = _find_factor(widest_px, params.refine_width_px)
    reduced = _read_reduced(frames, group["frame_id"].tolist(), factor, params)
    fine = _find_factor(widest_px // factor, params.thumbnail_width_px)
    bank = _build_bank(reduced, fine, params.workers)
    scale = float(factor * fine)
    within = pairs_within(classes, params)
    found = _find_links(bank, within, scale, params, "overlaps within classes")
    coarse_factor = _find_factor(widest_px // factor, params.coarse_width_px)
    coarse = _build_bank(reduced, coarse_factor, params.workers)
    suspects = pairs_across(classes, params)
    hints, _ = correlate_pairs(coarse, *suspects, params.workers, "overlaps across classes")
    near = hints >= params.min_coarse_score
    suspects = suspects[0][near], suspects[1][near]
    crossing = _find_links(bank, suspects, scale, params, "suspect pairs")
    component = find_components(len(classes), found.first, found.second)
    gaps = pairs_between_mosaics(classes, component, params)
    links = _join_links(found, crossing, _find_small_links(bank, gaps, scale, params))
    shift_yx, refined = _refine_links(reduced, links, factor, params)
    links = replace(links, shift_yx=shift_yx)
    slants = _find_slants(reduced, links, refined, factor, params.workers)
    return _links_table(group, links, refined, slants)


def _find_factor(width_px: int, wanted_px: int) -> int:
    return max(1, round(width_px / wanted_px))


def _find_links(
    bank: SpectrumBank,
    pairs: tuple[IndexArray, IndexArray],
    scale: float,
    params: MosaicParams,
    title: str,
) -> _Links:
    first, second = pairs
    score, cyclic_yx = correlate_pairs(bank, first, second, params.workers, title)
    high = score >= params.min_score
    first, second = first[high], second[high]
    correlation, shift_yx = unwrap_shifts(bank, first, second, cyclic_yx[high])
    sizes_yx = bank.sizes_yx
    common = common_fraction(sizes_yx[first], sizes_yx[second], shift_yx)
    links = _Links(first, second, shift_yx * scale, score[high], correlation)
    return links.take((correlation >= params.min_correlation) & (common >= params.min_overlap))


def _find_small_links(
    bank: SpectrumBank, pairs: tuple[IndexArray, IndexArray], scale: float, params: MosaicParams
) -> _Links:
    score, shift_yx, correlation = correlate_padded(bank, *pairs, params)
    links = _Links(*pairs, shift_yx * scale, score, correlation)
    return links.take((score >= params.min_gap_score) & (correlation >= params.min_correlation))


def _join_links(*parts: _Links) -> _Links:
    names = [item.name for item in fields(_Links)]
    return _Links(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _refine_links(
    reduced: list[NDArray[np.uint8]], links: _Links, factor: int, params: MosaicParams
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    widest_px = max(image_yx.shape[1] for image_yx in reduced)
    reach_px = max(4, round(1.5 * widest_px / params.thumbnail_width_px))
    chosen = np.flatnonzero(
        choose_links(links.first, links.second, links.score, len(reduced), params.refined_links)
    )
    shift_yx = links.shift_yx.copy()
    refined = np.zeros(len(shift_yx), dtype=bool)

    def run(link: int) -> NDArray[np.float64] | None:
        pair = reduced[links.first[link]], reduced[links.second[link]]
        return refine_shift(*pair, links.shift_yx[link] / factor, reach_px)

    with ThreadPoolExecutor(params.workers) as pool:
        jobs = tqdm(
            pool.map(run, chosen.tolist(), chunksize=32),
            total=len(chosen),
            desc="refine offsets",
            disable=None,
            leave=False,
        )
        for link, better_yx in zip(chosen, jobs, strict=True):
            if better_yx is not None:
                shift_yx[link], refined[link] = better_yx * factor, True
    return shift_yx, refined


def _find_slants(
    reduced: list[NDArray[np.uint8]],
    links: _Links,
    refined: NDArray[np.bool_],
    factor: int,
    workers: int,
) -> NDArray[np.float64]:
    """Return how the second frame of each link lies in the first, ``(P, 2, 3)``.

    Looked at are the refined links, and all links of frames that are slanted in one.
    """
    matrices = place_by_shift(links.shift_yx)
    open_links, checked = refined.copy(), np.zeros(len(refined), dtype=bool)

    def run(link: int) -> NDArray[np.float64] | None:
        pair = reduced[links.first[link]], reduced[links.second[link]]
        return find_slant(*pair, links.shift_yx[link] / factor)

    with ThreadPoolExecutor(workers) as pool:
        while open_links.any():
            chosen = np.flatnonzero(open_links)
            checked[chosen] = True
            slanted = []
            for link, matrix in zip(chosen, pool.map(run, chosen.tolist()), strict=True):
                if matrix is not None:
                    matrices[link] = matrix * (1, 1, factor)
                    slanted += [links.first[link], links.second[link]]
            open_links = ~checked & (np.isin(links.first, slanted) | np.isin(links.second, slanted))
    return matrices


def _read_reduced(
    frames: Frames, frame_ids: list[str], factor: int, params: MosaicParams
) -> list[NDArray[np.uint8]]:
    def read(frame_id: str) -> NDArray[np.uint8]:
        return reduce_frame(frames[frame_id], factor)

    with ThreadPoolExecutor(params.workers) as pool:
        jobs = tqdm(
            pool.map(read, frame_ids), total=len(frame_ids), desc="thumbnails", disable=None
        )
        return list(jobs)


def _build_bank(reduced: list[NDArray[np.uint8]], factor: int, workers: int) -> SpectrumBank:
    return build_spectrum_bank([reduce_frame(image_yx, factor) for image_yx in reduced], workers)


def _links_table(
    group: pd.DataFrame,
    links: _Links,
    refined: NDArray[np.bool_],
    matrices: NDArray[np.float64],
) -> pd.DataFrame:
    """Order each pair by identity and tabulate the links."""
    frame_ids = group["frame_id"].to_numpy()
    extents_yx = group[["height_px", "width_px"]].to_numpy(np.float64)
    first, second = frame_ids[links.first], frame_ids[links.second]
    swap = first > second
    matrices = np.array([invert(m) if back else m for m, back in zip(matrices, swap, strict=True)])
    scale, angle_deg, mirrored = split_matrices(matrices.reshape(-1, 2, 3))
    return pd.DataFrame(
        {
            "frame_a": pd.Series(np.where(swap, second, first), dtype="str"),
            "frame_b": pd.Series(np.where(swap, first, second), dtype="str"),
            "dx_px": matrices.reshape(-1, 2, 3)[:, 0, 2],
            "dy_px": matrices.reshape(-1, 2, 3)[:, 1, 2],
            "score": links.score,
            "correlation": links.correlation,
            "overlap": common_fraction(
                extents_yx[links.first], extents_yx[links.second], links.shift_yx
            ),
            "refined": refined,
            "scale": scale,
            "angle_deg": angle_deg,
            "mirrored": mirrored,
            "inverted": False,
        }
    )


def _size_keys(manifest: pd.DataFrame) -> list[NDArray[np.int_]]:
    """Numbers for heights, widths and pixel sizes that differ by little."""
    steps = {"height_px": _SIZE_STEP, "width_px": _SIZE_STEP}
    return [
        _group_values(manifest[name].to_numpy(np.float64), step)
        for name, step in {**steps, "pixel_size_um": PIXEL_SIZE_STEP}.items()
    ]


def _group_values(values: NDArray[np.float64], step: float) -> NDArray[np.int_]:
    """Give values numbers; a new one begins above ``1 + step`` times where the last one began."""
    number, begins = -1, -np.inf
    numbers = {}
    for value in np.unique(values).tolist():
        if value > (1 + step) * begins:
            number, begins = number + 1, value
        numbers[value] = number
    return np.array([numbers[value] for value in values.tolist()], dtype=int)


def pairs_within(
    classes: NDArray[np.object_], params: MosaicParams
) -> tuple[IndexArray, IndexArray]:
    """List all pairs of each class; if too many, neighbours in time and a regular subset.

    `classes` (N,) are those of the frames in order of time; returns indices (P,), first < second.
    """
    members = [np.flatnonzero(classes == name) for name in sorted(set(classes))]
    total = sum(len(group) * (len(group) - 1) // 2 for group in members)
    stride = max(1, int(np.ceil(np.sqrt(total / params.max_pairs))))
    pairs: set[tuple[int, int]] = set()
    for group in members:
        pairs.update(_combinations(group[::stride]))
        if stride > 1:
            for step in range(1, min(params.neighbours, len(group) - 1) + 1):
                pairs.update(zip(group[:-step].tolist(), group[step:].tolist(), strict=True))
    return _as_indices(sorted(pairs))


def pairs_across(
    classes: NDArray[np.object_], params: MosaicParams
) -> tuple[IndexArray, IndexArray]:
    """List pairs of frames of different classes; if too many, of evenly spaced frames only."""
    first, second = np.triu_indices(len(classes), 1)
    crossing = classes[first] != classes[second]
    stride = max(1, int(np.ceil(np.sqrt(crossing.sum() / params.max_pairs))))
    crossing &= (first % stride == 0) & (second % stride == 0)
    return first[crossing], second[crossing]


def choose_links(
    first: IndexArray,
    second: IndexArray,
    score: NDArray[np.float64],
    n_frames: int,
    per_frame: int,
) -> NDArray[np.bool_]:
    """Choose the best overlaps of each frame and, evenly, some of the others, to span loops.

    Parameters
    ----------
    first, second
        Frames of each link, ``(P,)``.
    score
        Score of each link, ``(P,)``.
    """
    chosen = np.zeros(len(first), dtype=bool)
    ends = np.concatenate([first, second])
    owners = np.tile(np.arange(len(first)), 2)
    order = np.lexsort((owners, -score[owners], ends))
    bounds = np.searchsorted(ends[order], np.arange(n_frames + 1))
    for start, stop in pairwise(bounds.tolist()):
        mine = owners[order[start:stop]]
        best = (per_frame + 1) // 2
        spread = np.linspace(best, len(mine) - 1, per_frame - best).round().astype(int)
        chosen[mine[:best]] = True
        if len(mine) > best:
            chosen[mine[spread]] = True
    return chosen


def _combinations(group: IndexArray) -> Iterator[tuple[int, int]]:
    rows, columns = np.triu_indices(len(group), 1)
    return zip(group[rows].tolist(), group[columns].tolist(), strict=True)


def _as_indices(pairs: list[tuple[int, int]]) -> tuple[IndexArray, IndexArray]:
    table = np.array(pairs, dtype=np.intp).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def pairs_between_mosaics(
    classes: NDArray[np.object_], component: NDArray[np.int_], params: MosaicParams
) -> tuple[IndexArray, IndexArray]:
    """List pairs of one class in different components, nearest in time first.

    Parameters
    ----------
    classes
        Class of each frame in order of time, ``(N,)``.
    component
        Component of each frame, ``(N,)``.
    """
    first, second = np.triu_indices(len(classes), 1)
    apart = (classes[first] == classes[second]) & (component[first] != component[second])
    first, second = first[apart], second[apart]
    nearest = np.argsort(second - first, kind="stable")[: params.max_gap_pairs]
    chosen = np.sort(nearest)
    return first[chosen], second[chosen]
