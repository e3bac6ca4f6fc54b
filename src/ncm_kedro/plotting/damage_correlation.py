"""Correlations of attributes with damage, by sample and between samples (Fig. S11, Li et al.)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ncm_kedro.plotting.damage_axes import INK, MEDIUM, PAGE_WIDTH_IN, SMALL, name_on_paper
from ncm_kedro.plotting.particle_axes import colour_samples, shorten
from ncm_kedro.plotting.tomo_colours import GREY


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
    labels = [name_on_paper(name) for name in names]
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
