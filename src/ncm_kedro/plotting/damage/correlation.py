"""Correlations of attributes with damage, by sample and between samples (Fig. S11, Li et al.).

How well auto-encoder and principal components reconstruct (Fig. S8B-D of Li et al. 2022).

Figure of synchronous cracking: similarity of neighbours, and the spread of damage.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from ncm_kedro.damage.synchrony import QUANTITIES
from ncm_kedro.plotting.axes import (
    MEDIUM,
    PAGE_WIDTH_IN,
    SMALL,
    add_legend,
    annotate_empty,
    colour_samples,
    measure_rows,
    name_rows,
    open_panels,
    shorten,
    wrap_name,
)
from ncm_kedro.plotting.numbers import get_paper_name, state_p
from ncm_kedro.plotting.style import BLUE, GREEN, GREY, INK, ORANGE, RED


def plot_damage_correlations(
    by_sample: pd.DataFrame, differences: pd.DataFrame, *, max_q: float = 0.05
) -> Figure:
    """Show every attribute's correlation with damage, and above it what changes between samples.

    Attributes stand in the order of their largest absolute correlation. Bars: mean and standard
    deviation over subsamples. Differences: points are means over subsamples with their standard
    deviation (thick); thin lines are intervals from blocks; filled where the false-discovery
    rate is at most ``max_q``.

    Parameters
    ----------
    by_sample
        ``sample, attribute, r_mean, r_sd``.
    differences
        ``sample_a, sample_b, attribute, difference_mean, difference_sd, difference_low,
        difference_high, q_value``; empty for one sample.
    max_q
        Highest false-discovery rate of a filled point.
    """
    samples = list(pd.unique(by_sample["sample"]))
    strength = by_sample["r_mean"].abs().groupby(by_sample["attribute"]).max()
    names = list(strength.sort_values(ascending=False, kind="stable").index)
    pairs = [
        (str(first), str(second), table)
        for (first, second), table in differences.groupby(["sample_a", "sample_b"], sort=False)
    ]
    heights = [1.4] * len(pairs) + [2.6]
    figure = Figure(figsize=(PAGE_WIDTH_IN, sum(heights) + 1.2), layout="constrained")
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)
    for axes, (first, second, table) in zip(panels[:-1, 0], pairs, strict=True):
        _draw_differences(axes, table.set_index("attribute").reindex(list(names)), max_q)
        axes.set_title(
            f"{shorten(second)} minus {shorten(first)} (filled: q ≤ {max_q:g})",
            fontsize=MEDIUM, loc="left",
        )  # fmt: skip
        axes.set_ylabel("difference of r", fontsize=MEDIUM)
    _draw_bars(panels[-1, 0], by_sample, samples, names)
    for axes in panels[:, 0]:
        axes.axhline(0.0, color=GREY, linewidth=0.8, zorder=0)
        axes.tick_params(labelsize=SMALL)
        axes.spines[["top", "right"]].set_visible(False)
    labels = [get_paper_name(name) for name in names]
    panels[-1, 0].set_xticks(range(len(names)), labels, rotation=90)
    panels[-1, 0].set_xlim(-0.6, len(names) - 0.4)
    return figure


def _draw_differences(axes: Axes, table: pd.DataFrame, max_q: float) -> None:
    mean = table["difference_mean"].to_numpy(dtype=np.float64)
    places = np.arange(len(mean))
    axes.vlines(places, table["difference_low"], table["difference_high"], color=INK, linewidth=0.9)
    spread = table["difference_sd"].to_numpy(dtype=np.float64)
    axes.vlines(places, mean - spread, mean + spread, color=INK, linewidth=3.0, alpha=0.45)
    certain = (table["q_value"] <= max_q).to_numpy()
    for which, face in ((certain, INK), (~certain, "white")):
        axes.plot(
            places[which], mean[which], "o", markersize=4, markerfacecolor=face,
            markeredgecolor=INK, gid="certain" if face == INK else "uncertain",
        )  # fmt: skip


def _draw_bars(
    axes: Axes, by_sample: pd.DataFrame, samples: Sequence[str], names: Sequence[str]
) -> None:
    width = 0.8 / len(samples)
    for number, (sample, colour) in enumerate(colour_samples(samples).items()):
        own = by_sample[by_sample["sample"] == sample].set_index("attribute").reindex(list(names))
        places = np.arange(len(names)) + width * (number - (len(samples) - 1) / 2)
        axes.bar(
            places, own["r_mean"], width, yerr=own["r_sd"], color=colour, label=shorten(sample),
            error_kw={"linewidth": 0.9, "ecolor": INK},
        )  # fmt: skip
    axes.set_ylabel("correlation with damage, r", fontsize=MEDIUM)
    axes.legend(frameon=False, fontsize=SMALL, ncols=min(4, len(samples)), loc="upper right")


_WORDS = {"regularised": "regularised", "plain": "not regularised", "pca": "components"}
_STYLES = {"regularised": (BLUE, "o"), "plain": (ORANGE, "s"), "pca": (GREEN, "^")}


def plot_autoencoder_errors(errors: pd.DataFrame, chosen: int) -> Figure:
    """Show errors against the number of latent dimensions, mean and standard error of repeats.

    Left: the network's errors of complete validation rows, and of masked values; the chosen
    number is marked. Middle: with and without regularisation. Right: against principal
    components. Solid: masked values; dashed: complete rows.

    Parameters
    ----------
    errors
        ``d, repeat, method, train_error, validation_error, masked_error``, errors as mean squares
        per value in standardised units.
    chosen
        Number of latent dimensions that was chosen.
    """
    figure = Figure(figsize=(PAGE_WIDTH_IN, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3, sharey=True)
    _draw_choice(left, errors, chosen)
    _draw_methods(middle, errors, ("regularised", "plain"))
    _draw_methods(right, errors, ("regularised", "pca"))
    left.set_ylabel("mean squared error / variance", fontsize=MEDIUM)
    titles = ("number of dimensions", "regularisation", "against principal components")
    for axes, title in zip((left, middle, right), titles, strict=True):
        axes.set_title(title, fontsize=MEDIUM)
        axes.set_xlabel("latent dimensions", fontsize=MEDIUM)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.tick_params(labelsize=SMALL)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), frameon=False, fontsize=SMALL)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_choice(axes: Axes, errors: pd.DataFrame, chosen: int) -> None:
    for column, colour, marker, words in (
        ("masked_error", BLUE, "o", "masked values"),
        ("validation_error", GREY, "D", "complete validation rows"),
        ("train_error", GREY, "", "training rows"),
    ):
        line = "--" if column != "train_error" else ":"
        _draw_curve(
            axes, errors, ("regularised", column), colour=colour, marker=marker, label=words,
            line="-" if column == "masked_error" else line,
        )  # fmt: skip
    axes.axvline(
        chosen, color=ORANGE, linewidth=1.4, zorder=0, label=f"chosen: {chosen}", gid="chosen"
    )


def _draw_methods(axes: Axes, errors: pd.DataFrame, methods: tuple[str, ...]) -> None:
    for column, line in (("masked_error", "-"), ("validation_error", "--")):
        for method in methods:
            colour, marker = _STYLES[method]
            kind = "masked" if column == "masked_error" else "complete rows"
            _draw_curve(
                axes, errors, (method, column), colour=colour, marker=marker,
                label=f"{_WORDS[method]}, {kind}", line=line,
            )  # fmt: skip


def _draw_curve(
    axes: Axes,
    errors: pd.DataFrame,
    what: tuple[str, str],
    *,
    colour: str,
    marker: str,
    label: str,
    line: str,
) -> None:
    method, column = what
    own = errors[errors["method"] == method].groupby("d")[column]
    mean, standard_error = own.mean(), own.sem().fillna(0.0)
    axes.errorbar(
        mean.index, mean, yerr=standard_error, color=colour, marker=marker, markersize=3,
        linewidth=1.3, linestyle=line, capsize=2, elinewidth=0.8, label=label,
    )  # fmt: skip


_TITLE_WIDTH = 42


def plot_synchrony(table: pd.DataFrame) -> Figure:
    """Show likeness of neighbours and spread of damage per sample, and their differences.

    A row of panels per quantity: samples on the left, differences between samples on the right.

    Parameters
    ----------
    table
        What `damage.synchrony.measure_synchrony` returned: ``sample_a, sample_b`` (null
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
        annotate_empty(panels[0], "No sample has damage to compare neighbours by.")
        return figure
    for axes, (quantity, part) in zip(panels, parts, strict=True):
        title = QUANTITIES.get(quantity, quantity.replace("_", " "))
        axes.set_title(textwrap.fill(title, _TITLE_WIDTH), fontsize=MEDIUM)
        if part.empty:
            annotate_empty(axes, "Not measured.")
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
        labels.append(wrap_name(name))
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
            axes.text(1.02, place, state_p(float(row["p_value"])), transform=across,
                      fontsize=SMALL, va="center", color=INK)  # fmt: skip
    name_rows(axes, _label(part))
    axes.margins(x=0.08)
