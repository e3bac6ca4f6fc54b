"""Particles of a half cell over cycles: pictures as Fig. S4 of Li et al. (2022), voltage, page."""

from __future__ import annotations

import base64
import io
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.tri import Triangulation
from numpy.typing import NDArray
from PIL import Image

from ncm_kedro.half_cell.cycle import HALVES, CaseResult, HalfCycle
from ncm_kedro.half_cell.measures import list_edges, list_triangles
from ncm_kedro.plotting.axes import annotate_empty, colour_samples
from ncm_kedro.plotting.report import render_page

_PANELS = 6
_FRAMES = 60
_DAMAGE = "YlOrRd"
_LITHIUM = "viridis"
_SUMMARY = {
    "discharge_capacity": "discharge capacity / nominal",
    "activity_spread": "spread of activity",
    "synchrony": "synchrony χ²",
    "damage_spread": "spread of damage",
    "isolated_fraction": "isolated particles / all",
}


def draw_half_cell(
    result: CaseResult, steps: pd.DataFrame, particles: pd.DataFrame, cycles: pd.DataFrame
) -> tuple[dict[str, Figure], bytes]:
    """Draw the figures of a case by name, and an animation as the bytes of a GIF."""
    figures = {
        "fields": plot_fields(result),
        "particles": plot_particles(particles),
        "voltage": plot_voltage(steps),
        "synchrony": plot_cycles(cycles),
    }
    return figures, animate_fields(result)


def plot_fields(result: CaseResult) -> Figure:
    """Show stoichiometry and damage of the interface at the ends of some half-cycles."""
    count = len(result.half_cycles)
    shown = np.unique(np.linspace(0, count - 1, min(count, _PANELS)).astype(int))
    columns = min(3, len(shown))
    rows, draw = -(-len(shown) // columns), _Drawing(result)
    height = rows * (0.4 + 8.5 / columns * draw.aspect)
    figure = Figure(figsize=(11, max(height, 2.4)), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, index in zip(panels, shown, strict=False):
        half = result.half_cycles[index]
        draw.draw(axes, half.frames[-1], half.damage)
        axes.set_title(f"end of {HALVES[index % 2]} {index // 2 + 1}", fontsize=9)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    draw.add_bars(figure, panels)
    return figure


def animate_fields(result: CaseResult) -> bytes:
    """Animate stoichiometry and damage over all half-cycles; at most 60 pictures."""
    moments = [
        (index, step)
        for index, half in enumerate(result.half_cycles)
        for step in range(len(half.frames))
    ]
    chosen = np.unique(np.linspace(0, len(moments) - 1, min(len(moments), _FRAMES)).astype(int))
    draw, images = _Drawing(result), []
    figure = Figure(figsize=(5.2, 2.6), layout="constrained")
    axes = figure.subplots()
    for place in chosen:
        index, step = moments[place]
        half = result.half_cycles[index]
        axes.clear()
        draw.draw(axes, half.frames[step], _interpolate_damage(result, index, step))
        axes.set_title(
            f"{HALVES[index % 2]} {index // 2 + 1}: {half.steps[step, 1]:.2f} V", fontsize=9
        )
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=80)
        images.append(Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE))
    out = io.BytesIO()
    images[0].save(out, "GIF", save_all=True, append_images=images[1:], duration=150, loop=0)
    return out.getvalue()


def plot_particles(particles: pd.DataFrame) -> Figure:
    """Show stoichiometry, activity, damage and gap of every particle over time."""
    panels = {
        "stoichiometry": "stoichiometry", "activity": "activity (1: in proportion)",
        "damage": "damage of the interface", "gap_nm": "gap / nm",
    }  # fmt: skip
    figure = Figure(figsize=(11, 6), layout="constrained")
    colours = colour_samples(list(particles["name"].unique()))
    for axes, (quantity, title) in zip(figure.subplots(2, 2).ravel(), panels.items(), strict=True):
        for name, own in particles.groupby("name", sort=False):
            hours = own["time_s"] / 3600
            axes.plot(hours, own[quantity], color=colours[str(name)], linewidth=1.0, label=name)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("time / h", fontsize=9)
        if quantity == "activity":
            axes.axhline(1.0, color="0.7", linewidth=0.8, zorder=0)
            low, high = np.nanpercentile(particles["activity"], [1, 99])
            axes.set_ylim(min(low, 0) - 0.2, high + 0.2)
        _finish(axes)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=6, fontsize=8, frameon=False)
    return figure


def plot_voltage(steps: pd.DataFrame) -> Figure:
    """Show voltage against capacity, a colour per cycle."""
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    last = max(int(steps["cycle"].max()), 2)
    norm, shade = Normalize(1, last), matplotlib.colormaps["viridis_r"]
    for (cycle, _), half in steps.groupby(["cycle", "half"], sort=False):
        colour = shade(0.08 + 0.92 * norm(float(str(cycle))))
        axes.plot(half["capacity_fraction"], half["voltage_v"], color=colour, linewidth=1.2)
    axes.set_xlabel("capacity / nominal", fontsize=9)
    axes.set_ylabel("voltage / V", fontsize=9)
    figure.colorbar(ScalarMappable(norm, shade), ax=axes, label="cycle", pad=0.01)
    _finish(axes)
    return figure


def plot_cycles(cycles: pd.DataFrame) -> Figure:
    """Show capacity, spreads, synchrony and isolated particles against cycle."""
    figure = Figure(figsize=(11, 2.4), layout="constrained")
    panels = figure.subplots(1, len(_SUMMARY))
    for axes, (quantity, title) in zip(panels, _SUMMARY.items(), strict=True):
        if cycles.empty:
            annotate_empty(axes, "no complete cycle")
        else:
            axes.plot(cycles["cycle"], cycles[quantity], "o-", markersize=3.5, linewidth=1.2)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("cycle", fontsize=9)
        _finish(axes)
    return figure


