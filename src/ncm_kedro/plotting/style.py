"""Colours and outlines of labelled particles, the same in every figure."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import hsv_to_rgb
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours

FloatArray = NDArray[np.float32] | NDArray[np.float64]
LabelArray = NDArray[np.integer]

BLUE, ORANGE, GREY, GREEN, RED = "#2b6ca3", "#d9731a", "#8a8a8a", "#3b8f5a", "#c0392b"
INK, SUBTLE, PURPLE = "#1c2430", "#56606e", "#7b4ea3"
CRACK_COLOUR = (0.93, 0.16, 0.12)
_GOLDEN = 0.61803398875
_SATURATIONS = (0.85, 0.7, 1.0, 0.75)
_VALUES = (0.95, 1.0, 0.8, 0.9)


def colour_labels(labels: LabelArray) -> NDArray[np.float64]:
    """Return a colour per label; near numbers get hues far apart, 0 is black.

    Parameters
    ----------
    labels
        Identities, any shape.

    Returns
    -------
    ndarray
        Shape of ``labels`` + (3,), RGB in [0, 1].
    """
    ids = np.asarray(labels).astype(np.int64)
    hues = np.mod(ids * _GOLDEN, 1.0)
    kind = np.mod(ids // 7, len(_SATURATIONS))
    hsv = np.stack([hues, np.take(_SATURATIONS, kind), np.take(_VALUES, kind)], axis=-1)
    rgb: NDArray[np.float64] = hsv_to_rgb(hsv)
    rgb[ids == 0] = 0.0
    return rgb


def stretch_grey(image_yx: FloatArray, low: float = 0.5, high: float = 99.7) -> FloatArray:
    """Return an image in [0, 1] between two of its percentiles.

    Parameters
    ----------
    image_yx
        Grey values, finite.
    low, high
        Percentiles that become black and white.
    """
    image = np.asarray(image_yx, dtype=np.float32)
    bottom, top = (float(level) for level in np.percentile(image, [low, high]))
    stretched: FloatArray = np.clip((image - bottom) / max(top - bottom, 1e-12), 0.0, 1.0)
    return stretched


def trace_outlines(labels_yx: LabelArray) -> list[tuple[int, list[FloatArray]]]:
    """Trace each label's outline, slightly smoothed.

    Parameters
    ----------
    labels_yx
        Labels of a section, (H, W), 0 is background.

    Returns
    -------
    list
        Pairs of a label and its closed lines, (N, 2) as x, y in pixels.
    """
    ids, dense = np.unique(labels_yx, return_inverse=True)
    dense = dense.reshape(labels_yx.shape)
    if ids[0] != 0:
        ids, dense = np.concatenate([[0], ids]), dense + 1
    outlines = []
    for number, box in enumerate(ndimage.find_objects(dense), start=1):
        if box is None:
            continue
        mask = np.pad((dense[box] == number).astype(np.float32), 2)
        smooth = ndimage.gaussian_filter(mask, 0.6) if mask.sum() > 12 else mask
        corner = np.array([box[1].start, box[0].start], dtype=np.float64) - 2.0
        lines = [line[:, ::-1] + corner for line in find_contours(smooth, 0.5)]
        outlines.append((int(ids[number]), lines))
    return outlines


def draw_outlines(
    axes: Axes,
    labels_yx: LabelArray,
    *,
    border_ids: Collection[int] = (),
    colour: str | None = None,
    width_pt: float = 1.1,
) -> None:
    """Draw the labels' outlines, those of border particles dashed.

    Parameters
    ----------
    axes
        Axes that show the section, pixels as units.
    labels_yx
        Labels of the section, (H, W).
    border_ids
        Labels of particles that the volume cuts.
    colour
        One colour for all; without it each label has its own.
    width_pt
        Line width in points.
    """
    border = {int(number) for number in border_ids}
    for dashed in (False, True):
        lines: list[FloatArray] = []
        owners: list[int] = []
        for number, parts in trace_outlines(labels_yx):
            if (number in border) == dashed:
                lines += parts
                owners += [number] * len(parts)
        if lines:
            colours = colour_labels(np.array(owners)) if colour is None else colour
            style = (0, (3.0, 2.0)) if dashed else "solid"
            axes.add_collection(
                LineCollection(lines, colors=colours, linewidths=width_pt, linestyles=style),
                autolim=False,
            )


def tint_cracks(axes: Axes, cracks_yx: FloatArray, strength: float = 0.75) -> None:
    """Overlay a red tint on cracks and voids.

    Parameters
    ----------
    cracks_yx
        Fraction of a pixel that is crack, (H, W), in [0, 1].
    strength
        Opacity of a pixel that is all crack.
    """
    tint = np.empty((*cracks_yx.shape, 4), dtype=np.float32)
    tint[..., :3] = CRACK_COLOUR
    tint[..., 3] = np.clip(cracks_yx, 0.0, 1.0)
    tint[..., 3] *= strength
    axes.imshow(tint, interpolation="nearest")


def draw_scale_bar(axes: Axes, shape_yx: tuple[int, int], pixel_um: float) -> None:
    """Draw a bar of a round length, about a quarter of the width, in the lower left corner.

    Parameters
    ----------
    shape_yx
        Rows and columns of the image.
    pixel_um
        Width of a column in um.
    """
    height, width = shape_yx
    length_um = _round_length(0.25 * width * pixel_um)
    length_px = length_um / pixel_um
    margin = 0.035 * max(height, width)
    thickness = max(0.012 * height, 0.8)
    pad = 0.6 * margin
    text_room = 0.075 * height
    axes.add_patch(
        Rectangle(
            (margin - pad, height - margin - text_room - pad),
            length_px + 2 * pad,
            text_room + thickness + 1.4 * pad,
            facecolor=(0, 0, 0, 0.55),
            edgecolor="none",
        )
    )
    bar = Rectangle((margin, height - margin - thickness), length_px, thickness, color="white")
    bar.set_gid("scale_bar")
    axes.add_patch(bar)
    axes.text(
        margin + length_px / 2,
        height - margin - 1.6 * thickness,
        f"{length_um:g} µm",
        color="white",
        ha="center",
        va="bottom",
        fontsize=7,
    )


def _round_length(length_um: float) -> float:
    power = 10.0 ** math.floor(math.log10(length_um))
    steps = (float(step * power) for step in (1.0, 2.0, 5.0))
    return max(step for step in steps if step <= length_um * 1.001)
