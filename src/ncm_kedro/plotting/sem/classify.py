"""Figures of classified frames, of prediction sets and of the out-of-distribution flag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ncm_kedro.plotting.axes import draw_intervals
from ncm_kedro.plotting.numbers import write_interval
from ncm_kedro.plotting.style import BLUE, GREY, ORANGE
from ncm_kedro.sem.inference.classify import ShownFrame

_COLUMNS = 4
_PANEL_INCH = (3.6, 3.0)


def plot_overlay_sheet(frames: Sequence[ShownFrame], classes: Sequence[str]) -> Figure:
    """Draw frames with the most probable class of each tile, lowest confidence first.

    The title of an out-of-distribution frame gives its p-value in place of a class; tiles with an
    OOD flag are hatched.

    Parameters
    ----------
    frames
        Classified frames.
    classes
        Class names in the order of the probabilities.
    """
    rows = -(-len(frames) // _COLUMNS)
    columns = min(_COLUMNS, len(frames))
    figure = Figure(
        figsize=(_PANEL_INCH[0] * columns, _PANEL_INCH[1] * rows + 0.6), layout="constrained"
    )
    panels = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    colours = matplotlib.colormaps["tab20"](np.arange(len(classes)) % 20)
    for axis in panels:
        axis.set_axis_off()
    for axis, frame in zip(panels, frames, strict=False):
        _draw_frame(axis, frame, classes, colours)
    seen = sorted({int(k) for f in frames for k in f.prediction.tiles.probabilities.argmax(axis=1)})
    figure.legend(
        handles=[Patch(color=colours[k], label=classes[k]) for k in seen],
        loc="outside lower center",
        ncols=min(6, len(seen)),
        fontsize=8,
    )
    return figure


def _draw_frame(axis: Axes, frame: ShownFrame, classes: Sequence[str], colours: np.ndarray) -> None:
    prediction = frame.prediction
    axis.imshow(frame.small_yx, cmap="gray", vmin=0, vmax=255)
    side = prediction.tile_px * frame.scale
    ood_score = prediction.tiles.ood_score
    count = len(prediction.tile_xy_px)
    strange = np.zeros(count, np.bool_) if ood_score is None else ood_score.unknown
    tiles = zip(
        prediction.tile_xy_px * frame.scale, prediction.tiles.probabilities, strange, strict=True
    )
    for (x, y), probabilities, is_ood in tiles:
        best = int(probabilities.argmax())
        colour = colours[best]
        box = Rectangle(
            (x, y),
            side,
            side,
            facecolor=(*colour[:3], 0.18),
            edgecolor=colour,
            hatch="///" if is_ood else None,
        )
        axis.add_patch(box)
        axis.text(
            x + side / 2,
            y + side / 2,
            f"{probabilities[best]:.2f}",
            color="white",
            fontsize=7,
            ha="center",
            va="center",
        )
    name = frame.file if len(frame.file) <= 44 else f"…{frame.file[-43:]}"
    axis.set_title(f"{_format_verdict(frame, classes)}\n{name}", fontsize=8)


def _format_verdict(frame: ShownFrame, classes: Sequence[str]) -> str:
    """Class, probability and size of the prediction set, or the OOD flag of the frame."""
    best = int(frame.prediction.probabilities.argmax())
    probability = frame.prediction.probabilities[best]
    if frame.row["unknown"]:
        return f"OOD (p = {frame.row['ood_p_value']:.3f}); nearest {classes[best]}"
    size = frame.row["set_size"]
    others = f"  or {size - 1} more" if size is not None and size > 1 else ""
    return f"{classes[best]}  p = {probability:.2f}{others}"


_ALL = "all"
_GROUPS = {
    "validation": ("validation (in-distribution)", GREY, ":"),
    "test": ("test (in-distribution)", BLUE, "-"),
    "ood": ("out-of-distribution material", ORANGE, "-"),
}


def plot_prediction_sets(sets: Mapping[str, Any]) -> Figure:
    """Coverage and mean size of the prediction sets per class, with intervals over areas.

    Parameters
    ----------
    sets
        Result of `score_sets`.
    """
    rows = [(_ALL, sets), *sets["per_class"].items()]
    names = [name for name, _ in rows]
    figure = Figure(figsize=(8.0, 1.2 + 0.28 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    scores = [row["coverage"] for _, row in rows]
    draw_intervals(left, range(len(rows)), scores, color=BLUE, markersize=4)
    left.axvline(sets["target"], color=GREY, linestyle=":")
    left.set_title(f"dotted: target {sets['target']:.0%}", fontsize=9)
    left.set_xlim(-0.02, 1.02)
    left.set_xlabel("coverage (fraction of crops)")
    left.set_yticks(range(len(names)), names, fontsize=8)
    left.set_ylim(len(names) - 0.4, -0.6)
    scores = [row["mean_size"] for _, row in rows]
    draw_intervals(right, range(len(rows)), scores, color=BLUE, markersize=4)
    right.set_xlim(left=0.0, right=len(sets["per_class"]) + 0.1)
    right.set_xlabel("mean size of a prediction set")
    for axes in (left, right):
        axes.axhline(0.5, color=GREY, linewidth=0.6)
        axes.grid(axis="x", alpha=0.3)
    return figure


def plot_ood_scores(flag: Mapping[str, Any]) -> Figure:
    """OOD scores of validation, test and OOD crops, with the threshold of the flag.

    Parameters
    ----------
    flag
        Result of `score_flag`.
    """
    histogram = flag["histogram"]
    edges = np.asarray(histogram["edges"])
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, share in histogram["share"].items():
        label, colour, style = _GROUPS[name]
        axes.stairs(
            share,
            edges,
            color=colour,
            linestyle=style,
            linewidth=1.5,
            fill=False,
            label=label,
        )
        if style == "-":
            axes.stairs(share, edges, color=colour, alpha=0.18, fill=True)
    axes.axvline(histogram["threshold"], color="black", linewidth=1.0, label="flagged above")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel("OOD score (robust z, validation median = 0; last bin: and more)")
    axes.set_ylabel("fraction of crops (areas weigh equally)")
    auroc = flag["auroc"]
    headline = (
        "no out-of-distribution frames"
        if auroc is None
        else f"AUROC {write_interval(auroc['score'], digits=3)}"
    )
    axes.set_title(
        f"{headline}; false alarms {write_interval(flag['false_alarms'], digits=3)}", fontsize=10
    )
    axes.legend(frameon=False, fontsize=8)
    return figure