def plot_damage_pairs(pairs: pd.DataFrame) -> Figure:
    """Show simulated against measured damage of the same particles."""
    figure = Figure(figsize=(4.6, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.plot(pairs["measured"], pairs["simulated"], "o")
    for row in pairs.dropna().itertuples():
        axes.annotate(str(row.name), (row.measured, row.simulated), fontsize=7)
    rho = pairs.attrs.get("spearman", np.nan)
    text = "too few particles for a rank correlation" if np.isnan(rho) else f"Spearman {rho:.2f}"
    axes.set_title(f"{text} (N = {len(pairs.dropna())})", fontsize=9)
    axes.set_xlabel("measured: crack volume / particle volume", fontsize=9)
    axes.set_ylabel("simulated: damage of the interface", fontsize=9)
    _finish(axes)
    return figure


def plot_sweep(summary: pd.DataFrame) -> Figure:
    """Show quantities against cycle for every value of every setting, with their intervals."""
    settings = list(summary["setting"].unique())
    figure = Figure(figsize=(11, 2.4 * max(len(settings), 1)), layout="constrained")
    if not settings:
        annotate_empty(figure.subplots(), "no electrode completed a cycle")
        return figure
    grid = figure.subplots(len(settings), len(_SUMMARY), squeeze=False)
    shown = summary[summary["cycle"] > 0]
    for axes, title in zip(grid[0], _SUMMARY.values(), strict=True):
        axes.set_title(title, fontsize=8)
    for row, setting in zip(grid, settings, strict=True):
        row[0].set_ylabel(setting.split(".")[-1], fontsize=8)
        for axes, quantity in zip(row, _SUMMARY, strict=True):
            mine = shown[(shown["setting"] == setting) & (shown["quantity"] == quantity)]
            for value, own in mine.groupby("value", dropna=False):
                label = "" if pd.isna(value) else f"{value:g}"
                (line,) = axes.plot(own["cycle"], own["mean"], label=label, linewidth=1.2)
                axes.fill_between(
                    own["cycle"], own["low"], own["high"], color=line.get_color(), alpha=0.2
                )
            axes.set_xlabel("cycle", fontsize=7)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            _finish(axes)
        if setting != "base":
            row[0].legend(fontsize=7, frameon=False)
    return figure


def render_half_cell_report(
    *,
    result: CaseResult,
    cycles: pd.DataFrame,
    debonding: pd.DataFrame,
    figures: dict[str, Figure],
    animation: bytes,
) -> str:
    """Render the page of a case."""
    code = base64.b64encode(animation).decode("ascii")
    return render_page(
        "half_cell.html.j2",
        result=result,
        cycles=cycles,
        debonding=debonding,
        figures=figures,
        animation=f"data:image/gif;base64,{code}",
        settings=_list_settings(result),
    )


def _list_settings(result: CaseResult) -> pd.DataFrame:
    content = result.params.model_dump(exclude={"section", "layout"})
    rows = [(group, name, value) for group, own in content.items() for name, value in own.items()]
    return pd.DataFrame(rows, columns=["group", "setting", "value"])


class _Drawing:
    """Draws moments of one mesh."""

    def __init__(self, result: CaseResult) -> None:
        points, particles, cb = list_triangles(result.cell)
        self._particles = Triangulation(points[:, 0], points[:, 1], particles)
        self._cb = Triangulation(points[:, 0], points[:, 1], cb)
        self._high = result.cell.cb_high(  # P0 by element: evaluated at the corners' mean
            result.cell.mesh(*points[cb].mean(axis=1).T)
        ).ravel()
        self._edges = list_edges(result.cell)
        self._corners = points[cb].min(axis=(0, 1)), points[cb].max(axis=(0, 1))
        width, height = self._corners[1] - self._corners[0]
        self.aspect = float(height / width)

    def draw(self, axes: Axes, frame: NDArray[Any], damage: NDArray[Any]) -> None:
        axes.tripcolor(self._cb, facecolors=self._high, cmap="Greys", vmin=-1.5, vmax=4.0)
        axes.tripcolor(
            self._particles, np.nan_to_num(frame), cmap=_LITHIUM, vmin=0, vmax=1, shading="gouraud"
        )
        lines = LineCollection(list(self._edges), cmap=_DAMAGE, norm=Normalize(0, 1), linewidths=3)
        lines.set_array(damage)
        axes.add_collection(lines)
        (left, bottom), (right, top) = self._corners
        axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
        axes.set_axis_off()

    def add_bars(self, figure: Figure, panels: NDArray[Any]) -> None:
        for name, colours in (("stoichiometry", _LITHIUM), ("damage", _DAMAGE)):
            mappable = ScalarMappable(Normalize(0, 1), colours)
            figure.colorbar(mappable, ax=list(panels), label=name, pad=0.01, fraction=0.02)


def _interpolate_damage(result: CaseResult, index: int, step: int) -> NDArray[np.float64]:
    """Damage between the ends of half-cycles, in step with its mean over all particles."""
    half: HalfCycle = result.half_cycles[index]
    before = result.half_cycles[index - 1].damage if index else np.zeros_like(half.damage)
    mean = half.particles[:, :, 5].mean(axis=1)
    start = result.half_cycles[index - 1].particles[-1, :, 5].mean() if index else 0.0
    grown = mean[-1] - start
    part = 1.0 if grown <= 0 else (mean[step] - start) / grown
    return np.asarray(before + part * (half.damage - before))


def _finish(axes: Axes) -> None:
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
