"""The most and the least damaged particles in cross-section, read as small cut-outs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ncm_kedro.plotting.style import (
    draw_outlines,
    draw_scale_bar,
    stretch_grey,
    tint_cracks,
)
from ncm_kedro.tomo.volumes.volume import Volume

_MARGIN = 1.3
_GROWTH = 1.5
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
        Of the complete particle.
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
    """Return the most and the least damaged complete particles, none of them twice.

    Parameters
    ----------
    count
        Maximum number of each.
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
    """Read the central xy section of each particle, all of it and little else.

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
        panels[0][0].text(0.5, 0.5, "no complete particle", ha="center", va="center", fontsize=9)
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
    """Plane through the centre, window around the particle's section there, and its pixel step."""
    number = int(row["particle_id"])
    place = [
        float(row[f"{axis}_um"]) / edge
        for axis, edge in zip("zyx", labels.voxel_size_um, strict=True)
    ]
    plane = int(np.clip(place[0], 0, labels.shape_zyx[0] - 1))
    elongation = float(row["elongation"]) if pd.notna(row["elongation"]) else 1.0
    radius_um = (0.75 * float(row["volume_um3"]) / np.pi) ** (1 / 3)
    half_um = _GROWTH * radius_um * elongation ** (2 / 3)
    windows = _place_window((place[1], place[2]), half_um, labels)
    inside = np.asarray(labels.array[plane, *windows]) == number
    while _runs_out(inside, windows, labels):
        half_um *= _GROWTH
        windows = _place_window((place[1], place[2]), half_um, labels)
        inside = np.asarray(labels.array[plane, *windows]) == number
    if inside.any():
        windows = _centre_window(inside, windows, labels)
    longest = max(window.stop - window.start for window in windows)
    return (plane, *windows), max(1, -(-longest // _MAX_PX))


def _place_window(
    centre_yx: tuple[float, float], half_um: float, labels: Volume
) -> tuple[slice, slice]:
    """Return the part of a square around a place, in voxels from the first corner, that exists."""
    ends = []
    for axis in (1, 2):
        reach = half_um / labels.voxel_size_um[axis]
        start = max(int(centre_yx[axis - 1] - reach), 0)
        ends.append((start, min(int(centre_yx[axis - 1] + reach) + 1, labels.shape_zyx[axis])))
    return slice(*ends[0]), slice(*ends[1])


def _runs_out(inside_yx: NDArray[np.bool_], windows: tuple[slice, slice], labels: Volume) -> bool:
    """Return whether a particle may extend beyond an edge of the window within the volume."""
    height, width = labels.shape_zyx[1:]
    return bool(
        (windows[0].start > 0 and inside_yx[0].any())
        or (windows[0].stop < height and inside_yx[-1].any())
        or (windows[1].start > 0 and inside_yx[:, 0].any())
        or (windows[1].stop < width and inside_yx[:, -1].any())
    )


def _centre_window(
    inside_yx: NDArray[np.bool_], windows: tuple[slice, slice], labels: Volume
) -> tuple[slice, slice]:
    """Return a square around the section's bounding box."""
    centre, extent_um = [], []
    for axis, window in enumerate(windows):
        (hit,) = np.nonzero(inside_yx.any(axis=1 - axis))
        centre.append(window.start + 0.5 * float(hit[0] + hit[-1] + 1))
        extent_um.append(float(hit[-1] - hit[0] + 1) * labels.voxel_size_um[axis + 1])
    return _place_window((centre[0], centre[1]), 0.5 * _MARGIN * max(extent_um), labels)


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
