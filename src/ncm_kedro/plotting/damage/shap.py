"""Figures of SHAP values out of sample: beeswarm and dependence."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.stats import rankdata

from ncm_kedro.plotting.axes import (
    LOG_ATTRIBUTES,
    MEDIUM,
    SMALL,
    add_legend,
    align_limits,
    annotate_empty,
    colour_samples,
    estimate_density,
    format_with_unit,
    measure_rows,
    name_rows,
    open_panels,
    shorten,
    tick_decades,
)
from ncm_kedro.plotting.numbers import get_paper_name
from ncm_kedro.plotting.particles.distributions import run_median
from ncm_kedro.plotting.style import GREY

FloatArray = NDArray[np.float64]

SHOWN_ATTRIBUTES = 15
"""Maximum number of attributes of a beeswarm."""
SHOWN_DEPENDENCES = 6
"""Maximum number of attributes of the dependence plot."""

_SHOWN_POINTS = 1500
_FEW = 5
_HALF_ROW = 0.38
_COLOURS = matplotlib.colormaps["viridis"]
_NOTHING = "No particle was explained."


def plot_beeswarm(shap: pd.DataFrame, values: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Show each particle's SHAP value of each attribute, coloured by the attribute's value.

    Attributes stand in the order of their mean absolute SHAP value over the samples.

    Parameters
    ----------
    shap
        A row per particle: ``sample``, and a column per attribute with its SHAP value out of
        sample, in the unit of damage.
    values
        The same rows with the attributes' values; null where there is none.
    """
    samples = list(shap["sample"].unique())
    worth = shap.groupby("sample", sort=False)[list(names)].agg(_mean_amount).mean()
    shown = list(worth.sort_values(ascending=False).index[:SHOWN_ATTRIBUTES])
    labels = [get_paper_name(name) for name in shown]
    height = 1.35 * measure_rows(labels) + 0.7 if shown else 1.5
    figure, panels = open_panels(len(samples), 2, height, share_y=True)
    if not samples or not shown:
        for axes in panels:
            annotate_empty(axes, _NOTHING)
        return figure
    for axes, sample in zip(panels, samples, strict=True):
        rows = (shap["sample"] == sample).to_numpy()
        for place, name in enumerate(shown):
            _draw_swarm(axes, place, _take(shap, name)[rows], _take(values, name)[rows])
        axes.axvline(0.0, color=GREY, linewidth=0.8, zorder=0)
        name_rows(axes, labels)
        axes.set_title(f"{shorten(sample)} ({rows.sum()} particles)", fontsize=MEDIUM)
        axes.set_xlabel("SHAP value of damage", fontsize=MEDIUM)
    align_limits(panels)
    scale = ScalarMappable(Normalize(0, 100), cmap=_COLOURS)
    bar = figure.colorbar(scale, ax=panels, shrink=0.8 / -(-len(panels) // 2), aspect=30,
                          ticks=[0, 50, 100])  # fmt: skip
    bar.set_label("attribute's value: percentile in its sample", fontsize=MEDIUM)
    bar.ax.tick_params(labelsize=SMALL)
    return figure


def plot_dependence(shap: pd.DataFrame, values: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Show SHAP values against the values of attributes, with running median and quartiles.

    Parameters
    ----------
    shap, values
        As in `plot_beeswarm`.
    names
        Attributes; the first few are shown.
    """
    samples = list(shap["sample"].unique())
    colours = colour_samples(samples)
    shown = list(names)[:SHOWN_DEPENDENCES]
    figure, panels = open_panels(len(shown), 3, 2.1)
    if not samples or not shown:
        for axes in panels:
            annotate_empty(axes, _NOTHING)
        return figure
    for number, (axes, name) in enumerate(zip(panels, shown, strict=True)):
        axes.axhline(0.0, color=GREY, linewidth=0.8, zorder=0)
        for sample, colour in colours.items():
            rows = (shap["sample"] == sample).to_numpy()
            _draw_curve(axes, name, _take(values, name)[rows], _take(shap, name)[rows], colour)
        if name in LOG_ATTRIBUTES and axes.dataLim.width > 0:
            axes.set_xscale("log")
            tick_decades(axes.xaxis, *axes.dataLim.intervalx)
        axes.set_xlabel(format_with_unit(name, values), fontsize=MEDIUM)
        if number % 3 == 0:
            axes.set_ylabel("SHAP value of damage", fontsize=MEDIUM)
    known = set(shap.loc[shap[shown].notna().any(axis=1), "sample"])
    handles = [
        Line2D([], [], color=colour, linewidth=2.0, label=shorten(sample))
        for sample, colour in colours.items()
        if sample in known
    ]
    add_legend(figure, handles)
    return figure


def spread_by_density(values: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Draw how far points stand off their row, further where many are.

    Parameters
    ----------
    values
        (N,), finite.

    Returns
    -------
    ndarray
        (N,), in [-1, 1]; 0 where points are few or all in one place.
    """
    if len(values) < _FEW or np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return np.zeros(len(values))
    places, density = estimate_density(values)
    offsets: FloatArray = rng.uniform(-1.0, 1.0, len(values)) * np.interp(values, places, density)
    return offsets


def _mean_amount(column: pd.Series) -> float:
    return float(column.abs().mean())


def _take(table: pd.DataFrame, name: str) -> FloatArray:
    values: FloatArray = table[name].to_numpy(dtype=np.float64, na_value=np.nan)
    return values


def _draw_swarm(axes: Axes, place: int, worth: FloatArray, values: FloatArray) -> None:
    rng = np.random.default_rng(place)
    known = np.isfinite(values)
    percentile = np.full(len(values), np.nan)
    if known.any():
        percentile[known] = (rankdata(values[known]) - 0.5) / known.sum()
    chosen = rng.permutation(np.flatnonzero(np.isfinite(worth)))[:_SHOWN_POINTS]
    offset = _HALF_ROW * spread_by_density(worth[chosen], rng)
    colours = _COLOURS(np.nan_to_num(percentile[chosen], nan=0.0))
    colours[~known[chosen]] = matplotlib.colors.to_rgba(GREY)
    axes.scatter(worth[chosen], place + offset, s=3.5, c=colours, linewidths=0, rasterized=True)


def _draw_curve(axes: Axes, name: str, values: FloatArray, worth: FloatArray, colour: str) -> None:
    known = np.isfinite(values) & np.isfinite(worth)
    if name in LOG_ATTRIBUTES:
        known &= values > 0
    x, y = values[known], worth[known]
    shown = np.random.default_rng(0).permutation(len(x))[:_SHOWN_POINTS]
    axes.scatter(x[shown], y[shown], s=3.5, color=colour, alpha=0.25, linewidths=0, rasterized=True)
    place, low, middle, high = run_median(x, y)
    axes.fill_between(place, low, high, color=colour, alpha=0.25, linewidth=0)
    axes.plot(place, middle, color="white", linewidth=3.2)
    axes.plot(place, middle, color=colour, linewidth=1.8)
