"""Panels, names, legends, intervals and violins that figures share."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from ncm_kedro.particles.columns import find_unit, select_values
from ncm_kedro.plotting.numbers import get_paper_name
from ncm_kedro.plotting.style import BLUE, INK, ORANGE, SUBTLE

FloatArray = NDArray[np.float64]

PAGE_WIDTH_IN = 7.2
"""Width of a printed page's text in inches."""
SMALL, MEDIUM = 7.0, 8.0
"""Sizes of letters in points."""

LOG_ATTRIBUTES = ("surface_outer_um2", "volume_um3", "volume_std_um3")
"""Attributes that span decades and are never 0."""

_SUFFIXES = {"um": "µm", "um2": "µm²", "um3": "µm³", "degree": "°",
             "e/A3": "(e/Å³)", "1/(e/A3)": "(Å³/e)"}  # fmt: skip
_ENDINGS = ("_um", "_um2", "_um3", "_deg")
_BINS = 256
_FEW = 5
_HALF_WIDTH = 0.42
_NAME_LENGTH = 18
_NAME_WIDTH = 24
_SENTENCE_WIDTH = 34
_LINE_IN = 0.13
_ROW_IN = 0.21


def name_attribute(name: str, attributes: Mapping[str, pd.DataFrame]) -> str:
    """Return an attribute's name and unit as an axis shows it.

    Parameters
    ----------
    attributes
        Attribute table by sample; the preset that they were measured with decides some units.
    """
    return write_unit(name, find_unit(name, attributes))


def format_with_unit(name: str, values: pd.DataFrame) -> str:
    """Return an attribute's name in Table S1 and its unit.

    Parameters
    ----------
    values
        Table of attributes; ``attrs["preset"]`` decides some units.
    """
    label = get_paper_name(name)
    return name if label == name else write_unit(label, find_unit(name, {"": values}))


def write_unit(name: str, unit: str) -> str:
    """Return an attribute's name in words with a unit.

    Parameters
    ----------
    unit
        As the tables name it; 1 for pure numbers.
    """
    ending = next((end for end in sorted(_ENDINGS, key=len)[::-1] if name.endswith(end)), "")
    words = name.removesuffix(ending).replace("_", " ")
    return words if unit == "1" else f"{words} / {_SUFFIXES.get(unit, unit)}"


def colour_samples(samples: Sequence[str]) -> dict[str, str]:
    """Return a colour per sample, in order of the stages and safe for colour-blind readers."""
    if len(samples) <= 2:
        return dict(zip(samples, (BLUE, ORANGE), strict=False))
    shades = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.88, len(samples)))
    return {sample: to_hex(shade) for sample, shade in zip(samples, shades, strict=True)}


def shorten(name: str) -> str:
    """Return a name that fits below an axis.

    Parameters
    ----------
    name
        Of a sample.
    """
    return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…"


def draw_violins(
    axes: Axes,
    attributes: Mapping[str, pd.DataFrame],
    name: str,
    colours: Mapping[str, str],
) -> None:
    """Draw a violin per sample, with its median and quartiles; a few values as dots.

    More than two samples are numbered as in the legend of `add_sample_legend`.

    Parameters
    ----------
    attributes
        Attribute table by sample; complete particles with a value are shown.
    colours
        By sample, in the order of the violins.
    """
    logarithmic = name in LOG_ATTRIBUTES
    drawn = 0
    for place, (sample, colour) in enumerate(colours.items()):
        values = select_values(attributes[sample], name)
        values = values[values > 0] if logarithmic else values
        drawn += len(values)
        if len(values):
            _draw_violin(axes, values, place, colour, logarithmic)
    if logarithmic and drawn:
        axes.set_yscale("log")
        tick_decades(axes.yaxis, *axes.dataLim.intervaly)
    elif drawn:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    else:
        axes.set_yticks([])
        annotate_empty(axes, "no value")
    axes.set_xlim(-0.6, max(len(colours), 1) - 0.4)
    axes.set_xticks(*_number_samples(colours))
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def tick_decades(axis: Axis, low: float, high: float) -> None:
    """Tick a logarithmic axis sparsely, between the decades where it spans few.

    Parameters
    ----------
    low, high
        Smallest and largest value on it, above 0.
    """
    few = high < low * 30
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def annotate_empty(axes: Axes, text: str, *, keep_axis: bool = False) -> None:
    """Write in an empty panel, in lines that fit, why nothing is drawn there.

    Parameters
    ----------
    axes
        The panel; it loses its ticks and its frame unless ``keep_axis``.
    keep_axis
        Whether something else is drawn that needs the axis.
    """
    if not keep_axis:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    axes.text(
        0.5, 0.5, text if keep_axis else textwrap.fill(text, _SENTENCE_WIDTH),
        transform=axes.transAxes, ha="center", va="center", fontsize=MEDIUM, color=SUBTLE,
    )  # fmt: skip


