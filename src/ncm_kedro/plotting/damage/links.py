"""Correlations of every sample as matrices and as circles (Figs. S9, S10 of Li et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.projections.polar import PolarAxes
from numpy.typing import NDArray

from ncm_kedro.plotting.axes import MEDIUM, PAGE_WIDTH_IN, SMALL, shorten
from ncm_kedro.plotting.numbers import get_paper_name
from ncm_kedro.plotting.style import BLUE, INK, RED

with matplotlib.rc_context():  # its import changes how every figure of the process is saved
    from pycirclize import Circos

_COLOURS = {True: RED, False: BLUE}
_ALPHA_COMMON, _ALPHA_DIFFERENT = 0.22, 0.85
_MINUS = "\N{MINUS SIGN}"
_RIM, _INSIDE = (86.0, 100.0), 85.0
_SIGN_RADII = (89.5, 96.5)
_GAP_DEGREE = 3.0
_FILL = 0.92
_LEGEND_IN = 0.4


def plot_link_matrices(links: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Show the correlations of every sample as a matrix with its values.

    Parameters
    ----------
    links
        ``sample, first, second, r, shown``; what is no link is written in grey.
    names
        Latent dimensions or attributes, in order.
    """
    samples = list(pd.unique(links["sample"]))
    figure, panels = _arrange(samples, edge=max(2.2, 0.28 * len(names) + 0.7), margin=0.7)
    image = None
    for axes, sample in zip(panels, samples, strict=True):
        own = links[links["sample"] == sample]
        image = _draw_matrix(axes, _fill_matrix(own, names), own, names)
        axes.set_title(shorten(sample), fontsize=MEDIUM)
    if image is not None:
        bar = figure.colorbar(image, ax=panels, shrink=0.7, pad=0.02)
        bar.set_label("Pearson correlation", fontsize=MEDIUM)
        bar.ax.tick_params(labelsize=SMALL)
    return figure


