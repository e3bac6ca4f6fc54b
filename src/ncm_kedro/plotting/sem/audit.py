"""Figures of the audit: mosaics, imaged areas, confounding and excluded frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from ncm_kedro.sem.crops.boxes import FloatArray, frame_boxes
from ncm_kedro.sem.crops.crops import crop_boxes
from ncm_kedro.sem.io.frames import Frames

SPLIT_COLOURS = {"train": "#4477aa", "validate": "#ddaa33", "test": "#bb2244"}
_SCHEMES = ("by_file", "by_area", "by_mosaic", "by_session")
_COLUMNS_MAX = 4
_MAP_INCH = (3.4, 3.2)  # of a class, at most
_MAP_MARGIN_INCH = 0.7  # title and ticks; the legend
_GAP_PX = 200.0
_VERDICT_COLOURS = {
    "not detectable": "#dceedd",
    "session-bound": "#fbe8b0",
    "partly confounded": "#f6c49a",
    "confounded": "#eb9a94",
}


def plot_mosaic_splits(manifest: pd.DataFrame, crops: pd.DataFrame) -> Figure:
    """Draw the frames of each class in their mosaics, and the crops of each split.

    Parameters
    ----------
    manifest
        Frames with mosaics; excluded ones are dashed.
    crops
        What `ncm_kedro.sem.crops.crops.plan_crops` returned; may be empty.
    """
    classes = sorted(manifest["class"].unique())
    figure, axes = _grid(len(classes), _MAP_INCH)
    for name, axis in zip(classes, axes, strict=True):
        group = manifest[manifest["class"] == name]
        offset = _layout_mosaics(group)
        _draw_frames(axis, group, offset)
        mine = crops[crops["class"] == name]
        if len(mine):
            boxes = crop_boxes(mine, group) + _shift(mine["mosaic"], offset)
            for split, colour in SPLIT_COLOURS.items():
                chosen = boxes[(mine["split"] == split).to_numpy()]
                _draw_boxes(axis, chosen, facecolor=colour, alpha=0.12)
        _finish_map(axis, name, group)
    rows = -(-len(classes) // min(_COLUMNS_MAX, len(classes)))
    tallest = max(np.ptp(axis.get_ylim()) / np.ptp(axis.get_xlim()) for axis in axes)
    panel_inch = min(_MAP_INCH[1], _MAP_INCH[0] * float(tallest) + _MAP_MARGIN_INCH)
    figure.set_figheight(rows * panel_inch + _MAP_MARGIN_INCH)
    figure.legend(
        handles=[Patch(color=colour, label=name) for name, colour in SPLIT_COLOURS.items()],
        loc="outside lower center",
        ncols=len(SPLIT_COLOURS),
        frameon=False,
    )
    return figure


def plot_class_areas(audit: Mapping[str, Any]) -> Figure:
    """Draw frames, included, excluded and rejected, and unique imaged area of each class as bars.

    Parameters
    ----------
    audit
        What `ncm_kedro.sem.audit.audit.audit_frames` returned.
    """
    counts = audit["frames"]["classes"]
    areas = {row["class"]: row for row in audit["areas"]["classes"]}
    names = list(counts)
    places = np.arange(len(names))
    figure = Figure(figsize=(10, 0.9 + 0.34 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    kept = [counts[name]["kept"] for name in names]
    left.barh(places, kept, color="#4477aa", label="included")
    excluded = [counts[name]["excluded"] for name in names]
    left.barh(places, excluded, left=kept, color="#bbbbbb", label="excluded")
    rejected = [counts[name]["rejected"] for name in names]
    left.barh(places, rejected, left=np.add(kept, excluded), color="#ee8866", label="rejected")
    left.set_yticks(places, names)
    left.invert_yaxis()
    left.set_xlabel("frames")
    left.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside upper left", ncols=3, frameon=False)
    imaged_mm2 = [areas[name]["area_mm2"] if name in areas else 0.0 for name in names]
    bars = right.barh(places, imaged_mm2, color="#228833")
    views = [areas[name]["fields_of_view"] if name in areas else 0.0 for name in names]
    right.bar_label(bars, [f"{view:.1f} fields of view" for view in views], padding=3, fontsize=8)
    right.set_xlim(0, 1.35 * max([*imaged_mm2, 1e-9]))
    right.set_xlabel("unique imaged area / mm²")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def plot_confounding(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the confounding table, coloured by the way from chance to perfect.

    Parameters
    ----------
    rows
        `confounding` of `ncm_kedro.sem.audit.audit.audit_frames`; may be empty.
    """
    figure = Figure(figsize=(9.5, 1.2 + 0.33 * max(1, len(rows))), layout="constrained")
    axis = figure.subplots()
    axis.set_title("Balanced accuracy without particle features", loc="left")
    if not rows:
        axis.set_axis_off()
        axis.text(0.5, 0.5, "one class only: nothing to separate", ha="center")
        return figure
    scores = np.array([[np.nan if row[s] is None else row[s] for s in _SCHEMES] for row in rows])
    chance = np.array([row["chance"] for row in rows])[:, None]
    image = axis.imshow(
        np.clip((scores - chance) / (1 - chance), 0, 1),
        cmap="YlOrRd",
        norm=Normalize(0, 1),
        aspect="auto",
        extent=(-0.5, len(_SCHEMES) - 0.5, len(rows) - 0.5, -0.5),
    )
    for number, row in enumerate(rows):
        _write_row(axis, number, row, scores[number])
    labels = [f"{row['features'].replace('_', ' ')} → {row['target']}" for row in rows]
    axis.set_yticks(range(len(rows)), labels)
    heads = [*(scheme.replace("_", " ") for scheme in _SCHEMES), "chance", "verdict"]
    axis.set_xticks([*range(len(_SCHEMES)), 4, 5.3], heads)
    axis.set_xlim(-0.5, 6.2)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axis, shrink=0.6, pad=0.01)
    bar.set_label("way from chance to perfect")
    return figure


