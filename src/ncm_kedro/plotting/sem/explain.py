"""Figures of attribution maps of a classifier: crops of each class, of each kind, errors."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ncm_kedro.learning.models.classifier import ClassifierSettings
from ncm_kedro.plotting.axes import annotate_empty
from ncm_kedro.plotting.style import BLUE, ORANGE
from ncm_kedro.sem.explain.attention import ExplainedCrops
from ncm_kedro.sem.explain.crops import CONFIDENT, KINDS, MISCLASSIFIED

_STATE_ORDER = ("pristine", "formation", "cycled")
_MAX_ERRORS = 6
_BRIGHTEST = 99.5
_OPACITY = 0.75
_BAR_UM = (50.0, 20.0, 10.0, 5.0, 2.0, 1.0)


def plot_class_maps(explained: ExplainedCrops, settings: ClassifierSettings) -> Figure:
    """Draw the most confident correct crop of each class with its maps (as Fig. 2a of Oh et al.).

    Parameters
    ----------
    explained
        Crops with their maps.
    settings
        Classes with composition (rows) and state (columns).
    """
    compositions = sorted(set(settings.compositions))
    states = sorted(set(settings.states), key=_rank_state)
    figure = Figure(
        figsize=(0.4 + 4.3 * len(states), 0.9 + 1.62 * len(compositions)), layout="constrained"
    )
    outer = figure.subfigures(len(compositions), len(states), squeeze=False, wspace=0.03)
    for name, composition, state in zip(
        settings.classes, settings.compositions, settings.states, strict=True
    ):
        part = outer[compositions.index(composition), states.index(state)]
        panels = part.subplots(1, 3)
        row = _find_first(explained.table, name, CONFIDENT)
        if row is None:
            part.suptitle(f"{name}: no test crop is right", fontsize=8)
        else:
            share = explained.table["probability"].iloc[row]
            part.suptitle(f"{name}   p = {share:.2f}", fontsize=8)
            _draw_triplet(panels, explained, row)
        for axes in panels:
            axes.set_axis_off()
    figure.suptitle("most confident correct crop: image, Grad-CAM, guided Grad-CAM", fontsize=10)
    return figure


def plot_kind_maps(explained: ExplainedCrops) -> Figure:
    """Draw one crop of each kind and true class with its Grad-CAM.

    Parameters
    ----------
    explained
        Crops with their maps.
    """
    table = explained.table
    classes = sorted(table["class"].unique())
    kinds = [kind for kind in KINDS if (table["kind"] == kind).any()]
    figure = Figure(
        figsize=(0.8 + 2.7 * len(kinds), 0.6 + 1.5 * len(classes)), layout="constrained"
    )
    panels = figure.subplots(len(classes), 2 * len(kinds), squeeze=False)
    for axes in panels.ravel():
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    for place, name in enumerate(classes):
        panels[place, 0].set_ylabel(name, fontsize=8)
        for column, kind in enumerate(kinds):
            row = _find_first(table, name, kind)
            left, right = panels[place, 2 * column : 2 * column + 2]
            if row is None:
                left.text(0.5, 0.5, "none", fontsize=8, ha="center", transform=left.transAxes)
                continue
            show_crop(left, explained, row)
            _show_overlay(right, explained, row)
            entry = table.iloc[row]
            left.set_title(
                f"{entry['predicted']}  {entry['probability']:.2f}", fontsize=7, loc="left"
            )
    for column, kind in enumerate(kinds):
        top = panels[0, 2 * column]
        top.set_title(f"{kind}\n{top.get_title(loc='left')}", fontsize=8, loc="left")
    figure.suptitle("by true class: predicted class, its probability and Grad-CAM", fontsize=10)
    return figure


def plot_error_maps(
    explained: ExplainedCrops, settings: ClassifierSettings, predictions: pd.DataFrame
) -> Figure:
    """Draw errors: crop, Grad-CAM of the two leading classes, all probabilities (as Fig. 2b).

    Parameters
    ----------
    explained
        Crops with their maps.
    settings
        Classes.
    predictions
        Probabilities of every class by `crop_id`.
    """
    table = explained.table.reset_index(drop=True)
    wrong = table[(table["kind"] == MISCLASSIFIED) & (table["target_rank"] == 1)]
    wrong = wrong.sort_values("probability", ascending=False).head(_MAX_ERRORS)
    if wrong.empty:
        figure = Figure(figsize=(6.4, 1.6), layout="constrained")
        axes = figure.subplots()
        axes.set_axis_off()
        annotate_empty(axes, "no error to explain among the test crops")
        return figure
    figure = Figure(figsize=(8.6, 0.6 + 2.2 * len(wrong)), layout="constrained")
    panels = figure.subplots(len(wrong), 4, squeeze=False, width_ratios=[1, 1, 1, 1.35])
    by_crop = predictions.set_index("crop_id")
    for row, axes in zip(wrong.index, panels, strict=True):
        _draw_error(axes, explained, int(row), by_crop, settings.classes)
    return figure


def _draw_triplet(panels: Sequence[Axes], explained: ExplainedCrops, row: int) -> None:
    show_crop(panels[0], explained, row)
    _show_overlay(panels[1], explained, row)
    panels[2].imshow(
        scale_map(np.abs(explained.maps.guided_nyx[row])), cmap="inferno", vmin=0, vmax=1
    )


def _draw_error(
    axes: Sequence[Axes],
    explained: ExplainedCrops,
    row: int,
    by_crop: pd.DataFrame,
    classes: Sequence[str],
) -> None:
    table = explained.table
    crop_id = str(table["crop_id"].iloc[row])
    same = (table["crop_id"] == crop_id) & (table["kind"] == MISCLASSIFIED)
    second = int(np.flatnonzero((same & (table["target_rank"] == 2)).to_numpy())[0])
    true = str(table["class"].iloc[row])
    show_crop(axes[0], explained, row)
    axes[0].set_title(f"true: {true}", fontsize=8)
    for panel, at in zip(axes[1:3], (row, second), strict=True):
        _show_overlay(panel, explained, at)
        target, share = table["target"].iloc[at], table["p_target"].iloc[at]
        panel.set_title(f"{target}  p = {share:.2f}", fontsize=8)
    for panel in axes[:3]:
        panel.set_axis_off()
    shares = by_crop.loc[crop_id, [f"p_{name}" for name in classes]].to_numpy(np.float64)
    colours = [ORANGE if name == true else BLUE for name in classes]
    axes[3].barh(range(len(classes)), shares, color=colours)
    axes[3].set_yticks(range(len(classes)), classes, fontsize=7)
    axes[3].invert_yaxis()
    axes[3].set_xlim(0.0, 1.0)
    axes[3].set_xlabel("probability (orange: true class)", fontsize=7)
    axes[3].tick_params(axis="x", labelsize=7)


def show_crop(axes: Axes, explained: ExplainedCrops, row: int) -> None:
    """Show a crop with a scale bar.

    Parameters
    ----------
    axes
        Where to draw.
    explained, row
        The crops, and which of them.
    """
    grey_yx = explained.inputs.grey_nyx[row]
    axes.imshow(_stretch(grey_yx), cmap="gray", vmin=0, vmax=1)
    height, width = grey_yx.shape
    pixel_um = explained.inputs.pixel_size_um
    length_um = next((um for um in _BAR_UM if um / pixel_um <= 0.4 * width), _BAR_UM[-1])
    x, y = 0.06 * width, 0.93 * height
    axes.plot([x, x + length_um / pixel_um], [y, y], color="white", linewidth=2)
    axes.text(
        x, y - 0.04 * height, f"{length_um:g} µm", color="white", fontsize=7,
        bbox={"facecolor": "black", "alpha": 0.45, "pad": 0.8, "edgecolor": "none"},
    )  # fmt: skip


def _show_overlay(axes: Axes, explained: ExplainedCrops, row: int) -> None:
    """Show a crop under its Grad-CAM: the stronger, the brighter and the more opaque."""
    grey = np.repeat(_stretch(explained.inputs.grey_nyx[row])[..., None], 3, axis=2)
    strength = scale_map(explained.maps.grad_cam_nyx[row])
    colours: Colormap = matplotlib.colormaps["inferno"]
    opacity = _OPACITY * np.sqrt(strength)[..., None]
    axes.imshow(grey * (1.0 - opacity) + colours(strength)[..., :3] * opacity)


def _stretch(grey_yx: NDArray[np.uint8]) -> NDArray[np.float64]:
    low, high = np.percentile(grey_yx, [0.5, 99.5])
    return np.asarray(np.clip((grey_yx - low) / max(high - low, 1.0), 0.0, 1.0))


def scale_map(map_yx: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scale a map to [0, 1]; an empty one stays 0.

    Parameters
    ----------
    map_yx
        (H, W), 0 or more; the brightest few pixels are cut off.
    """
    top = float(np.percentile(map_yx, _BRIGHTEST)) or float(map_yx.max())
    if top <= 0.0:
        return np.zeros(map_yx.shape)
    return np.asarray(np.clip(map_yx / top, 0.0, 1.0), dtype=np.float64)


def _find_first(table: pd.DataFrame, name: str, kind: str) -> int | None:
    rows = np.flatnonzero(((table["class"] == name) & (table["kind"] == kind)).to_numpy())
    return int(rows[0]) if len(rows) else None


def _rank_state(state: str) -> tuple[int, str]:
    known = _STATE_ORDER.index(state) if state in _STATE_ORDER else len(_STATE_ORDER)
    return known, state
