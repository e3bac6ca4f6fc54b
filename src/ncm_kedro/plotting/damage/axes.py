"""Panels, names and marks that the figures of damage attribution share."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ncm_kedro.particles.columns import ATTRIBUTES
from ncm_kedro.particles.statistics.compare import find_unit
from ncm_kedro.plotting.axes import write_unit

PAGE_WIDTH_IN = 7.2
"""Width of a printed page's text in inches; figures are drawn at this size."""
SMALL, MEDIUM = 7.0, 8.0
"""Sizes of letters in points."""
INK = "#1c2430"

_PAPER_NAMES = {attribute.name: attribute.paper_name for attribute in ATTRIBUTES}
_NAME_WIDTH = 24
_SENTENCE_WIDTH = 34
_LINE_IN = 0.13
_ROW_IN = 0.21


def get_paper_name(name: str) -> str:
    """Return an attribute's name in Table S1 of Li et al. (2022), or the name itself.

    Parameters
    ----------
    name
        Column.
    """
    return _PAPER_NAMES.get(name, name)


def format_with_unit(name: str, values: pd.DataFrame) -> str:
    """Return an attribute's name in Table S1 and its unit.

    Parameters
    ----------
    name
        Column.
    values
        Table of attributes; ``attrs["preset"]`` decides some units.
    """
    if name not in _PAPER_NAMES:
        return name
    return write_unit(_PAPER_NAMES[name], find_unit(name, {"": values}))


def wrap_name(label: str) -> str:
    """Return the name of a group in lines that fit beside an axis.

    Parameters
    ----------
    label
        Name, such as ``Volume + SurfaceOuter``.
    """
    return "\n".join(textwrap.wrap(label, _NAME_WIDTH, max_lines=3, placeholder=" …")) or label


def annotate_panel(axes: Axes, sentence: str) -> None:
    """Write in a panel, in lines that fit, why nothing is drawn there.

    Parameters
    ----------
    axes
        The panel; it loses its ticks and its frame.
    sentence
        What to say.
    """
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.text(
        0.5, 0.5, textwrap.fill(sentence, _SENTENCE_WIDTH), transform=axes.transAxes,
        ha="center", va="center", fontsize=MEDIUM, color="#56606e",
    )  # fmt: skip


def measure_rows(labels: Sequence[str]) -> float:
    """Return the height in inches that rows of equal height with such names need.

    Parameters
    ----------
    labels
        Names as `wrap_name` returns them.
    """
    breaks = max((label.count("\n") for label in labels), default=0)
    return len(labels) * (_ROW_IN + _LINE_IN * breaks)


def open_panels(
    count: int, columns: int, height_in: float, *, share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """Open a figure of a page's width.

    Parameters
    ----------
    count
        Panels; one at least is opened.
    columns
        Panels beside each other at most.
    height_in
        Height of a row of panels in inches.
    share_y
        Whether all panels have the same rows, named in the first of each row.

    Returns
    -------
    Figure, list of Axes
        With constrained layout; unused places are empty.
    """
    count = max(count, 1)
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(PAGE_WIDTH_IN, rows * height_in + 0.35), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False, sharey=share_y).ravel())
    for axes in panels[count:]:
        axes.set_visible(False)
    for axes in panels[:count]:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=SMALL)
    return figure, panels[:count]


def align_limits(panels: Sequence[Axes]) -> None:
    """Give panels one horizontal scale, so that they compare by eye.

    Parameters
    ----------
    panels
        With everything drawn.
    """
    limits = [axes.get_xlim() for axes in panels]
    for axes in panels:
        axes.set_xlim(min(low for low, _ in limits), max(high for _, high in limits))


def add_legend(figure: Figure, handles: Sequence[Artist], columns: int = 4) -> None:
    """Explain marks below all panels.

    Parameters
    ----------
    figure
        With constrained layout.
    handles
        Marks with their labels.
    columns
        Marks beside each other at most.
    """
    figure.legend(
        handles=list(handles), loc="outside lower center", ncols=min(columns, len(handles)),
        frameon=False, fontsize=SMALL,
    )  # fmt: skip


def name_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Give a panel a row per name, the first on top.

    Parameters
    ----------
    axes
        The panel; row n is drawn at y = n.
    labels
        Names, as `wrap_name` returns them.
    """
    axes.set_yticks(range(len(labels)), labels, fontsize=SMALL, linespacing=1.1)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", color="#e8eaee", linewidth=0.6)
    axes.set_axisbelow(True)
