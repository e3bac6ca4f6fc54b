"""Figures of the studies, each drawn from its report alone (`sem.experiments.study_scores`)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ncm_kedro.plotting.axes import draw_intervals
from ncm_kedro.plotting.style import BLUE, GREEN, GREY, ORANGE

_COLOURS = {"texture": BLUE, "network": ORANGE}
_NAMES = {"texture": "texture baseline", "network": "network"}
_SPLITS = {"train": (GREY, "training"), "validate": (BLUE, "validation"), "test": (ORANGE, "test")}
_CURVES = {
    "train_accuracy": "training accuracy",
    "validation_balanced_accuracy": "validation balanced accuracy",
}
_MARKERS = "osD^vPX*"
_WIDTH_IN = 7.4
_COLUMNS = 4
_LINE_CHARACTERS = 115

Row = Mapping[str, Any]


def plot_study(report: Mapping[str, Any]) -> Figure:
    """Draw a study: scores with intervals, learning curves, or histograms of grey levels.

    Parameters
    ----------
    report
        Part of the result of `run_study`; a report that was read back from JSON does as well.
    """
    scored = [row for row in report["rows"] if row.get("balanced_accuracy") is not None]
    trained = [entry for entry in report.get("history", ()) if len(entry["epochs"]) > 1]
    report = {**report, "history": trained}  # one epoch is no curve
    if "histograms" in report:
        return _plot_histograms(report)
    if not scored:
        return _plot_statement(report)
    if report["study"] in ("crop_size", "image_count"):
        return _plot_numbers(report, scored)
    return _plot_names(report, scored)


def _plot_statement(report: Mapping[str, Any]) -> Figure:
    """Write out why nothing was run."""
    reasons = dict.fromkeys(gap["reason"] for gap in report["skipped"])
    lines = [line for text in reasons for line in textwrap.wrap(text, _LINE_CHARACTERS)]
    figure = Figure(figsize=(_WIDTH_IN, 0.5 + 0.15 * len(lines)), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_title(f"{report['title']}: not run", fontsize=10, loc="left")
    axes.text(0.0, 1.0, "\n".join(lines), fontsize=8, va="top", transform=axes.transAxes)
    return figure


def _plot_numbers(report: Mapping[str, Any], scored: Sequence[Row]) -> Figure:
    """Learning curves and scores by crop size or count (Oh et al. 2024, Fig. 3a-c, e-f)."""
    timed = report["study"] == "image_count" and bool(report["history"])
    panels = 1 + (len(_CURVES) if report["history"] else 0) + timed
    rows = -(-panels // 2)
    figure = Figure(figsize=(_WIDTH_IN, 2.9 * rows), layout="constrained")
    places = iter(figure.subplots(rows, min(panels, 2), squeeze=False).ravel())
    if report["history"]:
        for field, label in _CURVES.items():
            _draw_curves(next(places), report["history"], field, label)
    axes = next(places)
    _draw_scores_by_value(axes, report, scored)
    if timed:
        _draw_times(next(places), report, scored)
    for rest in places:
        rest.set_axis_off()
    figure.suptitle(report["title"], fontsize=10)
    return figure


def _plot_names(report: Mapping[str, Any], scored: Sequence[Row]) -> Figure:
    """Scores of named points beside each other, and validation curves."""
    names = list(dict.fromkeys(row["point"] for row in report["rows"]))
    wide = bool(report["history"])
    height = max(2.6, 1.3 + 0.42 * len(names))
    figure = Figure(figsize=(_WIDTH_IN, height), layout="constrained")
    axes, *others = figure.subplots(1, 1 + wide, squeeze=False)[0]
    _draw_scores_by_name(axes, report, scored, names)
    for curves in others:
        label = _CURVES["validation_balanced_accuracy"]
        _draw_curves(curves, report["history"], "validation_balanced_accuracy", label)
    figure.suptitle(report["title"], fontsize=10)
    return figure


def _plot_histograms(report: Mapping[str, Any]) -> Figure:
    """Grey levels of each class, split by split (Oh et al. 2024, Supp. Figs. 2-3)."""
    histograms = report["histograms"]
    columns = min(_COLUMNS, len(histograms))
    rows = -(-len(histograms) // columns)
    figure = Figure(figsize=(_WIDTH_IN, 0.7 + 1.55 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    places = panels.ravel()
    for axes, (name, splits) in zip(places, histograms.items(), strict=False):
        for split, shares in splits.items():
            colour, label = _SPLITS[split]
            edges = np.linspace(0.0, 256.0, len(shares) + 1)
            axes.stairs(100.0 * np.asarray(shares), edges, color=colour, label=label, linewidth=1.2)
        axes.set_title(name.replace("_", " "), fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    inner = [max(shares[1:-1]) for splits in histograms.values() for shares in splits.values()]
    places[0].set_ylim(0.0, 115.0 * max(inner))
    for axes in places[len(histograms) :]:
        axes.set_axis_off()
    handles, labels = places[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    figure.supxlabel(
        "grey level of the frame (0-255; peaks of clipped pixels at both ends are cut off)",
        fontsize=8,
    )
    figure.supylabel("fraction of pixels (% per 4 levels)", fontsize=8)
    return figure


def _draw_curves(axes: Axes, history: Sequence[Row], field: str, label: str) -> None:
    """One curve per trained point; colour and marker follow the order of points."""
    colours = mpl.colormaps["viridis"](np.linspace(0.0, 0.88, len(history)))
    for number, entry in enumerate(history):
        axes.plot(
            [epoch["epoch"] for epoch in entry["epochs"]],
            [epoch[field] for epoch in entry["epochs"]],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=3.5,
            linewidth=1.2,
            color=colours[number],
            label=entry["point"],
        )
    axes.set_xlabel("epoch", fontsize=8)
    axes.set_ylabel(label, fontsize=8)
    axes.set_ylim(0.0, 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=7, ncols=2 if len(history) > 4 else 1, loc="lower right")
    _finish(axes)


def _draw_scores_by_value(axes: Axes, report: Mapping[str, Any], scored: Sequence[Row]) -> None:
    for model in dict.fromkeys(row["model"] for row in scored):
        rows = [row for row in scored if row["model"] == model]
        draw_intervals(
            axes, [row["value"] for row in rows], rows, "balanced_accuracy", vertical=True,
            fmt="o-", markersize=4, color=_COLOURS[model], label=_NAMES[model],
        )  # fmt: skip
    axes.axhline(1.0 / report["classes"], color=GREY, linestyle=":", label="chance")
    axes.set_xlabel(report["varied"], fontsize=8)
    axes.set_ylabel(_name_score(report), fontsize=8)
    axes.set_ylim(0.0, 1.02)
    axes.legend(frameon=False, fontsize=7, loc="lower right", bbox_to_anchor=(1.0, 0.1))
    _finish(axes)


def _draw_times(axes: Axes, report: Mapping[str, Any], scored: Sequence[Row]) -> None:
    rows = [row for row in scored if row["seconds_per_epoch"] is not None]
    axes.plot(
        [row["value"] for row in rows],
        [row["seconds_per_epoch"] for row in rows],
        "o-",
        markersize=4,
        color=GREEN,
    )
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel(report["varied"], fontsize=8)
    axes.set_ylabel("time of an epoch (s)", fontsize=8)
    _finish(axes)


def _draw_scores_by_name(
    axes: Axes, report: Mapping[str, Any], scored: Sequence[Row], names: Sequence[str]
) -> None:
    models = list(dict.fromkeys(row["model"] for row in scored))
    for model in models:
        rows = [row for row in scored if row["model"] == model]
        shift = 0.24 * (models.index(model) - (len(models) - 1) / 2)
        places = [names.index(row["point"]) + shift for row in rows]
        draw_intervals(
            axes, places, rows, "balanced_accuracy", color=_COLOURS[model], label=_NAMES[model]
        )
    for gap in report["skipped"]:
        axes.text(0.2, names.index(gap["point"]), "not run", fontsize=7, va="center", color=GREY)
    axes.axvline(1.0 / report["classes"], color=GREY, linestyle=":", label="chance")
    wrapped = [textwrap.fill(name, 18) for name in names]
    axes.set_yticks(range(len(names)), wrapped)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel(_name_score(report), fontsize=8)
    axes.legend(frameon=False, fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    _finish(axes)


def _name_score(report: Mapping[str, Any]) -> str:
    return f"test balanced accuracy ({report['confidence']:.0%} intervals)"


def _finish(axes: Axes) -> None:
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
