"""Figures of the paper's own attribution, and of a ranking with leaky attributes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ncm_kedro.damage.paper import take_differences
from ncm_kedro.plotting.axes import (
    MEDIUM,
    add_legend,
    align_limits,
    annotate_empty,
    colour_samples,
    measure_rows,
    name_rows,
    open_panels,
    shorten,
    wrap_name,
)
from ncm_kedro.plotting.numbers import get_paper_name
from ncm_kedro.plotting.style import GREY, INK, RED

SHOWN_GROUPS = 8
"""Maximum number of bars of a panel of leaky attributes."""

_STRATEGIES = {
    "draws": ("^", -0.16, "parts of the particles"),
    "seeds": ("s", 0.16, "random numbers of the forest"),
}
_FAINT = 0.32


def plot_paper_robustness(paper_table: pd.DataFrame) -> Figure:
    """Show the SHAP fraction of attributes in each forest, and sample differences (Fig. 4).

    Attributes stand in the order of their mean fraction over all samples.

    Parameters
    ----------
    paper_table
        What `ncm_kedro.damage.paper.repeat_paper_forest` returned.
    """
    samples = list(paper_table["sample"].unique())
    pairs = list(pairwise(samples))
    order = list(
        paper_table.groupby("attribute")["share"].mean().sort_values(ascending=False).index
    )
    labels = [get_paper_name(name) for name in order]
    height = measure_rows(labels) + 0.75 if labels else 1.5
    figure, panels = open_panels(len(samples) + len(pairs), 3, height, share_y=True)
    if not samples:
        annotate_empty(panels[0], "No forest of the paper was grown.")
        return figure
    colours = colour_samples(samples)
    differences = take_differences(paper_table)
    for axes, sample in zip(panels, samples, strict=False):
        rows = paper_table[paper_table["sample"] == sample]
        _scatter(axes, rows, "share", order, colours[sample])
        axes.set_title(shorten(sample), fontsize=MEDIUM, fontweight="bold")
        axes.set_xlabel("fraction of |SHAP| / %", fontsize=MEDIUM)
        axes.set_xlim(left=0.0)
    for axes, (first, second) in zip(panels[len(samples) :], pairs, strict=True):
        rows = differences[(differences["sample_a"] == first) & (differences["sample_b"] == second)]
        axes.axvline(0.0, color=GREY, linewidth=0.8)
        _scatter(axes, rows, "difference", order, INK)
        axes.set_title(f"{shorten(second)} minus {shorten(first)}", fontsize=MEDIUM)
        axes.set_xlabel("difference / percentage points", fontsize=MEDIUM)
    align_limits(panels[: len(samples)])
    if pairs:
        align_limits(panels[len(samples) :])
    for axes in panels:
        name_rows(axes, labels)
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=INK, markersize=4, alpha=0.7, label=text)
        for marker, _, text in _STRATEGIES.values()
    ]
    handles.append(Line2D([], [], linestyle="", marker="|", color=INK, markersize=8,
                          markeredgewidth=1.4, label="mean"))  # fmt: skip
    add_legend(figure, handles)
    return figure


def plot_leaks(importance_free: pd.DataFrame, importance_leaking: pd.DataFrame) -> Figure:
    """Show what explains most with leaky attributes included, and without them.

    Parameters
    ----------
    importance_free, importance_leaking
        As in `ncm_kedro.plotting.damage.importance.plot_importance`, with ``members`` (attributes
        of a group: names, or names joined by commas). What is a member in the second table alone
        leaks. Samples have the colours of the first table, and are those of the second.
    """
    samples = list(importance_leaking["sample"].unique())
    sides = {
        "leaky attributes included": importance_leaking,
        "without them": importance_free,
    }
    chosen = [
        (f"{shorten(sample)}: {side}", _choose_top(table, sample))
        for sample in samples
        for side, table in sides.items()
    ]
    tallest = max((measure_rows(_label(part)) for _, part in chosen), default=0.0)
    figure, panels = open_panels(len(chosen), 2, max(tallest, 0.8) + 0.7)
    if not chosen:
        annotate_empty(panels[0], "No ranking with leaky attributes was computed.")
        return figure
    clean = {name for members in importance_free["members"] for name in _split(members)}
    colours = colour_samples(list(importance_free["sample"].unique()))
    for number, (axes, (title, part)) in enumerate(zip(panels, chosen, strict=True)):
        axes.set_title(title, fontsize=MEDIUM)
        if part.empty:
            annotate_empty(axes, "No attribute is left.")
            continue
        _draw_leaks(axes, part, clean, colours[samples[number // 2]])
    handles = [
        Patch(facecolor=RED, hatch="////", edgecolor="white", label="holds the damage itself"),
        Patch(color=INK, label="does not"),
        Patch(color=INK, alpha=_FAINT, label="does not, and is not significant"),
    ]
    add_legend(figure, handles)
    return figure


def _scatter(axes: Axes, rows: pd.DataFrame, column: str, order: list[str], colour: str) -> None:
    places = {name: place for place, name in enumerate(order)}
    for strategy, (marker, shift, _) in _STRATEGIES.items():
        part = rows[rows["strategy"] == strategy]
        y = part["attribute"].map(places).to_numpy(dtype=np.float64) + shift
        axes.scatter(100 * part[column], y, s=9, marker=marker, color=colour, alpha=0.45,
                     linewidths=0)  # fmt: skip
    mean = rows.groupby("attribute")[column].mean().reindex(order)
    axes.plot(100 * mean, range(len(order)), "|", color=INK, markersize=9, markeredgewidth=1.4)


def _draw_leaks(axes: Axes, part: pd.DataFrame, clean: set[str], colour: str) -> None:
    for place, row in enumerate(part.to_dict("records")):
        leaks = not set(_split(row["members"])) <= clean
        axes.barh(place, 100 * row["explained"], height=0.62, color=RED if leaks else colour,
                  hatch="////" if leaks else None, edgecolor="white", linewidth=0,
                  alpha=1.0 if row["significant"] or leaks else _FAINT)  # fmt: skip
        axes.plot([100 * row["explained_low"], 100 * row["explained_high"]], [place, place],
                  color=INK, linewidth=1.0)  # fmt: skip
    name_rows(axes, _label(part))
    axes.axvline(0.0, color=GREY, linewidth=0.8)
    axes.set_xlabel("variance of damage explained / %", fontsize=MEDIUM)


def _choose_top(table: pd.DataFrame, sample: str) -> pd.DataFrame:
    groups = table[(table["sample"] == sample) & (table["kind"] == "group")]
    return groups.sort_values("explained", ascending=False, kind="stable").head(SHOWN_GROUPS)


def _label(part: pd.DataFrame) -> list[str]:
    return [wrap_name(str(group)) for group in part["group"]]


def _split(members: str | Iterable[str]) -> list[str]:
    names = members.split(",") if isinstance(members, str) else members
    return [name.strip() for name in names]
