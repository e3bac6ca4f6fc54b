"""Figures of whole samples: particles in 3D and their sizes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ncm_kedro.plotting.tomo_colours import BLUE, GREY, ORANGE
from ncm_kedro.plotting.tomo_cuts import LabelSolid
from ncm_kedro.plotting.tomo_render import Camera, Frame, render_labels

_EDGES = [
    ((a, b, c), (a + i, b + j, c + k))
    for i, j, k in ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    for a in range(2 - i)
    for b in range(2 - j)
    for c in range(2 - k)
]


def plot_solids(
    solid: LabelSolid, *, title: str, cut: float = 0.5, camera: Camera | None = None
) -> Figure:
    """Show the particles in 3D with a corner cut away, so that cracks inside are seen.

    Parameters
    ----------
    solid
        What `ncm_kedro.plotting.tomo_cuts.coarsen_labels` returned, with the same ``cut``.
    title
        What is shown.
    cut
        Edge of the corner that is taken away, as a share of each axis; 0 takes nothing.
    camera
        View; by default from the front right, above.
    """
    picture, frame = render_labels(solid, cut=cut, camera=camera)
    height, width = picture.shape[:2]
    figure = Figure(figsize=(7.4, 7.4 * height / width + 0.5), layout="constrained")
    axes = figure.subplots()
    _draw_box(axes, frame, behind=True)
    axes.imshow(picture, zorder=2, interpolation="antialiased")
    _draw_box(axes, frame, behind=False)
    axes.set_axis_off()
    axes.set_xlim(-0.06 * width, 1.06 * width)
    axes.set_ylim(1.06 * height, -0.04 * height)
    axes.set_aspect("equal")
    axes.set_title(title, fontsize=11)
    return figure


def plot_sizes(particles: Mapping[str, pd.DataFrame], *, bins: int = 24) -> Figure:
    """Show the distribution of equivalent diameters of each sample, by number and by volume.

    Parameters
    ----------
    particles
        Particle list by sample: ``equivalent_diameter_um``, ``volume_um3``, ``touches_border``.
        Particles at the border are cut, so that they stand apart and count in no median.
    bins
        Bars over the range of all samples.
    """
    figure = Figure(figsize=(9.6, 0.5 + 2.5 * max(1, len(particles))), layout="constrained")
    panels = figure.subplots(max(1, len(particles)), 2, squeeze=False, sharex=True)
    everything = [table["equivalent_diameter_um"].to_numpy() for table in particles.values()]
    diameters = np.concatenate([*everything, np.zeros(0)])
    top = float(diameters.max()) if len(diameters) else 1.0
    edges = np.linspace(0.0, top * 1.0001, bins + 1)
    for row, (sample, table) in zip(panels, particles.items(), strict=False):
        border = table["touches_border"].to_numpy(dtype=bool)
        size = table["equivalent_diameter_um"].to_numpy(dtype=np.float64)
        volume = table["volume_um3"].to_numpy(dtype=np.float64)
        _draw_histogram(row[0], size, np.ones_like(size), border, edges)
        _draw_histogram(row[1], size, volume / max(volume.sum(), 1e-12), border, edges)
        row[0].set_ylabel("particles")
        row[1].set_ylabel("share of volume")
        row[0].set_title(f"{sample}: {(~border).sum()} whole, {border.sum()} cut", fontsize=10)
        row[1].set_title(f"{sample}: by volume", fontsize=10)
        if len(size):
            row[0].legend(frameon=False, fontsize=8)
    for axes in panels[-1]:
        axes.set_xlabel("equivalent diameter / µm")
    return figure


def weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the value below which half of the weight lies.

    Parameters
    ----------
    values, weights
        (N,), weights not negative, N at least 1.
    """
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


def _draw_histogram(
    axes: Axes,
    size: NDArray[np.float64],
    weights: NDArray[np.float64],
    border: NDArray[np.bool_],
    edges: NDArray[np.float64],
) -> None:
    whole, _ = np.histogram(size[~border], edges, weights=weights[~border])
    cut, _ = np.histogram(size[border], edges, weights=weights[border])
    width = np.diff(edges)
    axes.bar(edges[:-1], whole, width, align="edge", color=BLUE, label="whole particles")
    axes.bar(
        edges[:-1], cut, width, whole, align="edge", color="#d5dbe3", edgecolor=GREY, hatch="///",
        linewidth=0.4, label="cut by the border",
    )  # fmt: skip
    if (~border).any():
        median = weighted_median(size[~border], weights[~border])
        axes.axvline(median, color=ORANGE, linewidth=1.4, label=f"median {median:.3g} µm (whole)")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_box(axes: Axes, frame: Frame, *, behind: bool) -> None:
    """Draw the box's edges: those at the far corner behind the particles, the others before."""
    forward, _, _ = frame.camera.axes
    far = forward > 0
    for first, second in _EDGES:
        at_far = all(
            (bool(a) == bool(f)) for a, b, f in zip(first, second, far, strict=True) if a == b
        )
        if at_far != behind:
            continue
        ends = frame.project(np.array([first, second]) * frame.extent_um)
        axes.plot(ends[:, 0], ends[:, 1], color="#9aa3ae", linewidth=0.8, zorder=1 if behind else 3)
    if not behind:
        _name_edges(axes, frame)


def _name_edges(axes: Axes, frame: Frame) -> None:
    """Write the edges' lengths beside the three edges that meet at the lower front."""
    z_um, y_um, x_um = frame.extent_um
    places = {
        f"x {x_um:.3g} µm": (0.0, 0.0, x_um / 2),
        f"y {y_um:.3g} µm": (0.0, y_um / 2, x_um),
        f"z {z_um:.3g} µm": (z_um / 2, 0.0, 0.0),
    }
    for text, place in places.items():
        column, row = frame.project(np.array([place]))[0]
        aside = {"x": (0, -10, "center"), "y": (8, -10, "left"), "z": (-6, 0, "right")}[text[0]]
        axes.annotate(
            text, (column, row), (aside[0], aside[1]), textcoords="offset points",
            ha=aside[2], va="center", fontsize=8, color="#56606e",
        )  # fmt: skip
