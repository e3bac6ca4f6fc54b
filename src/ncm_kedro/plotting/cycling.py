"""Capacity, retention and efficiency against cycle, voltage against capacity, and their page."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ncm_kedro.electrochemistry.summary import UNKNOWN
from ncm_kedro.plotting.axes import annotate_empty, colour_samples, shorten
from ncm_kedro.plotting.report import render_page

_PANELS = {
    "discharge_capacity_mah_g": "discharge capacity / mAh g⁻¹",
    "retention_percent": "capacity retention / %",
    "coulombic_efficiency_percent": "Coulombic efficiency / %",
}
_MARKERS = "osD^vP*X"
_MAX_CURVES = 4


def plot_cycling(
    summary: pd.DataFrame, curves: pd.DataFrame, *, by: str, reference_cycle: int
) -> Figure:
    """Show mean and standard deviation over cells against cycle, and voltage curves below.

    A thin line stands for a mean over fewer than all cells of its group; a line is broken where a
    cycle is missing. Compare Oh et al. (2024), Supplementary Fig. 11, and Li et al. (2022),
    Fig. S1.

    Parameters
    ----------
    summary
        From `ncm_kedro.electrochemistry.summary.summarise_groups`.
    curves
        Voltage against capacity; without any, the lower row is omitted.
    by
        ``composition`` or ``class``.
    reference_cycle
        The cycle that retention refers to.
    """
    shown = summary[summary["by"] == by]
    groups = sorted(shown["group"].unique())
    known = curves.assign(group=curves[by].fillna(UNKNOWN) if len(curves) else None)
    figure = Figure(figsize=(11.5, 7.2 if len(known) else 3.9), layout="constrained")
    parts = figure.subfigures(2 if len(known) else 1, 1, squeeze=False).ravel()
    _draw_trends(parts[0], shown, colour_samples(groups), reference_cycle)
    if len(known):
        _draw_curves(parts[1], known)
    return figure


def render_cycling_report(
    *,
    summary: pd.DataFrame,
    cells: pd.DataFrame,
    bad_rows: pd.DataFrame,
    files: pd.DataFrame,
    figure: Figure,
    by: str,
    reference_cycle: int,
) -> str:
    """Render the page: the figure, the cells, what was excluded and which files had problems.

    Parameters
    ----------
    figure
        From `plot_cycling`.
    by
        ``composition`` or ``class``.
    reference_cycle
        The cycle that retention refers to.
    """
    shown = summary[summary["by"] == by]
    last = shown["cycle"] == shown.groupby(["group", "quantity"])["cycle"].transform("max")
    quantities = ["discharge_capacity_mah_g", "retention_percent"]
    return render_page(
        "cycling.html.j2",
        ends=shown[shown["quantity"].isin(quantities) & last].drop(columns="by"),
        cells=cells,
        used=cells[cells["n_cycles"] > 0],
        bad_rows=bad_rows,
        files=files,
        image=figure,
        reference_cycle=reference_cycle,
    )


def render_join_report(joined: pd.DataFrame) -> str:
    """Render the page on which SEM frames belong to which cells.

    Parameters
    ----------
    joined
        From `ncm_kedro.electrochemistry.measure.join_frames`.
    """
    matched = joined[joined["status"] == "matched"]
    return render_page("cycling_join.html.j2", joined=joined, matched=matched)


def _draw_trends(
    part: Figure | SubFigure, summary: pd.DataFrame, colours: Mapping[str, str], reference: int
) -> None:
    for axes, (quantity, name) in zip(part.subplots(1, 3), _PANELS.items(), strict=True):
        chosen = summary[summary["quantity"] == quantity]
        for place, (group, colour) in enumerate(colours.items()):
            rows = chosen[chosen["group"] == group].set_index("cycle")
            _draw_group(axes, rows, colour, _MARKERS[place % len(_MARKERS)])
        if chosen.empty:
            annotate_empty(axes, "no mass given" if quantity.endswith("_g") else "no value")
        ending = f", relative to cycle {reference}" if quantity.startswith("retention") else ""
        axes.set_title(name + ending, fontsize=9)
        axes.set_xlabel("cycle")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        _finish(axes)
    counts = summary.groupby("group")["n_cells"].max()
    handles = [
        Line2D([], [], color=colour, marker=_MARKERS[place % len(_MARKERS)], markersize=4,
               label=f"{shorten(group)} (N = {counts[group]})")
        for place, (group, colour) in enumerate(colours.items())
    ]  # fmt: skip
    part.legend(
        handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False,
        fontsize=8, title="mean, band: ± 1 standard deviation over N cells; thin: not all cells",
        title_fontsize=8,
    )  # fmt: skip


def _draw_group(axes: Axes, rows: pd.DataFrame, colour: str, marker: str) -> None:
    """Draw mean and band; cycles that are missing break both."""
    if rows.empty:
        return
    rows = rows.reindex(np.arange(rows.index.min(), rows.index.max() + 1))
    cycle, mean, sd = rows.index.to_numpy(), rows["mean"], rows["sd"]
    axes.fill_between(cycle, mean - sd, mean + sd, color=colour, alpha=0.22, linewidth=0)
    axes.plot(cycle, mean, color=colour, linewidth=0.7)
    axes.plot(
        cycle, mean.where(rows["n"] == rows["n_cells"]), color=colour, linewidth=1.6,
        marker=marker, markersize=3.5, markevery=max(1, len(cycle) // 8),
    )  # fmt: skip


def _draw_curves(part: Figure | SubFigure, curves: pd.DataFrame) -> None:
    """Draw voltage against capacity of the first cell of each group that was recorded."""
    groups = sorted(curves["group"].unique())[:_MAX_CURVES]
    cycles = sorted(curves["cycle"].unique())
    norm = LogNorm(max(cycles[0], 1), max(cycles[-1], cycles[0] + 1, 2))
    shade = matplotlib.colormaps["viridis_r"]
    panels = part.subplots(1, len(groups), sharey=True, squeeze=False).ravel()
    for axes, group in zip(panels, groups, strict=True):
        cell = curves.loc[curves["group"] == group, "cell_id"].min()
        mine = curves[curves["cell_id"] == cell]
        capacity = "capacity_mah_g" if mine["capacity_mah_g"].notna().all() else "capacity_mah"
        for (cycle, _), half in mine.groupby(["cycle", "half"]):
            colour = shade(0.08 + 0.92 * norm(max(cycle, 1)))
            axes.plot(half[capacity], half["voltage_v"], color=colour, linewidth=1.0)
        axes.set_title(f"{shorten(group)}: {shorten(cell)}", fontsize=9)
        axes.set_xlabel("capacity / mAh g⁻¹" if capacity.endswith("_g") else "capacity / mAh")
        _finish(axes)
    panels[0].set_ylabel("voltage / V", fontsize=9)
    bar = part.colorbar(ScalarMappable(norm, shade), ax=list(panels), label="cycle", pad=0.01)
    bar.ax.yaxis.set_major_locator(FixedLocator([max(cycle, 1) for cycle in cycles]))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.tick_params(labelsize=8)
    bar.ax.yaxis.label.set_fontsize(9)


def _finish(axes: Axes) -> None:
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(9)
    axes.spines[["top", "right"]].set_visible(False)
