"""Figures of training, search and evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ncm_kedro.plotting.axes import draw_intervals
from ncm_kedro.plotting.style import BLUE, GREEN, GREY, ORANGE, PURPLE

_SCORES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced\naccuracy",
    "macro_f1": "macro\nF1",
}


def plot_training_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Loss and accuracy of both splits over epochs.

    Parameters
    ----------
    history
        Epoch records as mappings (`dataclasses.asdict`).
    """
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [record["epoch"] for record in history]
    _draw_curve(left, epochs, history, {"train_loss": "training", "validation_loss": "validation"})
    left.set_ylabel("cross entropy (nats)")
    left.set_ylim(bottom=0.0)
    names = {"train_accuracy": "training", "validation_balanced_accuracy": "validation, balanced"}
    _draw_curve(right, epochs, history, names)
    right.set_ylabel("accuracy")
    right.set_ylim(0.0, 1.02)
    best = int(np.argmax([record["validation_score"] for record in history]))
    for axes in (left, right):
        axes.axvline(
            epochs[best], color=GREY, linestyle=":", label=f"selected: epoch {epochs[best]:g}"
        )
        axes.legend(frameon=False, fontsize=8)
    return figure


def plot_confusion(confusion: Sequence[Sequence[int]], names: Sequence[str], title: str) -> Figure:
    """Confusion matrix: colour and first number are fractions of the true class, below it crops.

    Parameters
    ----------
    confusion
        (K, K) crops, true class by row.
    names
        Class names.
    title
        What was evaluated.
    """
    counts = np.asarray(confusion, dtype=np.int64)
    support = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
    side = max(4.0, 0.62 * len(names) + 2.2)
    figure = Figure(figsize=(side, side * 0.92), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    for row, column in np.argwhere(counts > 0):
        axes.text(
            column,
            row,
            f"{100 * share[row, column]:.0f}%\n{counts[row, column]}",
            ha="center",
            va="center",
            fontsize=7,
            color="white" if share[row, column] > 0.55 else "black",
        )
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=10)
    figure.colorbar(picture, ax=axes, shrink=0.75, label="fraction of the true class")
    return figure


def plot_reliability(calibration: Mapping[str, Any], temperature: float) -> Figure:
    """Confidence against accuracy, and how many crops lie where.

    Parameters
    ----------
    calibration
        Part `calibration` of `evaluate_predictions`.
    temperature
        Temperature that the logits were divided by.
    """
    figure = Figure(figsize=(4.6, 4.8), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    confidence, count = calibration["confidence"], calibration["count"]
    upper.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="perfect")
    upper.plot(confidence, calibration["accuracy"], "o-", color=BLUE, label="measured")
    upper.set_ylabel("accuracy")
    upper.set_ylim(0.0, 1.02)
    upper.set_title(
        f"expected calibration error {calibration['expected_error']:.3f}, "
        f"temperature {temperature:.2f}",
        fontsize=10,
    )
    upper.legend(frameon=False, fontsize=8)
    lower.bar(confidence, count, width=0.04, color=BLUE)
    lower.set_yscale("symlog", linthresh=10)
    lower.set_ylabel("crops")
    lower.set_xlabel("confidence")
    lower.set_xlim(0.0, 1.02)
    return figure


def plot_scores(reports: Mapping[str, Mapping[str, Any]], chance: float | None = None) -> Figure:
    """Scores with their intervals, models beside each other, for class, composition and state.

    Parameters
    ----------
    reports
        Results of `evaluate_predictions` by model name.
    chance
        Chance level, drawn as a line.
    """
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    colours = [BLUE, ORANGE, GREY, GREEN, PURPLE]
    for axes, role in zip(panels, ("class", "composition", "state"), strict=True):
        for place, (name, report) in enumerate(reports.items()):
            parts = [report[role][score] for score in _SCORES]
            at = np.arange(len(parts)) + (place - (len(reports) - 1) / 2) * 0.22
            colour = colours[place % len(colours)]
            draw_intervals(
                axes, at, parts, vertical=True, color=colour, label=name, markersize=None
            )
        axes.set_xticks(range(len(_SCORES)), list(_SCORES.values()), fontsize=8)
        axes.set_xlim(-0.6, len(_SCORES) - 0.4)
        axes.set_title(role, fontsize=10)
        axes.grid(axis="y", alpha=0.3)
    if chance is not None:
        panels[0].axhline(chance, color=GREY, linestyle=":", label="chance")
    panels[0].set_ylim(0.0, 1.02)
    panels[0].set_ylabel("score, interval over areas")
    panels[0].legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def plot_class_report(part: Mapping[str, Any], title: str) -> Figure:
    """Precision, recall, F1, crops and areas of each class as a table.

    Parameters
    ----------
    part
        Part `class`, `composition` or `state` of `evaluate_predictions`.
    title
        What was evaluated.
    """
    columns = ("precision", "recall", "f1", "crops", "areas")
    rows = [
        [_format_cell(part["per_class"][name][column]) for column in columns]
        for name in part["names"]
    ]
    figure = Figure(figsize=(6.4, 0.9 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_title(title, fontsize=10)
    table = axes.table(
        cellText=rows,
        rowLabels=list(part["names"]),
        colLabels=["precision", "recall", "F1", "crops", "areas"],
        cellLoc="center",
        loc="center",
    )
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    table.scale(1.0, 1.3)
    return figure


def plot_trials(trials: Sequence[Mapping[str, Any]]) -> Figure:
    """Best validation score of each trial by learning rate; size grows with batch size.

    Parameters
    ----------
    trials
        Rows of a `SearchResult`; none where the search is switched off.
    """
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    styles = {"finished": (BLUE, "o"), "stopped": (ORANGE, "s")}
    for status, (colour, marker) in styles.items():
        rows = [row for row in trials if row["status"] == status]
        if rows:
            axes.scatter(
                [row["learning_rate"] for row in rows],
                [row["best_score"] for row in rows],
                s=[20.0 + 3.0 * row["batch_size"] for row in rows],
                c=colour,
                marker=marker,
                label=f"{status} ({len(rows)})",
                alpha=0.8,
            )
    failed = [row["learning_rate"] for row in trials if row["status"] == "failed"]
    if failed:
        axes.scatter(failed, np.zeros(len(failed)), c="black", marker="x", label="failed")
    axes.set_xscale("log")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("best validation score")
    axes.grid(alpha=0.3)
    if trials:
        axes.legend(frameon=False, fontsize=8)
    else:
        axes.text(0.5, 0.5, "search switched off", ha="center", transform=axes.transAxes)
    return figure


def _draw_curve(
    axes: Axes,
    epochs: Sequence[float],
    history: Sequence[Mapping[str, float]],
    names: Mapping[str, str],
) -> None:
    for (key, label), colour in zip(names.items(), (ORANGE, BLUE), strict=True):
        values: NDArray[np.float64] = np.array([record[key] for record in history])
        axes.plot(epochs, values, color=colour, label=label, marker="." if len(values) < 40 else "")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)


def _format_cell(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
