"""Frames that contradict each other: in their class, or in their pixel sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.sem.mosaic.geometry import (
    chain,
    frame_matrices,
    invert,
    map_points,
    outline_frames,
)
from ncm_kedro.sem.mosaic.mosaic import PIXEL_SIZE_STEP, describe_views

LABEL_CONFLICT = "label_conflict"


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
