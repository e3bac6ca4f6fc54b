"""Figures of attention to boundaries beside its controls, and of the check of the maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from ncm_kedro.learning.explain.maps import GRAD_CAM, GUIDED, CascadeStep
from ncm_kedro.plotting.sem.explain import scale_map, show_crop
from ncm_kedro.plotting.style import BLUE, GREY, ORANGE
from ncm_kedro.sem.explain.attention import ExplainedCrops
from ncm_kedro.sem.explain.crops import BOUNDARY, RANDOM

MAP_NAMES = {GRAD_CAM: "Grad-CAM", GUIDED: "guided Grad-CAM"}

_COLOURS = {GRAD_CAM: BLUE, GUIDED: ORANGE}
_EXAMPLES = 4
_SHOWN_STEPS = 7
_REGIONS = {
    "boundary": "on boundaries",
    "inside": "inside particles",
    "between": "between particles",
}
_LINES = {
    "ratio": "map",
    "control": "same map, placed at random",
    "other_crops": "maps of other areas",
    "untrained": "network with shuffled weights",
    "ceiling": "boundary itself, as coarse as Grad-CAM",
}


def plot_boundaries(explained: ExplainedCrops) -> Figure:
    """Draw what counts as boundary, ratios beside controls, and ratios by region and class.

    Parameters
    ----------
    explained
        Crops with maps, regions and report.
    """
    report = explained.report
    figure = Figure(figsize=(12.0, 6.6), layout="constrained")
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.0, 1.25])[:, 0]
    _draw_examples(top, explained)
    left, middle, right = bottom.subplots(1, 3, width_ratios=[1.3, 0.9, 1.0])
    _draw_controls(left, report)
    _draw_pairs(middle, report, "regions")
    middle.set_xlabel("mean attribution by region\n(whole crop: 1)", fontsize=8)
    _draw_pairs(right, report, "by_class")
    right.set_xlabel("attribution on / off boundaries\nby true class", fontsize=8)
    for axes in (left, middle, right):
        axes.tick_params(axis="x", labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    share = 100 * report["confidence"]
    figure.suptitle(
        f"{report['crops']} random test crops of {report['areas']} areas; band "
        f"{report['band_um']:g} µm wide ({100 * report['boundary_fraction']:.0f} % of the area); "
        f"bars: {share:.0f} % intervals over areas",
        fontsize=9,
    )
    return figure


def plot_cascade(steps: Sequence[CascadeStep], report: Mapping[str, Any]) -> Figure:
    """Draw how maps change as the network forgets from its last layer down.

    Parameters
    ----------
    steps, report
        Results of `check_maps`.
    """
    shown = np.unique(
        np.linspace(0, len(steps) - 1, min(len(steps), _SHOWN_STEPS)).round().astype(int)
    )
    figure = Figure(figsize=(8.6, 6.4), layout="constrained")
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.1, 1.0])[:, 0]
    axes = upper.subplots()
    places = np.arange(len(steps))
    for kind, found in report["maps"].items():
        values = np.array([np.nan if v is None else v for v in found["correlations"]])
        name = MAP_NAMES[kind] if found["changed"] else f"{MAP_NAMES[kind]} (hardly changes)"
        axes.plot(places, values, "o-", color=_COLOURS[kind], label=name)
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    axes.axhline(report["max_correlation"], color=GREY, linestyle=":", label="limit of the warning")
    axes.set_xticks(places, report["layers"], rotation=45, ha="right", fontsize=7)
    axes.set_xlabel("weights shuffled from the last layer down to")
    axes.set_ylabel("rank correlation with\nthe trained network's map")
    axes.set_ylim(min(-0.1, axes.get_ylim()[0]), 1.02)
    axes.legend(frameon=False, fontsize=8)
    panels = lower.subplots(len(MAP_NAMES), len(shown), squeeze=False)
    for line, kind in zip(panels, MAP_NAMES, strict=True):
        for panel, step in zip(line, shown, strict=True):
            panel.imshow(scale_map(steps[step].first_yx[kind]), cmap="inferno", vmin=0, vmax=1)
            panel.set_xticks([])
            panel.set_yticks([])
        line[0].set_ylabel(MAP_NAMES[kind], fontsize=7)
    for panel, step in zip(panels[0], shown, strict=True):
        panel.set_title(steps[step].layer, fontsize=7)
    return figure


def _draw_examples(figure: SubFigure, explained: ExplainedCrops) -> None:
    """Draw outlines on a few random crops of different classes."""
    drawn = explained.table.reset_index(drop=True)
    drawn = drawn[drawn["kind"] == RANDOM].drop_duplicates("class")
    rows = drawn.index[
        np.unique(np.linspace(0, len(drawn) - 1, min(len(drawn), _EXAMPLES)).astype(int))
    ]
    panels = figure.subplots(1, len(rows), squeeze=False)[0]
    for axes, row in zip(panels, rows, strict=True):
        show_crop(axes, explained, row)
        axes.contour(
            explained.regions_nyx[row] == BOUNDARY, levels=[0.5], colors=[ORANGE], linewidths=0.8
        )
        axes.set_title(f"{drawn.loc[row, 'class']}: boundary band", fontsize=8)
        axes.set_axis_off()


def _draw_controls(axes: Axes, report: Mapping[str, Any]) -> None:
    names = list(_LINES)
    for kind, offset in zip(MAP_NAMES, (-0.14, 0.14), strict=True):
        found = report["maps"][kind]
        for place, name in enumerate(names):
            if name in found:
                _draw_interval(axes, found[name], place + offset, _COLOURS[kind], filled=place == 0)
        text = "no map" if found["p"] is None else f"p = {found['p']:.3g}"
        axes.plot(
            [], [], "o", color=_COLOURS[kind],
            label=f"{MAP_NAMES[kind]} (cell {found['cell_um']:.2g} µm), {text}",
        )  # fmt: skip
    axes.axvline(1.0, color=GREY, linestyle=":")
    axes.set_yticks(range(len(names)), [_LINES[name] for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("attribution on / off boundaries\nall classes", fontsize=8)
    axes.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, 1.17), ncols=2)


def _draw_pairs(axes: Axes, report: Mapping[str, Any], part: str) -> None:
    """Draw a value of both maps per region or class."""
    names = list(report["maps"][GRAD_CAM][part])
    for kind, offset in zip(MAP_NAMES, (-0.14, 0.14), strict=True):
        for place, name in enumerate(names):
            found = report["maps"][kind][part][name]
            _draw_interval(axes, found, place + offset, _COLOURS[kind], filled=True)
    axes.axvline(1.0, color=GREY, linestyle=":")
    axes.set_yticks(range(len(names)), [_REGIONS.get(name, name) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _draw_interval(
    axes: Axes, found: Mapping[str, float | None], at: float, colour: str, *, filled: bool
) -> None:
    value, low, high = found["value"], found["low"], found["high"]
    if value is None:
        return
    if low is not None and high is not None:
        axes.plot([low, high], [at, at], color=colour, linewidth=1.2)
    axes.plot([value], [at], "o", color=colour, markerfacecolor=colour if filled else "white")