def plot_circular_links(links: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Show the links of every sample as bands across a circle.

    A band is as wide as its correlation is strong, on one scale for all samples; its sign is
    written at one end. Links that all samples have in common are faint.

    Parameters
    ----------
    links
        ``sample, first, second, r, shown, common``.
    names
        Latent dimensions or attributes, in order round the circle.
    """
    samples = list(pd.unique(links["sample"]))
    shown = links[links["shown"] & links["first"].isin(names) & links["second"].isin(names)]
    ends = pd.concat([shown[["sample", end, "r"]].set_axis(["sample", "name", "r"], axis=1)
                      for end in ("first", "second")])  # fmt: skip
    load = ends["r"].abs().groupby([ends["sample"], ends["name"]]).sum()
    full = float(load.max()) if len(load) else 1.0
    figure, panels = _arrange(samples, edge=PAGE_WIDTH_IN / 2, margin=0.0, projection="polar")
    for axes, sample in zip(panels, samples, strict=True):
        own = shown[shown["sample"] == sample]
        if isinstance(axes, PolarAxes):
            _draw_circle(axes, own, names, full)
        axes.set_title(
            f"{shorten(sample)}: {_count(len(own))}", fontsize=MEDIUM, loc="left", pad=20
        )
    _add_legend(figure, several=len(samples) > 1)
    return figure


def _count(links: int) -> str:
    return {0: "no links", 1: "1 link"}.get(links, f"{links} links")


def _arrange(
    samples: Sequence[str], *, edge: float, margin: float, projection: str | None = None
) -> tuple[Figure, list[Axes]]:
    """Place a panel per sample, as many beside each other as a page is wide."""
    columns = max(min(len(samples), int((PAGE_WIDTH_IN - margin + 0.01) / edge)), 1)
    lines = max(math.ceil(len(samples) / columns), 1)
    figure = Figure(
        figsize=(edge * columns + margin, edge * lines + _LEGEND_IN), layout="constrained"
    )
    panels = [
        figure.add_subplot(lines, columns, place, projection=projection)
        for place in range(1, len(samples) + 1)
    ]
    return figure, panels


def _fill_matrix(links: pd.DataFrame, names: Sequence[str]) -> NDArray[np.float64]:
    places = {name: place for place, name in enumerate(names)}
    matrix = np.full((len(names), len(names)), np.nan)
    np.fill_diagonal(matrix, 1.0)
    for first, second, r in zip(links["first"], links["second"], links["r"], strict=True):
        if first in places and second in places:
            matrix[places[first], places[second]] = matrix[places[second], places[first]] = r
    return matrix


def _draw_matrix(
    axes: Axes, matrix: NDArray[np.float64], links: pd.DataFrame, names: Sequence[str]
) -> matplotlib.image.AxesImage:
    shades = matplotlib.colormaps["RdBu_r"].with_extremes(bad="#dddddd")
    image = axes.imshow(matrix, cmap=shades, vmin=-1, vmax=1)
    shown = {
        frozenset(pair)
        for pair in zip(
            links.loc[links["shown"], "first"], links.loc[links["shown"], "second"], strict=True
        )
    }
    for (row, column), r in np.ndenumerate(matrix):
        if row == column:
            continue
        linked = frozenset((names[row], names[column])) in shown
        strong = "white" if abs(r) > 0.65 else INK
        text = f"{r:.2f}".replace("0.", ".") if np.isfinite(r) else "n/a"
        axes.text(
            column, row, text, ha="center", va="center", fontsize=SMALL,
            color=strong if linked else "#7a828c",
        )  # fmt: skip
    labels = [get_paper_name(name) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=90 if len(names) > 4 else 0, fontsize=SMALL)
    axes.set_yticks(range(len(names)), labels, fontsize=SMALL)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


def _draw_circle(axes: PolarAxes, links: pd.DataFrame, names: Sequence[str], full: float) -> None:
    circle = Circos({name: 1.0 for name in names}, space=_GAP_DEGREE)
    for sector in circle.sectors:
        sector.add_track(_RIM).axis(fc="#dfe3e8", ec="#8a94a0", lw=0.5)
        sector.text(get_paper_name(sector.name), r=104, size=SMALL, orientation="vertical")
    slots = _assign_slots(links, names, full)
    signs = dict.fromkeys(names, 0)
    busy = {name: sum(name in pair for pair in slots) for name in names}
    for number, (first, second) in enumerate(slots):
        link = links.iloc[number]
        ends = slots[first, second]
        circle.link(
            (first, *ends[0]), (second, *ends[1]), r1=_INSIDE, r2=_INSIDE,
            color=_COLOURS[bool(link["r"] > 0)],
            alpha=_ALPHA_COMMON if link["common"] else _ALPHA_DIFFERENT,
            zorder=1.5 if link["common"] else 2.0, lw=0.3, allow_twist=False,
        )  # fmt: skip
        name, slot = (first, ends[0]) if busy[first] <= busy[second] else (second, ends[1])
        circle.get_sector(name).text(
            "+" if link["r"] > 0 else _MINUS, x=sum(slot) / 2, r=_SIGN_RADII[signs[name] % 2],
            size=MEDIUM, color=_COLOURS[bool(link["r"] > 0)], weight="bold", adjust_rotation=False,
        )  # fmt: skip
        signs[name] += 1
    circle.plotfig(ax=axes)


def _assign_slots(
    links: pd.DataFrame, names: Sequence[str], full: float
) -> dict[tuple[str, str], tuple[tuple[float, float], tuple[float, float]]]:
    """Where each link starts and ends within its sectors, which run from 0 to 1.

    A sector's links stand in the order in which their other ends follow round the circle, the
    nearest counter-clockwise first, so that they cross little.
    """
    places = {name: place for place, name in enumerate(names)}
    pairs = list(zip(links["first"], links["second"], links["r"].abs(), strict=True))
    slots: dict[tuple[str, str], list[tuple[float, float]]] = {
        (first, second): [(0.0, 0.0), (0.0, 0.0)] for first, second, _ in pairs
    }
    for name in names:
        own = [pair for pair in pairs if name in pair[:2]]

        def turn(pair: tuple[str, str, float], name: str = name) -> int:
            other = pair[1] if pair[0] == name else pair[0]
            return (places[name] - places[other]) % len(names)

        gap = (1.0 - sum(r for *_, r in own) / full * _FILL) / (len(own) + 1)
        start = gap
        for first, second, r in sorted(own, key=turn):
            end = start + r / full * _FILL
            slots[first, second][0 if first == name else 1] = (start, end)
            start = end + gap
    return {pair: (ends[0], ends[1]) for pair, ends in slots.items()}


def _add_legend(figure: Figure, *, several: bool) -> None:
    handles = [
        Patch(color=RED, alpha=_ALPHA_DIFFERENT, label="+ positive"),
        Patch(color=BLUE, alpha=_ALPHA_DIFFERENT, label=f"{_MINUS} negative"),
    ]
    if several:
        handles.append(
            Patch(color="#56606e", alpha=_ALPHA_COMMON, label="faint: in all samples, same sign")
        )
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=MEDIUM,
    )
