"""The audit of a data set: contents, gaps and short cuts that a classifier could take.

Whole frames overlap their neighbours, so that folds of frames cannot be disjoint. Each mosaic is
therefore cut into bands along its longer side, and a sample is the part of a frame that lies in
one band: samples of different bands share no region.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from ncm_kedro.params.sem_ingest import AuditParams
from ncm_kedro.sem.audit.confounding import summarise_confounding, tabulate_confounding
from ncm_kedro.sem.audit.usage import (
    describe_usage,
    list_pixel_sizes,
    summarise_usage,
    warn_unused,
)
from ncm_kedro.sem.crops.boxes import cut_frames, frame_boxes, place_boxes
from ncm_kedro.sem.crops.regions import measure_areas
from ncm_kedro.sem.io.frames import Frames
from ncm_kedro.sem.mosaic.merging import list_scale_conflicts

_MIN_PART = 0.5


def plan_bands(manifest: pd.DataFrame, params: AuditParams) -> pd.DataFrame:
    """Cut frames into the parts that lie in one band of the imaged area each.

    Returns
    -------
    pandas.DataFrame
        A row per part: `frame_id`, `class`, `composition`, `state`, `session`, `mosaic`, `band`
        (name) and `x0_px`, `y0_px`, `x1_px`, `y1_px` (window in the frame). A part that fills
        less than half of its band falls out.
    """
    kept = manifest[~manifest["excluded"].astype(bool)].sort_values("frame_id")
    rows = [row for _, group in kept.groupby("mosaic", sort=True) for row in _cut(group, params)]
    names = ["frame_id", "class", "composition", "state", "session", "mosaic", "band"]
    return pd.DataFrame(rows, columns=[*names, "x0_px", "y0_px", "x1_px", "y1_px"])


def measure_grey(frames: Frames, bands: pd.DataFrame, params: AuditParams) -> pd.DataFrame:
    """Measure mean, spread and histogram of the grey levels of windows; reads each frame once.

    Returns
    -------
    pandas.DataFrame
        Index as `bands`: `mean`, `std` (grey levels, 0-255) and `h000` ... (fraction of pixels).
    """
    rows_of = bands.reset_index(drop=True).groupby("frame_id").indices
    windows = bands[["x0_px", "y0_px", "x1_px", "y1_px"]].to_numpy(int)
    counts = np.zeros((len(bands), 256))

    def run(frame_id: str) -> None:
        image_yx = frames[frame_id]
        for row in rows_of[frame_id]:
            x0, y0, x1, y1 = windows[row]
            counts[row] = np.bincount(image_yx[y0:y1, x0:x1].ravel(), minlength=256)

    with ThreadPoolExecutor(params.workers) as pool:
        jobs = pool.map(run, rows_of)
        for _ in tqdm(jobs, total=len(rows_of), desc="grey levels", disable=None, leave=False):
            pass
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    levels = np.arange(256)
    mean = share @ levels
    spread = np.sqrt(np.maximum(share @ levels**2 - mean**2, 0))
    bins = _bin_histogram(share, params.histogram_bins)
    names = [f"h{number:03d}" for number in range(params.histogram_bins)]
    table = pd.DataFrame(bins, columns=names, index=bands.index)
    table.insert(0, "std", spread)
    table.insert(0, "mean", mean)
    return table


def _cut(group: pd.DataFrame, params: AuditParams) -> Iterator[tuple[object, ...]]:
    boxes = frame_boxes(group)
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    axis = int(np.argmax(high - low))
    length_px = float(high[axis] - low[axis])
    band_px = params.band_fraction * float(group["height_px"].min())
    edges = np.linspace(low[axis], high[axis], max(1, int(length_px // band_px)) + 1)
    parts = {}
    for number, (start, stop) in enumerate(pairwise(edges.tolist())):
        first, last = cut_frames(group, axis, start, stop)
        windows = np.concatenate([first, last], axis=1)
        boxes = place_boxes(group, windows)
        shown = (boxes[:, axis + 2] - boxes[:, axis]) * (last > first).all(axis=1)
        for row in np.flatnonzero(shown >= _MIN_PART * (stop - start)).tolist():
            parts[row, number] = windows[row].tolist()
    for row, number in sorted(parts):
        frame = group.iloc[row]
        names = [frame[key] for key in ("frame_id", "class", "composition", "state", "session")]
        mosaic = frame["mosaic"]
        yield (*names, mosaic, f"{mosaic}/b{number:02d}", *parts[row, number])


def _bin_histogram(share: NDArray[np.float64], n_bins: int) -> NDArray[np.float64]:
    owner = np.arange(256) * n_bins // 256
    binned = np.zeros((len(share), n_bins))
    np.add.at(binned.T, owner, share.T)
    return binned


_LOG = logging.getLogger(__name__)


def audit_frames(
    manifest: pd.DataFrame,
    frames: Frames,
    links: pd.DataFrame,
    rejected: pd.DataFrame,
    params: AuditParams,
) -> dict[str, Any]:
    """Audit a data set; what was not used is logged last.

    Parameters
    ----------
    rejected
        Files that could not be read: `file, class, folder, kind, reason`.

    Returns
    -------
    dict
        What `describe_usage` gives, `areas` (per class and per mosaic), `overlaps`,
        `label_conflicts`, `pixel_sizes`, `pixel_size_conflicts`, `confounding` (rows), `verdict`
        and `warnings`; made of JSON types.
    """
    bands = plan_bands(manifest, params)
    grey = measure_grey(frames, bands, params)
    rows = tabulate_confounding(manifest, bands, grey, params)
    areas = measure_areas(manifest)
    report: dict[str, Any] = {
        **describe_usage(manifest, rejected),
        "areas": {
            "classes": _records(sum_areas(areas).reset_index()),
            "mosaics": _records(areas),
        },
        "overlaps": describe_overlaps(manifest, links),
        "label_conflicts": list_conflicts(links),
        "pixel_sizes": list_pixel_sizes(manifest),
        "pixel_size_conflicts": list_scale_conflicts(manifest, links),
        "confounding": rows,
        "verdict": summarise_confounding(rows),
    }
    report["warnings"] = _warn(report)
    for text in summarise_usage(report):
        _LOG.info(text)
    for text in report["warnings"]:
        _LOG.warning(text)
    return report


def sum_areas(areas: pd.DataFrame) -> pd.DataFrame:
    """Sum the unique imaged area per class.

    Returns
    -------
    pandas.DataFrame
        Index `class`; `n_frames`, `n_mosaics`, `area_px2`, `area_mm2`, `fields_of_view` and
        `repeats` (how often a spot is shown on average).
    """
    groups = areas.groupby("class", sort=True)
    summed = groups[["n_frames", "area_px2", "area_mm2", "fields_of_view"]].sum()
    summed.insert(1, "n_mosaics", groups["mosaic"].nunique())
    summed["repeats"] = summed["n_frames"] / summed["fields_of_view"]
    return summed


def describe_overlaps(manifest: pd.DataFrame, links: pd.DataFrame) -> dict[str, Any]:
    """Describe how far frames overlap.

    Parameters
    ----------
    manifest
        With `frame_id` and `class`.

    Returns
    -------
    dict
        Numbers of links; pairs of representative frames that were compared by keypoints and that
        were skipped for their number; `lowest_score` of an accepted link; median and 90th
        percentile of the residuals of refined links (px); per class the fraction of frames that
        another one overlaps by half or more, and the median over frames of the largest overlap
        with another.
    """
    same = links[links["kind"] == "same_class"]
    residual = same.loc[same["refined"] & same["used"], "residual_px"]
    largest = pd.concat([same.set_index(end)["overlap"] for end in ("frame_a", "frame_b")]).groupby(
        level=0
    )
    per_frame = largest.max().reindex(manifest["frame_id"]).fillna(0.0).to_numpy()
    classes = {
        str(name): {
            "median_largest_overlap": float(np.median(per_frame[rows])),
            "share_half_repeated": float((per_frame[rows] >= 0.5).mean()),
        }
        for name, rows in manifest.reset_index(drop=True).groupby("class").indices.items()
    }
    return {
        "links": len(same),
        "pairs_compared": int(links.attrs.get("pairs_compared", 0)),
        "pairs_skipped": int(links.attrs.get("pairs_skipped", 0)),
        "dropped": int((~same["used"]).sum()),
        "lowest_score": float(same["score"].min()) if len(same) else None,
        "median_residual_px": float(residual.median()) if len(residual) else None,
        "p90_residual_px": float(residual.quantile(0.9)) if len(residual) else None,
        "classes": classes,
    }


def list_conflicts(links: pd.DataFrame) -> list[dict[str, Any]]:
    """List pairs of frames that show the same region under two classes."""
    conflicts = links[links["kind"] == "label_conflict"].sort_values("score", ascending=False)
    return _records(conflicts[["frame_a", "frame_b", "score", "overlap"]])


def _warn(report: dict[str, Any]) -> list[str]:
    texts = []
    if report["label_conflicts"]:
        pairs = report["label_conflicts"]
        texts.append(
            f"{len(pairs)} pairs of frames show the same region under two classes, for instance "
            f"{pairs[0]['frame_a']} and {pairs[0]['frame_b']}; all frames that show such a region "
            "are excluded until the folder of one of them is corrected"
        )
    if report["pixel_size_conflicts"]:
        pairs = report["pixel_size_conflicts"]
        texts.append(
            f"{len(pairs)} pairs of frames show a common region whose size contradicts their pixel "
            f"sizes, for instance {pairs[0]['frame_a']} and {pairs[0]['frame_b']}: by the images "
            f"the pixels of the second are {pairs[0]['measured']:.3g} times as large as those of "
            f"the first, by their pixel sizes {pairs[0]['stated']:.3g} times; correct one of them"
        )
    if skipped := report["overlaps"]["pairs_skipped"]:
        texts.append(
            f"{skipped} pairs of frames were not compared for common regions at any magnification "
            "and rotation; raise sem_ingest.mosaic.max_view_pairs to compare all"
        )
    if report["verdict"]["acquisition"] in ("partly confounded", "confounded"):
        texts.append(report["verdict"]["meaning"])
    return texts + warn_unused(report)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(key): value.item() if hasattr(value, "item") else value for key, value in row.items()}
        for row in table.to_dict("records")
    ]
