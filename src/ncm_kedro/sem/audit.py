"""What a data set holds, what it lacks, and which short cuts it offers."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd

from ncm_kedro.params.sem_mosaic import AuditParams
from ncm_kedro.sem.areas import measure_areas
from ncm_kedro.sem.confounding import summarise_confounding, tabulate_confounding
from ncm_kedro.sem.frames import FrameSource
from ncm_kedro.sem.grey import measure_grey, plan_bands

_LOG = logging.getLogger(__name__)


def audit_frames(
    manifest: pd.DataFrame, frames: FrameSource, links: pd.DataFrame, params: AuditParams
) -> dict[str, Any]:
    """Audit a data set.

    Parameters
    ----------
    manifest
        A row per frame, columns as in the contract, and `sidecar_json`.
    frames
        Grey frames ``(H, W)`` by `frame_id`.
    links
        Overlaps as `ncm_kedro.sem.mosaic.build_mosaics` returned them.
    params
        Folds, bins and levels.

    Returns
    -------
    dict
        `frames` (counts, per class too), `excluded` (frame, reason), `flagged`, `areas` (per
        class and per mosaic), `overlaps`, `label_conflicts`, `confounding` (rows), `verdict` and
        `warnings`; made of JSON types.
    """
    bands = plan_bands(manifest, params)
    grey = measure_grey(frames, bands, params)
    rows = tabulate_confounding(manifest, bands, grey, params)
    areas = measure_areas(manifest)
    report: dict[str, Any] = {
        "frames": count_frames(manifest),
        "excluded": list_excluded(manifest),
        "flagged": count_flags(manifest),
        "areas": {
            "classes": _records(sum_areas(areas).reset_index()),
            "mosaics": _records(areas),
        },
        "overlaps": describe_overlaps(manifest, links),
        "label_conflicts": list_conflicts(links),
        "confounding": rows,
        "verdict": summarise_confounding(rows),
    }
    report["warnings"] = _warn(report)
    for text in report["warnings"]:
        _LOG.warning(text)
    return report


def count_frames(manifest: pd.DataFrame) -> dict[str, Any]:
    """Count frames, kept and excluded, in all and per class.

    Parameters
    ----------
    manifest
        With `class`, `session`, `mosaic` and `excluded`.
    """
    excluded = manifest["excluded"].astype(bool)
    classes = {}
    for name, group in manifest.groupby("class", sort=True):
        out = excluded[group.index]
        classes[str(name)] = {
            "total": len(group),
            "kept": int((~out).sum()),
            "excluded": int(out.sum()),
            "sessions": int(group.loc[~out, "session"].nunique()),
            "mosaics": int(group.loc[~out, "mosaic"].nunique()),
        }
    counts = {"total": len(manifest), "excluded": int(excluded.sum())}
    return {**counts, "kept": counts["total"] - counts["excluded"], "classes": classes}


def list_excluded(manifest: pd.DataFrame) -> list[dict[str, str]]:
    """List excluded frames with their reasons, sorted by identity."""
    out = manifest[manifest["excluded"].astype(bool)].sort_values("frame_id")
    return [
        {"frame_id": str(frame_id), "class": str(class_name), "reason": str(reason)}
        for frame_id, class_name, reason in zip(
            out["frame_id"], out["class"], out["exclusion_reason"], strict=True
        )
    ]


def count_flags(manifest: pd.DataFrame) -> dict[str, int]:
    """Count the frames that carry each flag."""
    flags = manifest["flags"].fillna("").str.split(";").explode()
    return {str(name): int(n) for name, n in flags[flags != ""].value_counts().sort_index().items()}


def sum_areas(areas: pd.DataFrame) -> pd.DataFrame:
    """Sum unique ground up per class.

    Parameters
    ----------
    areas
        What `ncm_kedro.sem.areas.measure_areas` returned.

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
    """Say how much frames have in common.

    Parameters
    ----------
    manifest
        With `frame_id` and `class`.
    links
        What `ncm_kedro.sem.mosaic.build_mosaics` returned.

    Returns
    -------
    dict
        Numbers of links; `lowest_score` of an accepted one; median and 90th percentile of the
        residuals of refined links (px); per class the share of frames that another one overlaps
        by half or more, and the median over frames of the largest overlap with another.
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
        "dropped": int((~same["used"]).sum()),
        "lowest_score": float(same["score"].min()) if len(same) else None,
        "median_residual_px": float(residual.median()) if len(residual) else None,
        "p90_residual_px": float(residual.quantile(0.9)) if len(residual) else None,
        "classes": classes,
    }


def list_conflicts(links: pd.DataFrame) -> list[dict[str, Any]]:
    """List pairs of frames that show the same ground under two classes."""
    conflicts = links[links["kind"] == "label_conflict"].sort_values("score", ascending=False)
    return _records(conflicts[["frame_a", "frame_b", "score", "overlap"]])


def _warn(report: dict[str, Any]) -> list[str]:
    texts = []
    if report["label_conflicts"]:
        pairs = report["label_conflicts"]
        texts.append(
            f"{len(pairs)} pairs of frames show the same ground under two classes, for instance "
            f"{pairs[0]['frame_a']} and {pairs[0]['frame_b']}; correct the folder of one of them"
        )
    for name, counts in report["frames"]["classes"].items():
        if counts["kept"] == 0:
            texts.append(f"{name}: all {counts['total']} frames are excluded")
    if report["verdict"]["acquisition"] in ("partly confounded", "confounded"):
        texts.append(report["verdict"]["meaning"])
    return texts


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(key): value.item() if hasattr(value, "item") else value for key, value in row.items()}
        for row in table.to_dict("records")
    ]
