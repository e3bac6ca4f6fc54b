"""Figures of prediction sets and of the unknown-sample flag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_BLUE, _ORANGE, _GREY = "#2b6ca3", "#d9731a", "#8a8a8a"
_ALL = "all"
_GROUPS = {
    "validation": ("validation (known)", _GREY, ":"),
    "test": ("test (known)", _BLUE, "-"),
    "foreign": ("another material", _ORANGE, "-"),
}


def plot_prediction_sets(sets: Mapping[str, Any]) -> Figure:
    """Coverage and mean size of the sets per class, with intervals over areas.

    Parameters
    ----------
    sets
        Result of `score_sets`.
    """
    rows = [(_ALL, sets), *sets["per_class"].items()]
    names = [name for name, _ in rows]
    figure = Figure(figsize=(8.0, 1.2 + 0.28 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_intervals(left, rows, "coverage")
    left.axvline(sets["target"], color=_GREY, linestyle=":")
    left.set_title(f"dotted: target {sets['target']:.0%}", fontsize=9)
    left.set_xlim(-0.02, 1.02)
    left.set_xlabel("sets that hold the true class (share)")
    left.set_yticks(range(len(names)), names, fontsize=8)
    left.set_ylim(len(names) - 0.4, -0.6)
    _draw_intervals(right, rows, "mean_size")
    right.set_xlim(left=0.0, right=len(sets["per_class"]) + 0.1)
    right.set_xlabel("classes in a set (mean)")
    for axes in (left, right):
        axes.axhline(0.5, color=_GREY, linewidth=0.6)
        axes.grid(axis="x", alpha=0.3)
    return figure


def plot_unknown_scores(flag: Mapping[str, Any]) -> Figure:
    """Strangeness of validation, test and foreign crops, with the threshold of the flag.

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
    axes.set_xlabel("strangeness (spreads above the validation median; last bin: and more)")
    axes.set_ylabel("share of crops, areas alike")
    auroc = flag["auroc"]
    told = "no frames of another material" if auroc is None else f"AUROC {_say(auroc['score'])}"
    axes.set_title(f"{told}; false alarms {_say(flag['false_alarms'])}", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    return figure


def _draw_intervals(axes: Axes, rows: list[tuple[str, Mapping[str, Any]]], score: str) -> None:
    values = np.array([row[score]["value"] for _, row in rows])
    spread = [
        values - [row[score]["low"] for _, row in rows],
        [row[score]["high"] for _, row in rows] - values,
    ]
    axes.errorbar(
        values,
        np.arange(len(rows)),
        xerr=np.maximum(spread, 0.0),
        fmt="o",
        markersize=4,
        capsize=3,
        color=_BLUE,
    )


def _say(entry: Mapping[str, float]) -> str:
    return f"{entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"
