"""Figures of pairs: attributes against each other, and measured against true values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy import stats

from ncm_kedro.plotting.axes import (
    LOG_ATTRIBUTES,
    add_sample_legend,
    annotate_empty,
    colour_samples,
    estimate_density,
    name_attribute,
    shorten,
    tick_decades,
)
from ncm_kedro.plotting.style import BLUE, GREEN, GREY, ORANGE

FloatArray = NDArray[np.float64]

_SHOWN_POINTS = 1500
_FEW_POINTS = 300
_MIN_COUNT = 5
_TRUTH_PANELS = {
    "volume_um3": "volume / µm³",
    "equivalent_diameter_um": "equivalent diameter / µm",
    "damage": "damage",
    "elongation": "elongation",
    "touching_particles": "touching particles",
}
_RELATIVE = ("volume_um3", "equivalent_diameter_um")
_AXES = {"x": BLUE, "y": ORANGE, "z": GREEN}


def plot_pairs(attributes: Mapping[str, pd.DataFrame], names: Sequence[str]) -> Figure:
    """Show attributes against each other: points below the diagonal, Spearman's rho above it.

    Parameters
    ----------
    attributes
        Attribute table by sample, in the order to show. Complete particles alone count.
    """
    colours = colour_samples(list(attributes))
    columns = list(dict.fromkeys(names))
    labels = [shorten(name_attribute(name, attributes)) for name in columns]
    whole = {
        sample: table.loc[~table["touches_border"].to_numpy(dtype=bool), columns]
        .astype(np.float64)
        .to_numpy()
        for sample, table in attributes.items()
    }
    size = len(columns)
    figure = Figure(figsize=(1.75 * size + 0.6, 1.6 * size + 0.6), layout="constrained")
    panels = figure.subplots(size, size, squeeze=False)
    for row in range(size):
        for column in range(size):
            axes = panels[row][column]
            if row == column:
                _draw_densities(axes, whole, row, columns[row], colours)
            elif row > column:
                _draw_points(axes, whole, (column, row), columns, colours)
            else:
                _write_correlations(axes, whole, (column, row), colours)
            _dress(axes, row, column, columns, labels)
    add_sample_legend(figure, colours, attributes)
    return figure


def plot_truth_scatter(pairs: pd.DataFrame) -> Figure:
    """Show measured against true values, with bias and correlation.

    Particles at the border are drawn hollow and count in no number.

    Parameters
    ----------
    pairs
        What `particles.statistics.pair_with_truth` returned; those of several samples may
        stand below each other.
    """
    figure = Figure(figsize=(11.5, 7.2), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    border = (
        pairs["touches_border"].to_numpy(dtype=bool) if len(pairs) else np.zeros(0, dtype=np.bool_)
    )
    for axes, (name, label) in zip(panels, _TRUTH_PANELS.items(), strict=False):
        if not len(pairs):
            annotate_empty(axes, "no particle with a ground truth")
            continue
        _draw_truth(axes, pairs, name, border)
        axes.set_xlabel(f"true {label}", fontsize=9)
        axes.set_ylabel(f"measured {label}", fontsize=9)
    if len(pairs):
        _draw_offsets(panels[-1], pairs[~border])
    else:
        annotate_empty(panels[-1], "no particle with a ground truth")
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure


def _draw_densities(
    axes: Axes,
    whole: Mapping[str, FloatArray],
    index: int,
    name: str,
    colours: Mapping[str, str],
) -> None:
    for sample, colour in colours.items():
        values = _take(whole[sample], index, name)
        if len(values) >= _MIN_COUNT and np.ptp(values) > 0:
            places, density = estimate_density(values)
            places = 10.0**places if name in LOG_ATTRIBUTES else places
            axes.fill_between(places, 0, density, color=colour, alpha=0.3, linewidth=0)
            axes.plot(places, density, color=colour, linewidth=1.2)
    axes.set_ylim(0, 1.1)
    axes.set_yticks([])


def _take(values: FloatArray, index: int, name: str) -> FloatArray:
    column = values[:, index]
    column = column[np.isfinite(column)]
    return np.log10(column[column > 0]) if name in LOG_ATTRIBUTES else column


def _draw_points(
    axes: Axes,
    whole: Mapping[str, FloatArray],
    places: tuple[int, int],
    columns: Sequence[str],
    colours: Mapping[str, str],
) -> None:
    rng = np.random.default_rng(0)
    for sample, colour in colours.items():
        both = whole[sample][:, list(places)]
        both = both[np.isfinite(both).all(axis=1)]
        x, y = both[rng.permutation(len(both))[:_SHOWN_POINTS]].T
        size = 12 if len(x) < _FEW_POINTS else 4
        axes.scatter(x, y, s=size, color=colour, alpha=0.5, linewidths=0, rasterized=True)
    if columns[places[1]] in LOG_ATTRIBUTES and axes.dataLim.height > 0:
        axes.set_yscale("log")
        tick_decades(axes.yaxis, *axes.dataLim.intervaly)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))


def _write_correlations(
    axes: Axes,
    whole: Mapping[str, FloatArray],
    places: tuple[int, int],
    colours: Mapping[str, str],
) -> None:
    step = min(0.2, 0.8 / max(len(colours), 1))
    top = 0.5 + step * (len(colours) - 1) / 2
    for number, (sample, colour) in enumerate(colours.items()):
        both = whole[sample][:, list(places)]
        both = both[np.isfinite(both).all(axis=1)]
        known = len(both) >= _MIN_COUNT and bool((np.ptp(both, axis=0) > 0).all())
        text = f"{stats.spearmanr(both[:, 0], both[:, 1]).statistic:+.2f}" if known else "n/a"
        axes.text(
            0.5, top - step * number, text, transform=axes.transAxes, ha="center", va="center",
            color=colour, fontsize=11 if len(colours) <= 4 else 8, fontweight="bold",
        )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])


def _dress(
    axes: Axes, row: int, column: int, columns: Sequence[str], labels: Sequence[str]
) -> None:
    size = len(columns)
    axes.tick_params(labelsize=7)
    if row >= column and columns[column] in LOG_ATTRIBUTES and axes.dataLim.width > 0:
        axes.set_xscale("log")
        tick_decades(axes.xaxis, *axes.dataLim.intervalx)
    elif row >= column:
        axes.xaxis.set_major_locator(MaxNLocator(3))
    if row >= column and row != size - 1:
        axes.tick_params(labelbottom=False)
    if row > column > 0:
        axes.tick_params(labelleft=False)
    if row == size - 1:
        axes.set_xlabel(labels[column], fontsize=8)
    if column == 0:
        axes.set_ylabel(labels[row], fontsize=8)


def _draw_truth(axes: Axes, pairs: pd.DataFrame, name: str, border: NDArray[np.bool_]) -> None:
    true = pairs[f"{name}_true"].to_numpy(dtype=np.float64)
    measured = pairs[f"{name}_measured"].to_numpy(dtype=np.float64)
    known = np.isfinite(true) & np.isfinite(measured)
    if name == "volume_um3":
        known &= (true > 0) & (measured > 0)
        axes.set_xscale("log")
        axes.set_yscale("log")
    shift = np.zeros((2, len(true)))
    if name == "touching_particles":
        shift = np.random.default_rng(0).uniform(-0.25, 0.25, shift.shape)
    for mask, face in ((known & border, "none"), (known & ~border, BLUE)):
        axes.scatter(
            true[mask] + shift[0, mask], measured[mask] + shift[1, mask], s=14, facecolors=face,
            edgecolors=GREY if face == "none" else "none", linewidths=0.6, alpha=0.6,
            rasterized=True,
        )  # fmt: skip
    if known.any():
        ends = [min(true[known].min(), measured[known].min()), max(true[known].max(),
                measured[known].max())]  # fmt: skip
        axes.plot(ends, ends, color=ORANGE, linewidth=1.2, gid="identity")
    whole = known & ~border
    axes.set_title(_evaluate(true[whole], measured[whole], relative=name in _RELATIVE), fontsize=9)


def _evaluate(true: FloatArray, measured: FloatArray, *, relative: bool) -> str:
    if not len(true):
        return "no complete particle"
    error = measured / true - 1.0 if relative else measured - true
    bias = f"{error.mean():+.1%}" if relative else f"{error.mean():+.3g}"
    spread = f"{error.std():.1%}" if relative else f"{error.std():.2g}"
    text = f"n = {len(true)}, bias {bias} ± {spread}"
    if len(true) >= _MIN_COUNT and np.ptp(true) > 0 and np.ptp(measured) > 0:
        text += f", r = {np.corrcoef(true, measured)[0, 1]:.3f}"
    return text


def _draw_offsets(axes: Axes, whole: pd.DataFrame) -> None:
    offsets = {
        axis: (whole[f"{axis}_um_measured"] - whole[f"{axis}_um_true"]).to_numpy(dtype=np.float64)
        for axis in _AXES
    }
    everything = np.concatenate(list(offsets.values()))
    if not len(everything):
        annotate_empty(axes, "no complete particle")
        return
    reach = max(float(np.abs(everything).max()), 1e-6)
    edges = np.linspace(-reach, reach, 32).tolist()
    for axis, colour in _AXES.items():
        label = f"{axis}: {offsets[axis].mean():+.2g} ± {offsets[axis].std():.2g} µm"
        axes.hist(offsets[axis], edges, histtype="step", color=colour, linewidth=1.4, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.axvline(0.0, color=GREY, linewidth=0.8)
    axes.set_xlabel("measured minus true centre / µm", fontsize=9)
    axes.set_ylabel("particles", fontsize=9)
    axes.set_title(f"n = {len(whole)}", fontsize=9)
    axes.margins(y=0.35)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
