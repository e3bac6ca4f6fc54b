"""Which frames were used, and which were not: counts per class and reason."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from ncm_kedro.errors import FrameError
from ncm_kedro.sem.io.frames import NEVER_FRAMES, NO_FRAMES
from ncm_kedro.sem.io.labels import NOT_UNDERSTOOD, count_names


def describe_usage(manifest: pd.DataFrame, rejected: pd.DataFrame) -> dict[str, Any]:
    """Describe which frames were used and which were not.

    Parameters
    ----------
    manifest
        Frames that could be read: `frame_id, file, class, session, mosaic, flags, excluded,
        exclusion_reason`.
    rejected
        Files that could not: `file, class, folder, kind, reason`.

    Returns
    -------
    dict
        `frames` (counts, per class too), `folders` (class and frames of each), `excluded` (frame,
        class, folder, reason), `rejected` (files, and counts per reason) and `flagged`; made of
        JSON types.
    """
    return {
        "frames": count_frames(manifest, rejected),
        "folders": list_folders(manifest),
        "excluded": list_excluded(manifest),
        "rejected": describe_rejected(rejected),
        "flagged": count_flags(manifest),
    }


def require_classes(usage: dict[str, Any]) -> None:
    """Reject a data set in which a class has lost all its frames.

    Parameters
    ----------
    usage
        What `describe_usage` returned.

    Raises
    ------
    FrameError
        Naming the classes, the folders found, and the reasons.
    """
    classes = usage["frames"]["classes"]
    lost = [name for name, counts in classes.items() if not counts["kept"]]
    if not lost:
        return
    unread = [row for row in usage["rejected"]["files"] if row["kind"] not in NO_FRAMES]
    losses = [(row["class"], row["folder"], row["kind"]) for row in unread]
    losses += [(r["class"], r["folder"], name_reason(r["reason"])) for r in usage["excluded"]]
    texts = [
        f"{name}: all {classes[name]['found']} frames (folders: "
        f"{count_names(Counter(folder for own, folder, _ in losses if own == name))}; reasons: "
        f"{count_names(Counter(reason for own, _, reason in losses if own == name))})"
        for name in lost
    ]
    first = next((row for row in unread if row["class"] in lost), None)
    advice = "" if first is None else f" ({first['file']}: {_advise(first['reason'])})"
    raise FrameError(
        f"class {', '.join(lost)}",
        found=f"no frame that can be used; {'; '.join(texts)}",
        expected="at least one frame that can be used of every class found",
        action=f"mend what the reasons name{advice}; every file is listed with its reason in "
        "02_intermediate/*_assessed.parquet and 03_primary/*_rejected_files.parquet, the rules of "
        "exclusion are in sem_ingest.quality; or move the folders of that class out of the raw "
        "folder; then run again",
    )


def count_frames(manifest: pd.DataFrame, rejected: pd.DataFrame) -> dict[str, Any]:
    """Count frames found, kept, excluded and rejected, in all and per class.

    Parameters
    ----------
    manifest
        With `class`, `session`, `mosaic` and `excluded`.
    rejected
        With `class` (empty where it is not known) and `kind`.
    """
    excluded = manifest["excluded"].astype(bool)
    unread = rejected[~rejected["kind"].isin(NO_FRAMES)]
    per_class = Counter(unread["class"])
    classes = {}
    for name in sorted({*manifest["class"], *per_class} - {""}):
        group = manifest[manifest["class"] == name]
        out = excluded[group.index]
        classes[str(name)] = {
            "found": len(group) + per_class[name],
            "total": len(group),
            "kept": int((~out).sum()),
            "excluded": int(out.sum()),
            "rejected": per_class[name],
            "sessions": int(group.loc[~out, "session"].nunique()),
            "mosaics": int(group.loc[~out, "mosaic"].nunique()),
        }
    return {
        "found": len(manifest) + len(unread),
        "total": len(manifest),
        "kept": int((~excluded).sum()),
        "excluded": int(excluded.sum()),
        "rejected": len(unread),
        "rejected_without_class": per_class[""],
        "classes": classes,
    }


def list_pixel_sizes(manifest: pd.DataFrame) -> list[dict[str, Any]]:
    """Count frames by instrument, source of the pixel size, and pixel size (um, 3 digits)."""
    rounded = [float(f"{value:.3g}") for value in manifest["pixel_size_um"]]
    instrument = manifest["instrument"].fillna("not known").astype(str)
    groups = zip(instrument, manifest["pixel_size_source"].astype(str), rounded, strict=True)
    names = ("instrument", "source", "pixel_size_um", "frames")
    return [
        dict(zip(names, (*group, n), strict=True)) for group, n in sorted(Counter(groups).items())
    ]


def list_folders(manifest: pd.DataFrame) -> list[dict[str, Any]]:
    """List the folders that frames were read from, with the class that each was read as."""
    counts = Counter(zip(name_folders(manifest), manifest["class"].astype(str), strict=True))
    return [
        {"folder": folder, "class": name, "frames": n}
        for (folder, name), n in sorted(counts.items())
    ]


def list_excluded(manifest: pd.DataFrame) -> list[dict[str, str]]:
    """List excluded frames with their reasons, sorted by identity."""
    rows = manifest.assign(folder=name_folders(manifest)).sort_values("frame_id")
    out = rows[rows["excluded"].astype(bool)]
    names = {"frame_id": "frame_id", "class": "class", "folder": "folder"}
    return [
        {key: str(row[name]) for key, name in (names | {"reason": "exclusion_reason"}).items()}
        for row in out.to_dict("records")
    ]


def describe_rejected(rejected: pd.DataFrame) -> dict[str, Any]:
    """Describe rejected files.

    Returns
    -------
    dict
        `reasons`: per kind of reason the number of `files`, whether they are `frames` and whether
        to `warn` of them, the `folders` that they lie in with their counts, and an `example` in
        full; `files`: each with its reason.
    """
    reasons: list[dict[str, Any]] = []
    for kind, rows in rejected.groupby("kind", sort=True):
        first = rows.sort_values("file").iloc[0]
        reasons.append(
            {
                "reason": str(kind),
                "files": len(rows),
                "frames": kind not in NO_FRAMES,
                "warn": kind not in NEVER_FRAMES,
                "folders": dict(sorted(Counter(rows["folder"]).items())),
                "example": {"file": str(first["file"]), "reason": str(first["reason"])},
            }
        )
    reasons.sort(key=lambda row: (not row["warn"], -row["files"], row["reason"]))
    return {"reasons": reasons, "files": rejected.to_dict("records")}


def count_flags(manifest: pd.DataFrame) -> dict[str, int]:
    """Count the frames that carry each flag."""
    flags = manifest["flags"].fillna("").str.split(";").explode()
    return {str(name): int(n) for name, n in flags[flags != ""].value_counts().sort_index().items()}


def count_exclusions(excluded: list[dict[str, str]]) -> dict[str, int]:
    """Count excluded frames per reason in a few words, the most frequent first."""
    return dict(Counter(name_reason(row["reason"]) for row in excluded).most_common())


def name_folders(manifest: pd.DataFrame) -> pd.Series:
    """Name the folder that each frame lies in."""
    return manifest["file"].map(lambda file: str(file).rpartition("/")[0])


def name_reason(reason: object) -> str:
    """Shorten a reason of exclusion to what it has in common with others: `bare`, `clipped`."""
    return str(reason).partition(":")[0].partition(" as ")[0]


def summarise_usage(report: dict[str, Any]) -> list[str]:
    """Write a line per class and one in all: found, used, excluded, rejected."""
    frames = report["frames"]
    lines = [
        f"{name}: {n['found']} frames found, {n['kept']} used, {n['excluded']} excluded, "
        f"{n['rejected']} rejected"
        for name, n in frames["classes"].items()
    ]
    other = sum(row["files"] for row in report["rejected"]["reasons"] if not row["frames"])
    tail = f"; {other} other files" if other else ""
    return [
        *lines,
        f"in all: {frames['found']} frames found, {frames['kept']} used, {frames['excluded']} "
        f"excluded, {frames['rejected']} rejected{tail}",
    ]


def warn_unused(report: dict[str, Any]) -> list[str]:
    """Write a line per reason that frames were not used for, with the folders concerned."""
    texts = []
    if report["excluded"]:
        reasons = count_names(count_exclusions(report["excluded"]))
        texts.append(f"frames excluded: {len(report['excluded'])}; {reasons}")
    for row in report["rejected"]["reasons"]:
        if row["warn"]:
            kind = "frames" if row["frames"] else "files"
            texts.append(
                f"{kind} rejected: {row['files']}; {row['reason']}: {count_names(row['folders'])}"
                f"; {_explain(row)}"
            )
    texts += [f"class {name}: no image in its folder" for name in _list_without_image(report)]
    return texts


def _explain(row: dict[str, Any]) -> str:
    """Say what is to be done about a reason, or show one file of it."""
    file, reason = row["example"]["file"], row["example"]["reason"]
    if row["reason"] == NOT_UNDERSTOOD:
        return _advise(reason)
    example = reason if reason.startswith(file) else f"{file}: {reason}"
    return f"for instance {file if reason == row['reason'] else example}"


def _advise(reason: str) -> str:
    return reason.partition("What to do: ")[2] or reason


def _list_without_image(report: dict[str, Any]) -> list[str]:
    """Classes that have a folder, and no image in it."""
    with_files = {row["class"] for row in report["rejected"]["files"]} - {""}
    return sorted(with_files - {k for k, n in report["frames"]["classes"].items() if n["found"]})