def draw_intervals(
    axes: Axes,
    at: Sequence[float] | NDArray[np.floating],
    rows: Sequence[Mapping[str, Any]],
    name: str = "value",
    *,
    vertical: bool = False,
    **style: Any,
) -> None:
    """Draw values as marks with their intervals as whiskers, none where there is no interval.

    Parameters
    ----------
    at
        (N,), position of each value on the other axis.
    rows
        ``name``, ``low`` and ``high`` of each; bounds may be None, NaN or beyond the value.
    vertical
        Whether values run upwards.
    **style
        Passed to `Axes.errorbar`.
    """
    values, low, high = (
        np.array([row[key] for row in rows], dtype=np.float64) for key in (name, "low", "high")
    )
    spread = np.maximum([values - low, high - values], 0.0)
    style = {"fmt": "o", "capsize": 3, "markersize": 5, **style}
    if vertical:
        axes.errorbar(at, values, yerr=spread, **style)
    else:
        axes.errorbar(values, at, xerr=spread, **style)


def add_sample_legend(
    figure: Figure, colours: Mapping[str, str], attributes: Mapping[str, pd.DataFrame]
) -> None:
    """Name the samples below a figure, with how many complete particles each has.

    Parameters
    ----------
    figure
        With constrained layout.
    colours, attributes
        By sample.
    """
    if not colours:
        return
    handles = []
    numbers = _number_samples(colours)[1] or [""] * len(colours)
    for number, (sample, colour) in zip(numbers, colours.items(), strict=True):
        whole = int((~attributes[sample]["touches_border"].to_numpy(dtype=bool)).sum())
        handles.append(
            Patch(color=colour, label=f"{number} {shorten(sample)}: {whole} complete".strip())
        )
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False,
        fontsize=9,
    )  # fmt: skip


def wrap_name(label: str) -> str:
    """Return the name of a group in lines that fit beside an axis.

    Parameters
    ----------
    label
        Name, such as ``Volume + SurfaceOuter``.
    """
    return "\n".join(textwrap.wrap(label, _NAME_WIDTH, max_lines=3, placeholder=" …")) or label


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
        Maximum number of panels in a row.
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
        Maximum number of marks in a row.
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


def estimate_density(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return places and the smoothed density there, highest 1, nothing outside the values' range.

    The bandwidth is Silverman's; the density is reflected at both ends.

    Parameters
    ----------
    values
        (N,), not all the same.
    """
    count, edges = np.histogram(values, bins=_BINS)
    quarter = float(np.subtract(*np.quantile(values, [0.75, 0.25])))
    deviation = float(values.std())
    spread = min(deviation, quarter / 1.34) if quarter > 0 else deviation
    width = 0.9 * spread * len(values) ** -0.2
    step = float(edges[1] - edges[0])
    density = gaussian_filter1d(count.astype(np.float64), max(width / step, 1.0), mode="reflect")
    return 0.5 * (edges[1:] + edges[:-1]), density / density.max()


def _number_samples(colours: Mapping[str, str]) -> tuple[list[int], list[str]]:
    """Places and numbers of the samples; two are distinguished by colour alone."""
    places = list(range(len(colours))) if len(colours) > 2 else []
    return places, [str(place + 1) for place in places]


def _draw_violin(
    axes: Axes, values: FloatArray, place: int, colour: str, logarithmic: bool
) -> None:
    scaled = np.log10(values) if logarithmic else values
    if len(values) < _FEW or np.ptp(scaled) <= 1e-9 * max(1.0, float(np.abs(scaled).max())):
        axes.plot(np.full(len(values), place), values, "o", color=colour, markersize=3)
    else:
        places, density = estimate_density(scaled)
        places = 10.0**places if logarithmic else places
        half = _HALF_WIDTH * density
        axes.fill_betweenx(
            places, place - half, place + half, color=colour, alpha=0.45, linewidth=0
        )
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    axes.plot([place, place], [low, high], color=INK, linewidth=2.2, solid_capstyle="butt")
    axes.plot([place - 0.3, place + 0.3], [middle, middle], color=INK, linewidth=1.2, gid="median")
