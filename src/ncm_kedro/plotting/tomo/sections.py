"""Figures of sections: grey values with outlines, methods beside each other.

Figures of whole samples: particles in 3D and their sizes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ncm_kedro.plotting.style import (
    BLUE,
    GREY,
    ORANGE,
    LabelArray,
    draw_outlines,
    draw_scale_bar,
    stretch_grey,
    tint_cracks,
)
from ncm_kedro.plotting.tomo.cuts import LabelSolid, SectionCut
from ncm_kedro.plotting.tomo.render import Camera, Frame, render_labels

_PANEL_IN = 3.6
_AXES = {"xy": ("x", "y"), "xz": ("x", "z"), "yz": ("y", "z")}


def plot_orthogonal(
    cuts: Sequence[SectionCut], *, title: str, border_ids: Collection[int] = ()
) -> Figure:
    """Show sections through a sample: grey values, outlines with cracks, fused probability.

    Parameters
    ----------
    cuts
        A row of panels each.
    border_ids
        Particles that the volume cuts; their outlines are dashed.
    """
    with_labels = any(cut.labels_yx is not None for cut in cuts)
    with_probability = any(cut.probability_yx is not None for cut in cuts)
    columns = 1 + with_labels + with_probability
    heights = [_height_ratio(cut) for cut in cuts]
    figure = Figure(
        figsize=(_PANEL_IN * columns + 0.6, _PANEL_IN * sum(heights) + 0.35 * len(cuts) + 0.4),
        layout="constrained",
    )
    panels = figure.subplots(len(cuts), columns, squeeze=False, height_ratios=heights)
    for row, cut in zip(panels, cuts, strict=True):
        _show_grey(row[0], cut)
        row[0].set_title(f"{cut.plane} section at {cut.position_um:.4g} µm", fontsize=9)
        if with_labels:
            _show_outlines(row[1], cut, border_ids)
        if with_probability:
            _show_probability(figure, row[-1], cut)
    figure.suptitle(title, fontsize=11)
    return figure


def plot_methods(
    sections: Sequence[tuple[SectionCut, Mapping[str, LabelArray]]], *, truth: str | None = None
) -> Figure:
    """Show the outlines that several methods find in the same sections (compare Li et al. 2022,
    Fig. S3).

    Parameters
    ----------
    sections
        A row of panels each: the section, and the labels of each method on its pixels. All rows
        have the same methods.
    truth
        Name of the method that is the ground truth; its outlines overlay the others' in white.
    """  # noqa: D205
    names = list(sections[0][1])
    heights = [_height_ratio(cut) for cut, _ in sections]
    width = 2.9
    figure = Figure(
        figsize=(width * (1 + len(names)), width * sum(heights) + 0.35 * len(sections)),
        layout="constrained",
    )
    panels = figure.subplots(len(sections), 1 + len(names), squeeze=False, height_ratios=heights)
    for row, (cut, methods) in zip(panels, sections, strict=True):
        _show_grey(row[0], cut)
        row[0].set_title(f"{cut.plane} at {cut.position_um:.4g} µm", fontsize=9)
        for axes, name in zip(row[1:], names, strict=True):
            _show_image(axes, cut)
            if truth is not None and name != truth:
                draw_outlines(axes, methods[truth], colour="white", width_pt=0.6)
            draw_outlines(axes, methods[name], width_pt=1.2)
            count = int(np.count_nonzero(np.unique(methods[name])))
            axes.set_title(f"{name}: {count}", fontsize=9)
    return figure


def _height_ratio(cut: SectionCut) -> float:
    height, width = cut.image_yx.shape
    return float(np.clip(height * cut.pixel_um[0] / (width * cut.pixel_um[1]), 0.15, 2.5))


def _show_image(axes: Axes, cut: SectionCut) -> None:
    axes.imshow(stretch_grey(cut.image_yx), cmap="gray", vmin=0, vmax=1)
    axes.set_aspect(cut.pixel_um[0] / cut.pixel_um[1])
    axes.set_xticks([])
    axes.set_yticks([])
    height, width = cut.image_yx.shape
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


def _show_grey(axes: Axes, cut: SectionCut) -> None:
    _show_image(axes, cut)
    height, width = cut.image_yx.shape
    draw_scale_bar(axes, (height, width), cut.pixel_um[1])
    columns, rows = _AXES[cut.plane]
    axes.set_xlabel(f"{columns} →", fontsize=8, loc="left")
    axes.set_ylabel(f"← {rows}", fontsize=8, loc="top")


def _show_outlines(axes: Axes, cut: SectionCut, border_ids: Collection[int]) -> None:
    _show_image(axes, cut)
    if cut.labels_yx is None:
        return
    if cut.cracks_yx is not None:
        tint_cracks(axes, cut.cracks_yx, strength=0.6)
        axes.set_aspect(cut.pixel_um[0] / cut.pixel_um[1])
    draw_outlines(axes, cut.labels_yx, border_ids=border_ids)
    present = np.unique(cut.labels_yx[cut.labels_yx > 0])
    cut_off = int(np.isin(present, list(border_ids)).sum())
    axes.set_title(f"{len(present)} particles, {cut_off} at the border (dashed)", fontsize=9)


def _show_probability(figure: Figure, axes: Axes, cut: SectionCut) -> None:
    _show_image(axes, cut)
    if cut.probability_yx is None:
        return
    picture = axes.imshow(cut.probability_yx, cmap="magma", vmin=0.0, vmax=1.0)
    axes.set_aspect(cut.pixel_um[0] / cut.pixel_um[1])
    axes.set_title("fused probability", fontsize=9)
    figure.colorbar(picture, ax=axes, shrink=0.8, pad=0.02).ax.tick_params(labelsize=7)


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
        What `ncm_kedro.plotting.tomo.cuts.coarsen_labels` returned, with the same ``cut``.
    cut
        Edge of the corner that is taken away, as a fraction of each axis; 0 takes nothing.
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
        row[1].set_ylabel("fraction of volume")
        row[0].set_title(
            f"{sample}: {(~border).sum()} complete, {border.sum()} truncated", fontsize=10
        )
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
        (N,), weights not negative, N >= 1.
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
    axes.bar(edges[:-1], whole, width, align="edge", color=BLUE, label="complete particles")
    axes.bar(
        edges[:-1], cut, width, whole, align="edge", color="#d5dbe3", edgecolor=GREY, hatch="///",
        linewidth=0.4, label="truncated by the border",
    )  # fmt: skip
    if (~border).any():
        median = weighted_median(size[~border], weights[~border])
        axes.axvline(
            median, color=ORANGE, linewidth=1.4, label=f"median {median:.3g} µm (complete)"
        )
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
