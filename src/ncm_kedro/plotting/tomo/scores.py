"""Figures of scores against the ground truth, and of the detector's training.

Sections that compare methods with each other and the ground truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ncm_kedro.plotting.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    FloatArray,
    LabelArray,
    draw_outlines,
    stretch_grey,
)
from ncm_kedro.plotting.tomo.cuts import Plane, SectionCut, cut_section
from ncm_kedro.tomo.volumes.volume import Volume

_COLOURS = (BLUE, ORANGE, GREEN, "#7b4ea3", GREY)
_SHARES = {
    "ap_50": "AP at\nIoU 0.5",
    "ap_70": "AP at\nIoU 0.7",
    "ap_90": "AP at\nIoU 0.9",
    "panoptic_quality": "panoptic\nquality",
}
_COUNTS = {"splits": "particles split", "merges": "particles merged"}
_DISTANCES = {"surface_mean_um": "mean", "surface_p95_um": "95th percentile"}


def plot_segmentation_scores(scores: pd.DataFrame) -> Figure:
    """Show the scores of each method as bars: agreement, splits and merges, surface distance.

    Parameters
    ----------
    scores
        A row per sample and method: ``sample, method, ap_50, ap_70, ap_90, panoptic_quality,
        splits, merges, surface_mean_um, surface_p95_um``. Methods keep their order.
    """
    samples = list(dict.fromkeys(scores["sample"]))
    methods = list(dict.fromkeys(scores["method"]))
    figure = Figure(figsize=(11.0, 0.7 + 2.7 * max(1, len(samples))), layout="constrained")
    panels = figure.subplots(
        max(1, len(samples)), 3, squeeze=False, width_ratios=[4, 2, 2], sharey="col"
    )
    for row, sample in zip(panels, samples, strict=False):
        table = scores[scores["sample"] == sample].set_index("method").reindex(methods)
        _draw_bars(row[0], table, _SHARES, digits=2)
        row[0].set_ylim(0.0, 1.12)
        row[0].set_title(f"{sample}: agreement with the ground truth", fontsize=10)
        _draw_bars(row[1], table, _COUNTS, digits=0)
        row[1].set_title("false splits and merges", fontsize=10)
        _draw_bars(row[2], table, _DISTANCES, digits=2)
        row[2].set_title("surface distance / µm", fontsize=10)
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    return figure


def plot_detector_curves(history: pd.DataFrame) -> Figure:
    """Show the training's loss, validation loss and step size by epoch.

    Parameters
    ----------
    history
        A row per epoch: ``epoch, loss, val_loss``, and where there are ``prob_loss``,
        ``dist_loss``, ``val_prob_loss``, ``val_dist_loss`` and ``learning_rate``.
    """
    parts = [part for part in ("", "prob_", "dist_") if f"{part}loss" in history]
    figure = Figure(figsize=(3.7 * len(parts) + 3.2, 3.4), layout="constrained")
    panels = figure.subplots(1, len(parts) + 1)
    names = {"": "total loss", "prob_": "probability (BCE)", "dist_": "distance (MAE / px)"}
    epochs = history["epoch"].to_numpy()
    best = epochs[int(np.nanargmin(history["val_loss"].to_numpy(dtype=np.float64)))]
    for axes, part in zip(panels[:-1], parts, strict=True):
        pairs = {f"{part}loss": ("training", ORANGE), f"val_{part}loss": ("validation", BLUE)}
        for key, (name, colour) in pairs.items():
            if key in history:
                axes.plot(epochs, history[key], color=colour, label=name)
        axes.axvline(best, color=GREY, linestyle=":", label=f"lowest validation: epoch {best}")
        axes.set_title(names[part], fontsize=10)
        axes.legend(frameon=False, fontsize=8)
    if "learning_rate" in history:
        panels[-1].plot(epochs, history["learning_rate"], color=GREEN)
        panels[-1].set_yscale("log")
    panels[-1].set_title("step size", fontsize=10)
    for axes in panels:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    return figure


def plot_detector_examples(
    images_yx: Sequence[FloatArray],
    truths_yx: Sequence[LabelArray],
    predictions_yx: Sequence[LabelArray],
    *,
    titles: Sequence[str] = (),
    columns: int = 4,
) -> Figure:
    """Show held-out sections with true outlines (white) and predicted ones (orange).

    Parameters
    ----------
    images_yx, truths_yx, predictions_yx
        Grey values, true and predicted labels of each section, (H, W) each.
    titles
        A line above each section, or none.
    columns
        Sections beside each other.
    """
    count = max(1, len(images_yx))
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.2 * columns, 3.3 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for place, (image, truth, found) in enumerate(
        zip(images_yx, truths_yx, predictions_yx, strict=True)
    ):
        panels[place].imshow(stretch_grey(image), cmap="gray", vmin=0, vmax=1)
        draw_outlines(panels[place], truth, colour="white", width_pt=1.6)
        draw_outlines(panels[place], found, colour="#ff7f1e", width_pt=0.9)
        if place < len(titles):
            panels[place].set_title(titles[place], fontsize=9)
    figure.suptitle("white: ground truth, orange: detected", fontsize=9)
    return figure


def _draw_bars(axes: Axes, table: pd.DataFrame, columns: Mapping[str, str], *, digits: int) -> None:
    places = np.arange(len(columns))
    width = 0.8 / max(1, len(table))
    for number, (method, row) in enumerate(table.iterrows()):
        values = row[list(columns)].to_numpy(dtype=np.float64)
        at = places + (number - (len(table) - 1) / 2) * width
        bars = axes.bar(
            at,
            np.nan_to_num(values),
            width * 0.94,
            color=_COLOURS[number % len(_COLOURS)],
            label=str(method),
        )
        texts = ["n/a" if np.isnan(value) else f"{value:.{digits}f}" for value in values]
        axes.bar_label(bars, texts, fontsize=7, padding=2, rotation=90 if width < 0.18 else 0)
    axes.set_xticks(places, list(columns.values()), fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.2)


TRUTH = "truth"
_NORMAL: dict[Plane, int] = {"xy": 0, "xz": 1}


def compare_sections(
    image: Volume, methods: Mapping[str, Volume], truth_zyx: NDArray[np.integer]
) -> list[tuple[SectionCut, dict[str, LabelArray]]]:
    """Cut two sections through the centre, with the ground truth and the labels of each method.

    Parameters
    ----------
    image
        Grey volume, small enough to be shown at full resolution.
    truth_zyx
        Ground-truth labels (Z, Y, X).

    Returns
    -------
    list of (SectionCut, dict)
        A row of panels each: the section, and labels (H, W) by method, `TRUTH` first.
    """
    edge = max(image.shape_zyx)
    rows = []
    for plane, normal in _NORMAL.items():
        index = image.shape_zyx[normal] // 2
        at = (index + 0.5) / image.shape_zyx[normal]
        cut = cut_section(image, plane, at=at, max_px=edge)
        arrays = {TRUTH: truth_zyx, **{name: volume.array for name, volume in methods.items()}}
        labels: dict[str, LabelArray] = {
            name: _take(array, normal, index) for name, array in arrays.items()
        }
        rows.append((cut, labels))
    return rows


def _take(labels_zyx: Any, normal: int, index: int) -> NDArray[np.uint32]:
    region: list[slice | int] = [slice(None)] * 3
    region[normal] = index
    return np.asarray(labels_zyx[tuple(region)]).astype(np.uint32)
