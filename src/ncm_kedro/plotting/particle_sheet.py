"""The most and the least damaged particles in cross-section, read as small cut-outs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ncm_kedro.plotting.tomo_colours import (
    draw_outlines,
    draw_scale_bar,
    stretch_grey,
    tint_cracks,
)
from ncm_kedro.tomo.volume import Volume

_MARGIN = 1.3
_MAX_PX = 1024
_PER_ROW = 8
_PANEL_IN = 1.6


@dataclass(frozen=True)
class ParticleCut:
    """The xy section through a particle's centre.

    Attributes
    ----------
    particle_id
        Label.
    damage, volume_um3
        Of the whole particle.
    pixel_um
        Height and width of a pixel in um.
    image_yx
        Grey values, (H, W); None where there is no grey volume.
    inside_yx, cracks_yx
        Where the particle is, and where in it a crack is marked, (H, W).
    """

    particle_id: int
    damage: float
    volume_um3: float
    pixel_um: tuple[float, float]
    image_yx: NDArray[np.float32] | None
    inside_yx: NDArray[np.bool_]
    cracks_yx: NDArray[np.bool_]


def choose_particles(attributes: pd.DataFrame, count: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the most and the least damaged whole particles, none of them twice.

    Parameters
    ----------
    attributes
        Attribute table.
    count
        How many of each at most.
    """
    known = attributes["damage"].notna() & ~attributes["touches_border"].astype(bool)
    ranked = attributes[known].sort_values(
        ["damage", "particle_id"], ascending=[False, True], kind="stable"
    )
    most = ranked.head(min(count, -(-len(ranked) // 2)))
    least = ranked.tail(min(count, len(ranked) // 2)).iloc[::-1]
    return most, least


def cut_particles(
    particles: pd.DataFrame, labels: Volume, image: Volume | None
) -> list[ParticleCut]:
    """Read the central xy section of each particle at full resolution, nothing more.

    Parameters
    ----------
    particles
        Rows of an attribute table: ``particle_id, x_um, y_um, z_um, volume_um3, elongation,
        damage``.
    labels
        Labels, with the extra ``cracks`` or without.
    image
        Grey volume of the same shape, or None.
    """
    return [_cut_particle(row, labels, image) for _, row in particles.iterrows()]


def plot_contact_sheet(
    most: Sequence[ParticleCut], least: Sequence[ParticleCut], *, title: str
) -> Figure:
    """Show particles in cross-section with outline, cracks tinted, number and damage.

    Parameters
    ----------
    most, least
        The most damaged, worst first, and the least damaged, soundest first.
    title
        What is shown.
    """
    groups = [("most damaged", list(most)), ("least damaged", list(least))]
    rows = [
        (name, cuts[start : start + _PER_ROW])
        for name, cuts in groups
        for start in range(0, len(cuts), _PER_ROW)
    ]
    columns = max([len(cuts) for _, cuts in rows], default=1)
    height = max(1, len(rows)) * (_PANEL_IN + 0.45) + 0.4
    figure = Figure(figsize=(columns * (_PANEL_IN + 0.08) + 0.4, height), layout="constrained")
    panels = figure.subplots(max(1, len(rows)), columns, squeeze=False)
    for axes in panels.ravel():
        axes.set_axis_off()
    for line, (name, cuts) in zip(panels, rows, strict=False):
        for axes, cut in zip(line, cuts, strict=False):
            _show_cut(axes, cut)
        line[0].text(
            -0.06, 0.5, name, transform=line[0].transAxes, rotation=90, ha="right", va="center",
            fontsize=9,
        )  # fmt: skip
    if not rows:
        panels[0][0].text(0.5, 0.5, "no whole particle", ha="center", va="center", fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure


def _cut_particle(row: pd.Series, labels: Volume, image: Volume | None) -> ParticleCut:
    box, step = _frame_particle(row, labels)
    number = int(row["particle_id"])
    inside = np.asarray(labels.array[box])[::step, ::step] == number
    cracks = labels.extras.get("cracks")
    if cracks is None:
        marked = np.zeros_like(inside)
    else:
        marked = inside & (np.asarray(cracks[box])[::step, ::step] > 0)
    grey = None
    if image is not None and image.shape_zyx == labels.shape_zyx:
        grey = np.asarray(image.array[box])[::step, ::step].astype(np.float32)
    return ParticleCut(
        particle_id=number,
        damage=float(row["damage"]),
        volume_um3=float(row["volume_um3"]),
        pixel_um=(labels.voxel_size_um[1] * step, labels.voxel_size_um[2] * step),
        image_yx=grey,
        inside_yx=inside,
        cracks_yx=marked,
    )


def _frame_particle(row: pd.Series, labels: Volume) -> tuple[tuple[int, slice, slice], int]:
    """Plane and window around the centre, by the size of a ball of that volume and elongation."""
    elongation = float(row["elongation"]) if pd.notna(row["elongation"]) else 1.0
    diameter = (6.0 * float(row["volume_um3"]) / np.pi) ** (1 / 3)
    half = 0.5 * _MARGIN * diameter * elongation ** (2 / 3)
    place = [float(row[f"{axis}_um"]) / size for axis, size in zip("zyx", labels.voxel_size_um,
             strict=True)]  # fmt: skip
    plane = int(np.clip(place[0], 0, labels.shape_zyx[0] - 1))
    windows = []
    for axis in (1, 2):
        reach = half / labels.voxel_size_um[axis]
        start = max(int(place[axis] - reach), 0)
        windows.append(slice(start, min(int(place[axis] + reach) + 1, labels.shape_zyx[axis])))
    longest = max(window.stop - window.start for window in windows)
    return (plane, windows[0], windows[1]), max(1, -(-longest // _MAX_PX))


def _show_cut(axes: Axes, cut: ParticleCut) -> None:
    height, width = cut.inside_yx.shape
    if cut.image_yx is None:
        axes.imshow(0.55 * cut.inside_yx, cmap="gray", vmin=0, vmax=1)
    else:
        axes.imshow(stretch_grey(cut.image_yx), cmap="gray", vmin=0, vmax=1)
    tint_cracks(axes, cut.cracks_yx.astype(np.float32), strength=0.55)
    if cut.inside_yx.any():
        draw_outlines(axes, cut.inside_yx.astype(np.uint32), colour="#ffd24d", width_pt=1.0)
    draw_scale_bar(axes, (height, width), cut.pixel_um[1])
    axes.set_aspect(cut.pixel_um[0] / cut.pixel_um[1])
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    axes.set_title(f"{cut.particle_id}: {cut.damage:.1%}", fontsize=8)
