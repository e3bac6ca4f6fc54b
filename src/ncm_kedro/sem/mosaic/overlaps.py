"""Which frames overlap.

Overlaps are searched within classes to chain frames into mosaics, and across classes because the
same region under two labels is a mistake that must be reported; it is never merged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from ncm_kedro.params.sem_ingest import MosaicParams
from ncm_kedro.sem.io.frames import Frames
from ncm_kedro.sem.mosaic.mosaic import (
    PIXEL_SIZE_STEP,
    find_components,
    order_by_time,
)
from ncm_kedro.sem.mosaic.registration import (
    IndexArray,
    SpectrumBank,
    build_spectrum_bank,
    correlate_padded,
    correlate_pairs,
    reduce_frame,
    refine_shift,
    unwrap_shifts,
)

_LOG = logging.getLogger(__name__)


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

    Frames are compared with those of the same size and pixel size only. Every frame is read once.

    Parameters
    ----------
    manifest
        A row per frame with `frame_id`, `file`, `class`, `acquired_at`, `height_px`, `width_px`
        and `pixel_size_um`.

    Returns
    -------
    pandas.DataFrame
        A row per overlapping pair, ``frame_a < frame_b``: `frame_a`, `frame_b`, `dx_px` and
        `dy_px` (top-left corner of b in the coordinates of a), `score` (peak in standard
        deviations), `correlation` of the common region, `overlap` (fraction of a frame) and
        `refined` (offset measured to a fraction of a pixel).
    """
    ordered = order_by_time(manifest)
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
        }
    )
    parts = [part for part in parts if len(part)]
    overlaps = pd.concat(parts, ignore_index=True) if parts else empty
    _LOG.info("%d frames, %d overlapping pairs", len(manifest), len(overlaps))
    return overlaps.sort_values(["frame_a", "frame_b"], ignore_index=True)


def _find_in_group(frames: Frames, group: pd.DataFrame, params: MosaicParams) -> pd.DataFrame:
    classes = group["class"].to_numpy()
    reduced_nyx = _read_reduced(frames, group["frame_id"].tolist(), params)
    width_px = int(group["width_px"].iloc[0])
    bank = _bank_of_width(reduced_nyx, params.thumbnail_width_px, params.workers)
    scale = width_px / bank.shape[1]
    within = pairs_within(classes, params)
    found = _find_links(bank, within, scale, params, "overlaps within classes")
    coarse = _bank_of_width(reduced_nyx, params.coarse_width_px, params.workers)
    suspects = pairs_across(classes, params)
    hints, _ = correlate_pairs(coarse, *suspects, params.workers, "overlaps across classes")
    near = hints >= params.min_coarse_score
    suspects = suspects[0][near], suspects[1][near]
    crossing = _find_links(bank, suspects, scale, params, "suspect pairs")
    component = find_components(len(classes), found.first, found.second)
    gaps = pairs_between_mosaics(classes, component, params)
    links = _join_links(found, crossing, _find_small_links(bank, gaps, scale, params))
    shift_yx, refined = _refine_links(reduced_nyx, links, width_px, params)
    return _links_table(group, links, shift_yx, refined)


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
    common = np.clip(1 - np.abs(shift_yx) / bank.shape, 0, 1).prod(axis=1)
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
    reduced_nyx: NDArray[np.uint8], links: _Links, width_px: int, params: MosaicParams
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    scale = width_px / reduced_nyx.shape[2]
    reach_px = max(4, round(1.5 * reduced_nyx.shape[2] / params.thumbnail_width_px))
    chosen = np.flatnonzero(
        choose_links(links.first, links.second, links.score, len(reduced_nyx), params.refined_links)
    )
    shift_yx = links.shift_yx.copy()
    refined = np.zeros(len(shift_yx), dtype=bool)

    def run(link: int) -> NDArray[np.float64] | None:
        pair = reduced_nyx[links.first[link]], reduced_nyx[links.second[link]]
        return refine_shift(*pair, links.shift_yx[link] / scale, reach_px)

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
                shift_yx[link], refined[link] = better_yx * scale, True
    return shift_yx, refined


def _read_reduced(frames: Frames, frame_ids: list[str], params: MosaicParams) -> NDArray[np.uint8]:
    def read(frame_id: str) -> NDArray[np.uint8]:
        return reduce_frame(frames[frame_id], params.refine_width_px)

    with ThreadPoolExecutor(params.workers) as pool:
        jobs = tqdm(
            pool.map(read, frame_ids), total=len(frame_ids), desc="thumbnails", disable=None
        )
        return np.stack(list(jobs))


def _bank_of_width(reduced_nyx: NDArray[np.uint8], width_px: int, workers: int) -> SpectrumBank:
    thumbnails = [reduce_frame(image_yx, width_px) for image_yx in reduced_nyx]
    return build_spectrum_bank(np.stack(thumbnails), workers)


def _links_table(
    group: pd.DataFrame,
    links: _Links,
    shift_yx: NDArray[np.float64],
    refined: NDArray[np.bool_],
) -> pd.DataFrame:
    """Order each pair by identity and tabulate the links."""
    frame_ids = group["frame_id"].to_numpy()
    extent_yx = group[["height_px", "width_px"]].iloc[0].to_numpy(np.float64)
    first, second = frame_ids[links.first], frame_ids[links.second]
    swap = first > second
    sign = np.where(swap, -1.0, 1.0)
    return pd.DataFrame(
        {
            "frame_a": pd.Series(np.where(swap, second, first), dtype="str"),
            "frame_b": pd.Series(np.where(swap, first, second), dtype="str"),
            "dx_px": sign * shift_yx[:, 1],
            "dy_px": sign * shift_yx[:, 0],
            "score": links.score,
            "correlation": links.correlation,
            "overlap": np.clip(1 - np.abs(shift_yx) / extent_yx, 0, 1).prod(axis=1),
            "refined": refined,
        }
    )


def _size_keys(manifest: pd.DataFrame) -> list[pd.Series]:
    """Height, width and a number for pixel sizes that differ by small steps only."""
    sizes = np.sort(manifest["pixel_size_um"].unique())
    group = np.cumsum(np.r_[False, sizes[1:] > (1 + PIXEL_SIZE_STEP) * sizes[:-1]])
    number = manifest["pixel_size_um"].map(dict(zip(sizes, group, strict=True)))
    return [manifest["height_px"], manifest["width_px"], number]


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
