"""Figure of whether particles crack together: like neighbours, and the spread of damage."""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncm_kedro.damage.synchrony import QUANTITIES
from ncm_kedro.plotting.damage_axes import (
    INK,
    MEDIUM,
    SMALL,
    add_legend,
    break_name,
    measure_rows,
    name_rows,
    open_panels,
    say_in_panel,
)
from ncm_kedro.plotting.particle_axes import colour_samples, shorten
from ncm_kedro.plotting.particle_distributions import quote_p
from ncm_kedro.plotting.tomo_colours import RED

_TITLE_WIDTH = 42


def plot_synchrony(table: pd.DataFrame) -> Figure:
    """Show likeness of neighbours and spread of damage per sample, and their differences.

    A row of panels per quantity: samples on the left, differences between samples on the right.

    Parameters
    ----------
    table
        What `ncm_kedro.damage.synchrony.measure_synchrony` returned: ``sample_a, sample_b`` (null
        for one sample's own value), ``quantity, value, low, high, expected`` (by chance; null
        where there is none), ``p_value, graph`` (which particles count as neighbours; null or
        empty where none do).
    """
    quantities = list(table["quantity"].unique())
    samples = list(table.loc[table["sample_b"].isna(), "sample_a"].unique())
    colours = colour_samples(samples)
    own = table["sample_b"].isna()
    columns = 1 if own.all() else 2
    parts = [
        (quantity, table[(table["quantity"] == quantity) & kind])
        for quantity in quantities
        for kind in (own, ~own)[:columns]
    ]
    tallest = max((measure_rows(_label(part)) for _, part in parts), default=0.0)
    figure, panels = open_panels(len(parts), columns, max(1.3 * tallest, 0.5) + 0.8)
    if not parts:
        say_in_panel(panels[0], "No sample has damage to look at neighbours with.")
        return figure
    for axes, (quantity, part) in zip(panels, parts, strict=True):
        title = QUANTITIES.get(quantity, quantity.replace("_", " "))
        axes.set_title(textwrap.fill(title, _TITLE_WIDTH), fontsize=MEDIUM)
        if part.empty:
            say_in_panel(axes, "Not known.")
            continue
        _draw_rows(axes, part, colours)
    handles = [
        Line2D([], [], marker="o", color=INK, markersize=4.5, linewidth=1.4,
               label="value and interval"),
        Line2D([], [], linestyle="", marker="|", color=RED, markersize=10, markeredgewidth=1.8,
               label="expected by chance"),
    ]  # fmt: skip
    add_legend(figure, handles)
    return figure


def _label(part: pd.DataFrame) -> list[str]:
    labels = []
    for row in part.to_dict("records"):
        first, second, graph = row["sample_a"], row["sample_b"], row["graph"]
        name = shorten(str(first))
        if pd.notna(second):
            name = f"{shorten(str(second))} minus {name}"
        if pd.notna(graph) and graph:
            name = f"{name} ({str(graph).replace('_', ' ')})"
        labels.append(break_name(name))
    return labels


def _draw_rows(axes: Axes, part: pd.DataFrame, colours: dict[str, str]) -> None:
    across = axes.get_yaxis_transform()
    for place, row in enumerate(part.to_dict("records")):
        colour = colours.get(str(row["sample_a"]), INK) if pd.isna(row["sample_b"]) else INK
        axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1.4)
        axes.plot(row["value"], place, "o", color=colour, markersize=4.5)
        if pd.notna(row["expected"]):
            axes.plot(row["expected"], place, "|", color=RED, markersize=11, markeredgewidth=1.8)
        if pd.notna(row["p_value"]):
            axes.text(1.02, place, quote_p(float(row["p_value"])), transform=across,
                      fontsize=SMALL, va="center", color=INK)  # fmt: skip
    name_rows(axes, _label(part))
    axes.margins(x=0.08)
