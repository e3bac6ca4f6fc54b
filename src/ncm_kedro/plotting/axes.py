"""Names, colours and violins that the figures of particle attributes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from ncm_kedro.particles.statistics.compare import find_unit, select_values
from ncm_kedro.plotting.style import BLUE, ORANGE

FloatArray = NDArray[np.float64]

LOG_ATTRIBUTES = ("surface_outer_um2", "volume_um3", "volume_std_um3")
"""Attributes that span decades and are never 0."""

_SUFFIXES = {"um": "µm", "um2": "µm²", "um3": "µm³", "degree": "°"}
_ENDINGS = ("_um", "_um2", "_um3", "_deg")
_BINS = 256
_FEW = 5
_HALF_WIDTH = 0.42
_NAME_LENGTH = 18


def name_attribute(name: str, attributes: Mapping[str, pd.DataFrame]) -> str:
    """Return an attribute's name and unit as an axis shows it.

    Parameters
    ----------
    name
        Column.
    attributes
        Attribute table by sample; the preset that they were measured with decides some units.
    """
    return write_unit(name, find_unit(name, attributes))


def write_unit(name: str, unit: str) -> str:
    """Return an attribute's name in words with a unit.

    Parameters
    ----------
    name
        Column.
    unit
        As the tables name it; 1 for pure numbers.
    """
    ending = next((end for end in sorted(_ENDINGS, key=len)[::-1] if name.endswith(end)), "")
    words = name.removesuffix(ending).replace("_", " ")
    return words if unit == "1" else f"{words} / {_SUFFIXES.get(unit, unit)}"


def colour_samples(samples: Sequence[str]) -> dict[str, str]:
    """Return a colour per sample, in order of the stages and told apart by the colour-blind.

    Parameters
    ----------
    samples
        Names, in order.
    """
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
    axes
        Where to draw.
    attributes
        Attribute table by sample; whole particles with a value are shown.
    name
        Attribute.
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
    axis
        The axis.
    low, high
        Smallest and largest value on it, above 0.
    """
    few = high < low * 30
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def annotate_empty(axes: Axes, text: str) -> None:
    """Write in an empty panel why it is empty.

    Parameters
    ----------
    axes
        The panel.
    text
        What to say.
    """
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=9,
        color="#56606e",
    )  # fmt: skip


def add_sample_legend(
    figure: Figure, colours: Mapping[str, str], attributes: Mapping[str, pd.DataFrame]
) -> None:
    """Name the samples below a figure, with how many whole particles each has.

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
            Patch(color=colour, label=f"{number} {shorten(sample)}: {whole} whole".strip())
        )
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False,
        fontsize=9,
    )  # fmt: skip


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
    """Places and numbers of the samples; two are told apart by colour alone."""
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
    axes.plot([place, place], [low, high], color="#1c2430", linewidth=2.2, solid_capstyle="butt")
    axes.plot(
        [place - 0.3, place + 0.3], [middle, middle], color="#1c2430", linewidth=1.2, gid="median"
    )
