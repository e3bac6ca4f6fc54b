"""Classified frames, to look at."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ncm_kedro.sem.batch import ShownFrame

_COLUMNS = 4
_PANEL_INCH = (3.6, 3.0)


def plot_overlay_sheet(frames: Sequence[ShownFrame], classes: Sequence[str]) -> Figure:
    """Draw frames with the most probable class of each tile, the least certain frames first.

    The title of an unknown frame says so in place of its class; its tiles are hatched where they
    are strange.

    Parameters
    ----------
    frames
        Classified frames.
    classes
        Class names in the order of the probabilities.
    """
    rows = -(-len(frames) // _COLUMNS)
    columns = min(_COLUMNS, len(frames))
    figure = Figure(
        figsize=(_PANEL_INCH[0] * columns, _PANEL_INCH[1] * rows + 0.6), layout="constrained"
    )
    panels = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    colours = matplotlib.colormaps["tab20"](np.arange(len(classes)) % 20)
    for axis in panels:
        axis.set_axis_off()
    for axis, frame in zip(panels, frames, strict=False):
        _draw_frame(axis, frame, classes, colours)
    seen = sorted({int(k) for f in frames for k in f.answer.tile_probabilities.argmax(axis=1)})
    figure.legend(
        handles=[Patch(color=colours[k], label=classes[k]) for k in seen],
        loc="outside lower center",
        ncols=min(6, len(seen)),
        fontsize=8,
    )
    return figure


def _draw_frame(axis: Axes, frame: ShownFrame, classes: Sequence[str], colours: np.ndarray) -> None:
    answer = frame.answer
    axis.imshow(frame.small_yx, cmap="gray", vmin=0, vmax=255)
    side = answer.tile_px * frame.scale
    strangeness = answer.tiles.strangeness
    count = len(answer.tile_xy_px)
    strange = np.zeros(count, np.bool_) if strangeness is None else strangeness.unknown
    tiles = zip(answer.tile_xy_px * frame.scale, answer.tile_probabilities, strange, strict=True)
    for (x, y), probabilities, is_strange in tiles:
        best = int(probabilities.argmax())
        colour = colours[best]
        box = Rectangle(
            (x, y),
            side,
            side,
            facecolor=(*colour[:3], 0.18),
            edgecolor=colour,
            hatch="///" if is_strange else None,
        )
        axis.add_patch(box)
        axis.text(
            x + side / 2,
            y + side / 2,
            f"{probabilities[best]:.2f}",
            color="white",
            fontsize=7,
            ha="center",
            va="center",
        )
    name = frame.file if len(frame.file) <= 44 else f"…{frame.file[-43:]}"
    axis.set_title(f"{_say_verdict(frame, classes)}\n{name}", fontsize=8)


def _say_verdict(frame: ShownFrame, classes: Sequence[str]) -> str:
    """Class and probability, the size of the set, or that the frame is like nothing known."""
    best = int(frame.answer.probabilities.argmax())
    probability = frame.answer.probabilities[best]
    if frame.row["unknown"]:
        return f"UNKNOWN (p = {frame.row['unknown_p']:.3f}); nearest {classes[best]}"
    size = frame.row["set_size"]
    others = f"  or {size - 1} more" if size is not None and size > 1 else ""
    return f"{classes[best]}  p = {probability:.2f}{others}"