def plot_flagged_frames(manifest: pd.DataFrame, frames: Frames, n_max: int = 24) -> Figure:
    """Show excluded frames, then flagged ones, as thumbnails.

    Parameters
    ----------
    manifest
        With `excluded`, `exclusion_reason`, `flags` and `flat_fraction`.
    frames
        Grey frames ``(H, W)`` by `frame_id`.
    n_max
        Maximum number of thumbnails, dealt out over classes and reasons.
    """
    shown = _choose_flagged(manifest, n_max)
    if shown.empty:
        figure = Figure(figsize=(4, 1), layout="constrained")
        figure.text(0.5, 0.5, "no frame is flagged", ha="center", va="center")
        return figure
    figure, axes = _grid(len(shown), (3.0, 2.6), columns_max=6)
    for (_, row), axis in zip(shown.iterrows(), axes, strict=True):
        step = max(1, int(row["width_px"]) // 320)
        axis.imshow(frames[row["frame_id"]][::step, ::step], cmap="gray", vmin=0, vmax=255)
        axis.set_axis_off()
        reason = str(row["exclusion_reason"]) if row["excluded"] else f"included: {row['flags']}"
        axis.set_title(
            f"{_shorten(str(row['frame_id']), 38, keep_end=True)}\n{_shorten(reason, 44)}",
            fontsize=6.5,
            color="#bb2244" if row["excluded"] else "black",
        )
    return figure


def _choose_flagged(manifest: pd.DataFrame, n_max: int) -> pd.DataFrame:
    flagged = manifest[manifest["excluded"].astype(bool) | (manifest["flags"].fillna("") != "")]
    why = (
        flagged["exclusion_reason"].fillna("").str.slice(0, 16) + "|" + flagged["flags"].fillna("")
    )
    ordered = flagged.assign(_why=why).sort_values(
        ["excluded", "frame_id"], ascending=[False, True]
    )
    turn = ordered.groupby(["class", "_why"], sort=False).cumcount()
    ordered = ordered.assign(_turn=turn).sort_values(
        ["excluded", "_turn"], ascending=[False, True], kind="stable"
    )
    return ordered.head(n_max).sort_values(
        ["excluded", "class", "frame_id"], ascending=[False, True, True]
    )


def _write_row(
    axis: Axes, number: int, row: Mapping[str, Any], scores: NDArray[np.float64]
) -> None:
    for column, scheme in enumerate(_SCHEMES):
        known = np.isfinite(scores[column])
        text = f"{scores[column]:.2f}" if known else "n/a"
        weight = "bold" if row["strictest"] == scheme else "normal"
        dark = known and scores[column] - row["chance"] > 0.65 * (1 - row["chance"])
        axis.text(
            column, number, text, ha="center", va="center", fontsize=9,
            weight=weight, color="white" if dark else "black",
        )  # fmt: skip
    axis.text(4, number, f"{row['chance']:.2f}", ha="center", va="center", fontsize=9)
    colour = _VERDICT_COLOURS[row["verdict"]]
    axis.add_patch(Rectangle((4.5, number - 0.45), 1.6, 0.9, facecolor=colour))
    axis.text(5.3, number, row["verdict"], ha="center", va="center", fontsize=9)


def _grid(
    n_panels: int, panel_inch: tuple[float, float], columns_max: int = _COLUMNS_MAX
) -> tuple[Figure, list[Axes]]:
    columns = min(columns_max, n_panels)
    rows = -(-n_panels // columns)
    size = (max(4.0, columns * panel_inch[0]), rows * panel_inch[1] + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[n_panels:]:
        axis.set_axis_off()
    return figure, list(axes[:n_panels])


def _layout_mosaics(group: pd.DataFrame) -> dict[str, float]:
    """Give each mosaic of a class the x at which it is drawn, side by side (px)."""
    offset, start = {}, 0.0
    for mosaic, part in group.groupby("mosaic", sort=True):
        offset[str(mosaic)] = start
        start += float(frame_boxes(part)[:, 2].max()) + _GAP_PX
    return offset


def _shift(mosaics: pd.Series, offset: Mapping[str, float]) -> FloatArray:
    x = mosaics.map(offset).to_numpy(np.float64)
    return np.stack([x, np.zeros_like(x), x, np.zeros_like(x)], axis=1)


def _draw_frames(axis: Axes, group: pd.DataFrame, offset: Mapping[str, float]) -> None:
    boxes = frame_boxes(group) + _shift(group["mosaic"], offset)
    excluded = group["excluded"].to_numpy(bool)
    _draw_boxes(axis, boxes[~excluded], facecolor="none", edgecolor="0.45", linewidth=0.4)
    _draw_boxes(
        axis, boxes[excluded], facecolor="none", edgecolor="0.6", linewidth=0.4, linestyle=":"
    )


def _draw_boxes(axis: Axes, boxes: FloatArray, **style: Any) -> None:
    outlines = [Rectangle((x0, y0), x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes]
    axis.add_collection(PatchCollection(outlines, **style))


def _finish_map(axis: Axes, name: str, group: pd.DataFrame) -> None:
    axis.set_aspect("equal")
    axis.autoscale_view()
    axis.invert_yaxis()
    n_mosaics = group["mosaic"].nunique()
    plural = "" if n_mosaics == 1 else "s"
    axis.set_title(f"{name}: {len(group)} frames, {n_mosaics} mosaic{plural}", fontsize=9)
    axis.tick_params(labelsize=6)
    axis.set_xlabel("px", fontsize=7)


def _shorten(text: str, length: int, *, keep_end: bool = False) -> str:
    if len(text) <= length:
        return text
    return f"…{text[1 - length :]}" if keep_end else f"{text[: length - 1]}…"
