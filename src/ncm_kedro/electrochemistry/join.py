"""Cells beside the SEM frames of their electrodes."""

from __future__ import annotations

import pandas as pd

_MATCHED, _NO_CELL, _NO_FRAME = "matched", "frames without a cell", "cell without frames"


def join_frames(manifest: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Say which SEM frames show the electrode, or an electrode of the class, of which cell.

    Frames that name their cell (column ``cell_id`` of ``frames.csv``) are joined by it; all others
    by class. Excluded frames do not count.

    Parameters
    ----------
    manifest
        SEM frames; ``class``, ``excluded`` and, where the user gives it, ``cell_id``.
    cells
        From `ncm_kedro.electrochemistry.summary.tabulate_cells`.

    Returns
    -------
    DataFrame
        A row per pair of a class of frames and a cell: ``status`` (``matched``, ``frames without a
        cell``, ``cell without frames``), ``matched_by`` (``cell_id``, ``class`` or null),
        ``class, cell_id, n_frames, last_cycle, reference_capacity_mah_g,
        last_retention_percent``. A class with several cells has a row, with all its frames, for
        each of them.
    """
    counts = _count_frames(manifest)
    rows: list[dict[str, object]] = []
    for frame_class, name, n_frames in counts.itertuples(index=False):
        by, key = ("class", frame_class) if pd.isna(name) else ("cell_id", name)
        frames = {"class": frame_class, "n_frames": n_frames}
        mine = cells.loc[cells[by] == key, "cell_id"]
        rows += [frames | {"status": _MATCHED, "matched_by": by, "cell_id": c} for c in mine]
        if mine.empty:
            rows.append(frames | {"status": _NO_CELL, "cell_id": name})
    seen = {row["cell_id"] for row in rows}
    rows += [
        {"status": _NO_FRAME, "class": cell_class, "cell_id": cell, "n_frames": 0}
        for cell, cell_class in zip(cells["cell_id"], cells["class"], strict=True)
        if cell not in seen
    ]
    columns = ["status", "matched_by", "class", "cell_id", "n_frames"]
    types = dict.fromkeys(columns[:-1], "str") | {"n_frames": "int64"}
    table = pd.DataFrame(rows, columns=columns).astype(types)
    known = ["cell_id", "last_cycle", "reference_capacity_mah_g", "last_retention_percent"]
    return table.merge(cells[known], on="cell_id", how="left")


def _count_frames(manifest: pd.DataFrame) -> pd.DataFrame:
    """Count kept frames by class and the cell that they name, null where they name none."""
    kept = manifest[~manifest["excluded"].astype(bool)]
    named = kept["cell_id"] if "cell_id" in kept else pd.Series(pd.NA, index=kept.index)
    keys = pd.DataFrame({"class": kept["class"].astype("str"), "cell_id": named.astype("str")})
    keys["cell_id"] = keys["cell_id"].replace("", pd.NA)
    return keys.groupby(["class", "cell_id"], dropna=False).size().reset_index(name="n_frames")
