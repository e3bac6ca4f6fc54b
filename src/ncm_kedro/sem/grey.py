"""Grey levels of bands of ground: the samples of the confounding table.

Whole frames overlap their neighbours, so that folds of frames cannot be disjoint. Each mosaic is
therefore cut into bands along its longer side, and a sample is the part of a frame that lies in
one band: samples of different bands share no ground.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from ncm_kedro.params.sem_mosaic import AuditParams
from ncm_kedro.sem.areas import frame_boxes
from ncm_kedro.sem.frames import FrameSource

_LEAST_PART = 0.5


def plan_bands(manifest: pd.DataFrame, params: AuditParams) -> pd.DataFrame:
    """Cut frames into the parts that lie in one band of ground each.

    Parameters
    ----------
    manifest
        Frames with mosaics; excluded ones are not used. The order of its rows does not matter.
    params
        Width of a band.

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


def measure_grey(frames: FrameSource, bands: pd.DataFrame, params: AuditParams) -> pd.DataFrame:
    """Measure mean, spread and histogram of the grey levels of windows; reads each frame once.

    Parameters
    ----------
    frames
        Grey frames ``(H, W)`` by `frame_id`.
    bands
        What `plan_bands` returned.
    params
        Bins and threads.

    Returns
    -------
    pandas.DataFrame
        Index as `bands`: `mean`, `std` (grey levels, 0-255) and `h000` ... (share of pixels).
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
    for (_, frame), box in zip(group.iterrows(), boxes, strict=True):
        for number, (start, stop) in enumerate(pairwise(edges.tolist())):
            window = [0, 0, int(frame["width_px"]), int(frame["height_px"])]
            window[axis] = max(0, int(np.ceil(start - box[axis])))
            window[axis + 2] = min(window[axis + 2], int(np.floor(stop - box[axis])))
            if window[axis + 2] - window[axis] >= _LEAST_PART * (stop - start):
                names = [frame[key] for key in ("frame_id", "class", "composition", "state")]
                mosaic = frame["mosaic"]
                yield (*names, frame["session"], mosaic, f"{mosaic}/b{number:02d}", *window)


def _bin_histogram(share: NDArray[np.float64], n_bins: int) -> NDArray[np.float64]:
    owner = np.arange(256) * n_bins // 256
    binned = np.zeros((len(share), n_bins))
    np.add.at(binned.T, owner, share.T)
    return binned
