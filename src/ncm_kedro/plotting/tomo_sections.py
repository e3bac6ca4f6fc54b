"""Figures of sections: grey values with outlines, methods beside each other, phantoms."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ncm_kedro.plotting.tomo_colours import (
    FloatArray,
    LabelArray,
    colour_labels,
    draw_outlines,
    draw_scale_bar,
    stretch_grey,
    tint_cracks,
)
from ncm_kedro.plotting.tomo_cuts import SectionCut

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
    title
        What is shown.
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
        Name of the method that is the truth; its outlines are laid white over the others'.
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


def plot_phantom(
    image_yx: FloatArray,
    labels_yx: LabelArray,
    cracks_yx: NDArray[np.bool_],
    *,
    pixel_um: float,
    real_yx: FloatArray | None = None,
) -> Figure:
    """Show a phantom's section, its truth, and a real section beside.

    Parameters
    ----------
    image_yx
        Grey values of the phantom, (H, W).
    labels_yx, cracks_yx
        True labels and true cracks, (H, W).
    pixel_um
        Pixel size of the phantom in um.
    real_yx
        A real section, any shape.
    """
    count = 2 if real_yx is None else 3
    figure = Figure(figsize=(4.2 * count, 4.6), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    for axes in panels:
        axes.set_axis_off()
    panels[0].imshow(stretch_grey(image_yx), cmap="gray", vmin=0, vmax=1)
    panels[0].set_title("phantom", fontsize=10)
    shape = (int(labels_yx.shape[0]), int(labels_yx.shape[1]))
    draw_scale_bar(panels[0], shape, pixel_um)
    panels[1].imshow(colour_labels(labels_yx), interpolation="nearest")
    tint_cracks(panels[1], np.asarray(cracks_yx, dtype=np.float32), strength=1.0)
    panels[1].set_title("its truth: particles, cracks and voids (red)", fontsize=10)
    if real_yx is not None:
        panels[2].imshow(stretch_grey(real_yx), cmap="gray", vmin=0, vmax=1)
        panels[2].set_title("real section", fontsize=10)
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
