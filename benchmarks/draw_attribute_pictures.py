"""Draw the pictures of ``docs/attributes.md`` with the code that measures.

Without names all of them are drawn.

    python benchmarks/draw_attribute_pictures.py [--folder docs/images] [NAME ...]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edt
import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

import attribute_biases as biases
from attribute_biases import (
    VOXEL_UM,
    ball,
    cuboid,
    draw,
    ellipsoid,
    measure,
    measure_solids,
    slot,
    stack,
    wavy,
)
from ncm_kedro.particles.axes import find_nearest, measure_alignment
from ncm_kedro.particles.cutouts import count_shells
from ncm_kedro.particles.kernels.crack_width import map_crack_width
from ncm_kedro.particles.kernels.cutouts import fill_one
from ncm_kedro.particles.kernels.filling import close_particle
from ncm_kedro.particles.variants import VariedLabels
from ncm_kedro.plotting.style import BLUE, GREEN, GREY, ORANGE, RED

SOLID = "#c9d3dc"
Array = NDArray[Any]


def draw_crofton() -> Figure:
    """Lines through a section; error against size and turn."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.7))
    _show_lines(left)
    rng = np.random.default_rng(0)
    radii = np.array([4, 6, 8, 10, 14, 20, 28])
    ways: dict[str, list[float]] = {"13 directions": [], "surface voxels": [], "voxel faces": []}
    for radius in radii:
        solids = [draw(ball(radius), [radius] * 3, rng=rng) for _ in range(6)]
        true = 4 * np.pi * radius**2
        for name, preset in (("13 directions", "corrected"), ("surface voxels", "paper")):
            area = measure_solids(solids, preset=preset)["surface_outer_um2"].mean()
            ways[name].append(area / VOXEL_UM**2 / true - 1)
        faces = [sum(np.diff(np.pad(s, 1).astype(np.int8), axis=a).astype(bool).sum()
                     for a in range(3)) for s, _ in solids]  # fmt: skip
        ways["voxel faces"].append(np.mean(faces) / true - 1)
    for (name, errors), colour in zip(ways.items(), (BLUE, ORANGE, GREY), strict=True):
        middle.plot(radii, np.array(errors) * 100, "o-", color=colour, label=name, ms=4)
    middle.axhline(0, color="k", lw=0.7)
    middle.set(xlabel="radius of a ball (voxels)", ylabel="error of the surface (%)")
    middle.legend(frameon=False, loc="center", bbox_to_anchor=(0.6, 0.7))
    turns = np.arange(0, 91, 5)
    for (edges, name), colour in zip(
        (((40, 40, 40), "cube"), ((60, 60, 10), "plate")), (BLUE, GREEN), strict=True
    ):
        a, b, c = edges
        true = 2 * (a * b + b * c + c * a) * VOXEL_UM**2
        solids = [
            draw(cuboid(*edges), np.array(edges) / 2, rng=rng,
                 turn=Rotation.from_euler("xz", [turn / 2, turn], degrees=True))
            for turn in turns
        ]  # fmt: skip
        errors = measure_solids(solids)["surface_outer_um2"] / true - 1
        right.plot(turns, errors * 100, "o-", color=colour, ms=4, label=name)
    right.axhline(0, color="k", lw=0.7)
    right.set(
        xlabel="turn about z, half of it about x (degrees)", ylabel="error of the surface (%)"
    )
    right.legend(frameon=False)
    return figure


def _show_lines(panel: Axes) -> None:
    """Show the crossings along two of the directions on one section."""
    y, x = np.indices((17, 17)) - 8.0
    inside = np.hypot(y * 1.1, x * 0.9 + 0.3) < 6.2
    panel.imshow(inside, cmap=ListedColormap(["white", SOLID]), origin="lower")
    for (dy, dx), colour, rows in (((0, 1), BLUE, range(2, 16, 3)), ((1, 1), RED, range(-8, 9, 4))):
        for row in rows:
            start = (row, 0) if dy == 0 else (max(row, 0), max(-row, 0))
            steps = 17 - max(start) if dy else 17
            ys = np.array([start[0] + dy * n for n in range(steps)])
            xs = np.array([start[1] + dx * n for n in range(steps)])
            panel.plot(xs, ys, color=colour, lw=0.7, alpha=0.7)
            at = np.flatnonzero(np.diff(inside[ys, xs].astype(int)))
            panel.plot(xs[at] + dx / 2, ys[at] + dy / 2, "o", color=colour, ms=4)
    panel.set(title="crossings along 2 of the 13 directions", xticks=[], yticks=[])


def draw_closing() -> Figure:
    """Draw a closing with a margin and one within the tight box."""
    figure, panels = plt.subplots(1, 4, figsize=(14, 3.7))
    rng = np.random.default_rng(1)
    inside, crack = draw(ball(24), [24] * 3, slot(5, 2.0), rng=rng,
                         turn=Rotation.from_euler("x", 90, degrees=True))  # fmt: skip
    label = np.pad(inside & ~crack, 12).astype(np.uint8)
    middle = len(label) // 2
    _show_filling(panels[0], label[middle], label[middle], "labelled: the open crack is not")
    filled = _fill_as_measured(label, 3.9)
    _show_filling(panels[1], label[middle], filled[middle], "closing with a margin (corrected)")
    box = ndimage.find_objects(label)[0]
    tight = label.copy()
    tight[box] = _fill(np.ascontiguousarray(label[box]), 10.0)
    _show_filling(panels[2], label[middle], tight[middle], "within the tight box (damage, paper)")
    radii = [12, 15, 20, 25, 35, 45]
    for preset, colour in (("corrected", BLUE), ("paper", ORANGE)):
        damage = [
            measure_solids([draw(ball(r), [r] * 3, rng=rng)], preset=preset)["damage"].mean()
            for r in radii
        ]
        panels[3].plot(radii, np.array(damage) * 100, "o-", color=colour, label=preset)
    panels[3].set(xlabel="radius of an intact ball (voxels)", ylabel="damage (%)")
    panels[3].legend(frameon=False)
    return figure


def _fill(label: Array, radius_vx: float) -> Array:
    return close_particle(label, label, np.zeros_like(label), np.ones(3, np.float32), radius_vx)


def _fill_as_measured(label: Array, radius_vx: float) -> Array:
    low, high = np.zeros(3, np.int64), np.array(label.shape)
    cut = np.stack([low, high, low, high, high])
    nothing, edges = np.zeros((0, 0, 0), np.uint8), np.ones(3, np.float32)
    return fill_one(label, nothing, nothing, low, cut, 1, edges, radius_vx, False)[0]


def _show_filling(panel: Axes, label: Array, filled: Array, title: str) -> None:
    panel.imshow(label.astype(int) + 2 * (filled & ~label & 1), vmin=0, vmax=2,
                 cmap=ListedColormap(["white", SOLID, RED]), origin="lower")  # fmt: skip
    panel.set(xticks=[], yticks=[])
    panel.set_title(title, fontsize=10)


def draw_axes() -> Figure:
    """Turn an ellipsoid by yaw, then pitch, then roll; the titles are what is measured."""
    figure = plt.figure(figsize=(13, 3.7))
    rng = np.random.default_rng(2)
    half = np.array([22.0, 13.0, 7.0])
    steps = ((0, 0, 0), (40, 0, 0), (40, 25, 0), (40, 25, 50))
    for number, (angles, name) in enumerate(
        zip(steps, ("along the axes", "yaw about z", "then pitch", "then roll"), strict=True)
    ):
        turn = Rotation.from_euler("ZYX", angles, degrees=True)
        row = measure_solids([draw(ellipsoid(*half), half, turn=turn, rng=rng)]).iloc[0]
        panel: Any = figure.add_subplot(1, 4, number + 1, projection="3d")
        around, up = np.meshgrid(np.linspace(0, 2 * np.pi, 40), np.linspace(0, np.pi, 20))
        points = np.stack(
            [np.cos(around) * np.sin(up), np.sin(around) * np.sin(up), np.cos(up)], -1
        )
        x, y, z = np.moveaxis((points * half) @ turn.as_matrix().T, -1, 0)
        panel.plot_surface(x, y, z, color=SOLID, alpha=0.45, linewidth=0)
        for axis, (length, colour) in enumerate(zip(half, (RED, GREEN, BLUE), strict=True)):
            end = turn.as_matrix()[:, axis] * (length + 6)
            panel.plot(*np.stack([-end, end], 1), color=colour, lw=2)
        panel.set(xlim=(-22, 22), ylim=(-22, 22), zlim=(-22, 22), box_aspect=(1, 1, 1),
                  xticks=[], yticks=[], zticks=[], xlabel="x", ylabel="y", zlabel="z")  # fmt: skip
        for axis in (panel.xaxis, panel.yaxis, panel.zaxis):
            axis.labelpad = -14
        panel.view_init(elev=24, azim=-58)
        panel.set_title(
            f"{name}\nyaw {row.yaw_deg:.0f}, pitch {row.pitch_deg:.0f}, roll {row.roll_deg:.0f}",
            fontsize=10,
        )
    return figure


def draw_grey() -> Figure:
    """Grey values of the solid and of the whole label."""
    rng = np.random.default_rng(3)
    inside, crack = draw(ball(24), [24] * 3, slot(6, -8.0), rng=rng,
                         turn=Rotation.from_euler("x", 90, degrees=True))  # fmt: skip
    inside, crack = np.pad(inside, 3), np.pad(crack, 3)
    grey = np.where(inside & ~crack, 150.0, 60.0)
    grey = ndimage.gaussian_filter(grey, 1.0) + rng.normal(0, 8, grey.shape)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3.6), gridspec_kw={"width_ratios": [1, 2]}
    )
    left.imshow(grey[len(grey) // 2], cmap="gray", origin="lower")
    left.contour(crack[len(grey) // 2], levels=[0.5], colors=[RED], linewidths=1)
    left.contour(inside[len(grey) // 2], levels=[0.5], colors=[BLUE], linewidths=1)
    left.set(xticks=[], yticks=[], title="label and marked crack")
    bins = np.linspace(30, 190, 81)
    for preset, part, colour in (
        ("paper", inside, ORANGE), ("corrected", inside & ~crack, BLUE)
    ):  # fmt: skip
        row = measure(inside.astype(np.uint32), crack.astype(np.uint8), grey, preset=preset).iloc[0]
        right.hist(
            grey[part],
            bins,
            histtype="step",
            color=colour,
            lw=1.6,
            label=(
                f"{preset}: density {row.electron_density:.1f}, homogeneity {row.homogeneity:.3f}"
            ),
        )
        right.axvline(row.electron_density, color=colour, ls="--", lw=1)
    right.set(xlabel="grey value", ylabel="voxels", yscale="log", ylim=(10, 1e4))
    right.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def draw_shapes() -> Figure:
    """Solids with their elongation, sphericity and ratio."""
    rng = np.random.default_rng(4)
    turn = Rotation.from_euler("ZYX", [25, 20, 10], degrees=True)
    two = lambda p: np.maximum(  # noqa: E731
        18 - np.linalg.norm(p - np.array([14, 0, 0]), axis=-1),
        18 - np.linalg.norm(p + np.array([14, 0, 0]), axis=-1),
    )
    shapes = {
        "ball": (ball(24), [24] * 3), "ellipsoid 2 : 1 : 1": (ellipsoid(34, 17, 17), [34, 17, 17]),
        "disc 2 : 2 : 1": (ellipsoid(28, 28, 14), [28, 28, 14]),
        "box": (cuboid(46, 38, 30), [23, 19, 15]), "two grown together": (two, [32, 18, 18]),
        "rough ball": (wavy(23, 1.2, 14), [28] * 3),
    }  # fmt: skip
    figure, panels = plt.subplots(1, len(shapes), figsize=(15, 3.4))
    for panel, (name, (body, half)) in zip(panels, shapes.items(), strict=True):
        inside = np.pad(draw(body, half, turn=turn, rng=rng)[0], 6)
        row = measure(inside.astype(np.uint32)).iloc[0]
        panel.imshow(_light(inside), cmap="gray", vmin=0, vmax=1, origin="lower")
        panel.set(xlim=(0, 75), ylim=(0, 75), xticks=[], yticks=[])
        size = np.array(inside.shape[1:][::-1])
        panel.set(
            xlim=(size[0] / 2 - 38, size[0] / 2 + 38), ylim=(size[1] / 2 - 38, size[1] / 2 + 38)
        )
        panel.set_title(name, fontsize=10)
        panel.set_xlabel(
            f"elongation {row.elongation:.2f}\nsphericity {row.sphericity:.2f}\n"
            f"vs_ratio {row.vs_ratio:.3f}\nroughness {row.roughness_outer:.3f}", fontsize=9,
        )  # fmt: skip
        panel.set_frame_on(False)
    return figure


def _light(inside: Array) -> Array:
    """Light a solid from above as seen along z."""
    soft = ndimage.gaussian_filter(inside.astype(np.float32), 1.0)
    top = np.argmax(inside, axis=0)
    slopes = np.stack(np.gradient(soft), axis=-1)
    y, x = np.indices(top.shape)
    normal = slopes[top, y, x]
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    lit = np.clip(normal @ np.array([0.75, -0.5, 0.43]), 0, 1)
    return np.where(inside.any(axis=0), 0.25 + 0.7 * lit, 1.0)


def draw_roughness() -> Figure:
    """Draw the ball that sees the surface, and what comes out of simulated waves."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    rng = np.random.default_rng(5)
    inside = np.pad(draw(wavy(22, 1.5, 14), [28] * 3, rng=rng)[0], 4)
    section = inside[len(inside) // 2]
    left.imshow(section, cmap=ListedColormap(["white", SOLID]), origin="lower")
    rim = np.argwhere(section & ~ndimage.binary_erosion(section))
    z, y, x = np.indices((7, 7, 7)) - 3
    probe = (np.hypot(np.hypot(z, y), x) <= 3).astype(float)
    share = ndimage.convolve(inside.astype(float), probe)[len(inside) // 2] / probe.sum()
    height = 4 / 3 * 3 * (share[rim[:, 0], rim[:, 1]] - 0.5)
    shown = left.scatter(rim[:, 1], rim[:, 0], c=height - height.mean(), cmap="coolwarm", s=14)
    left.add_patch(Circle((rim[0][1], rim[0][0]), 3, fill=False, color="k"))
    figure.colorbar(shown, ax=left, label="depth below the mean (voxels)")
    left.set(xticks=[], yticks=[], title="local height by a ball of 3 voxels")
    simulated = np.array([0, 0.25, 0.5, 1.0, 1.5])
    for period, colour in ((6, RED), (10, ORANGE), (16, BLUE), (30, GREY)):
        solids = [draw(wavy(25, a, period), [26 + 3 * a] * 3, rng=rng) for a in simulated]
        table = measure_solids(solids)
        radius = np.cbrt(3 * table["volume_um3"] / (4 * np.pi)) / VOXEL_UM
        right.plot(simulated, table["roughness_outer"] * radius, "o-", color=colour,
                   label=f"{period} voxels from crest to crest")  # fmt: skip
    right.plot([0, 1.5], [0, 1.5], color="k", lw=0.7)
    right.set(xlabel="simulated standard deviation (voxels)", ylabel="measured (voxels)")
    right.legend(frameon=False)
    return figure


def draw_contact() -> Figure:
    """Surface that faces another particle across a gap."""
    figure, panels = plt.subplots(1, 4, figsize=(13, 2.8))
    for panel, (gap, reach) in zip(panels, ((0, 0.1), (2, 0.1), (2, 0.3), (2, 0.6)), strict=True):
        labels = _flatten_pair(gap)
        row = measure(labels, contact_gap_um=reach).iloc[0]
        middle = labels[len(labels) // 2]
        first, second = middle == 1, middle == 2
        rim = first & ~ndimage.binary_erosion(first)
        far = edt.edt(labels != 2)[len(labels) // 2]
        # background voxels within the gap of the other, beside this particle
        near = ndimage.binary_dilation((far <= reach / VOXEL_UM + 1e-6) & ~first, np.ones((3, 3)))
        panel.imshow(first + 2 * second, vmin=0, vmax=2, origin="lower",
                     cmap=ListedColormap(["white", SOLID, "#e5ded2"]))  # fmt: skip
        at = np.argwhere(rim & near)
        panel.scatter(at[:, 1], at[:, 0], color=RED, s=9, marker="s")
        panel.set(xticks=[], yticks=[])
        panel.set_title(
            f"{gap} voxels apart, in contact up to {reach / VOXEL_UM:.0f}\n"
            f"contact {row.contact:.3f}", fontsize=10,
        )  # fmt: skip
    return figure


def _flatten_pair(gap: float) -> Array:
    """Two balls of radius 16, flattened where they face, this far apart."""
    edge = 4 + np.array([40, 40, 68])
    z, y, x = (np.arange(n) + 0.5 - n / 2 for n in edge)
    points = np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1)
    labels = np.zeros(edge, np.uint32)
    for number, side in ((1, -1), (2, 1)):
        centre = np.array([side * (13 + gap / 2), 0, 0])
        solid = (np.linalg.norm(points - centre, axis=-1) < 16) & (side * points[..., 0] > gap / 2)
        labels[solid] = number
    return labels


def draw_packing() -> Figure:
    """Draw the window in the middle of a layer and at its face, clipped or not."""
    rng = np.random.default_rng(6)
    pitch, shape = 16, (80, 160, 160)
    labels = np.zeros(shape, np.uint32)
    grid = np.stack(np.indices(shape), axis=-1) + 0.5
    number = 0
    for z in range(5):
        for y in range(10):
            for x in range(10):
                number += 1
                centre = (np.array([z, y, x]) + 0.5) * pitch + rng.uniform(-1, 1, 3)
                low = np.maximum((centre - 9).astype(int), 0)
                at = tuple(slice(a, a + 18) for a in low)
                near = np.linalg.norm(grid[at] - centre, axis=-1) < rng.uniform(5, 7.5)
                labels[at][near] = number
    figure, panels = plt.subplots(1, 2, figsize=(11, 3.4))
    window_um = 4.8
    tables = {p: measure(labels, preset=p, packing_window_um=window_um).set_index("particle_id")
              for p in ("corrected", "paper")}  # fmt: skip
    for panel, pick, title in ((panels[0], 255, "in the middle"), (panels[1], 55, "at the face")):
        z, y, x = (tables["corrected"].loc[pick, f"{a}_um"] / VOXEL_UM for a in "zyx")
        panel.imshow(labels[:, int(y)] > 0, cmap=ListedColormap(["white", SOLID]), origin="lower")
        half = window_um / VOXEL_UM / 2
        panel.add_patch(Rectangle((x - half, z - half), 2 * half, 2 * half, fill=False, ec=ORANGE,
                                  lw=1.5, ls="--"))  # fmt: skip
        low, high = max(z - half, 0), min(z + half, 80)
        panel.add_patch(Rectangle((x - half, low), 2 * half, high - low, fill=True, ec=BLUE,
                                  fc=(0.17, 0.42, 0.64, 0.18), lw=1.5))  # fmt: skip
        panel.plot(x, z, "o", color=RED)
        panel.set(xlim=(-2, 162), ylim=(-26, 96), xticks=[], yticks=[])
        found = {p: t.loc[pick, "packing_density"] for p, t in tables.items()}
        panel.set_title(
            f"{title}: known part {found['corrected']:.2f}, whole cube {found['paper']:.2f} "
            f"(layer {np.mean(labels > 0):.2f})", fontsize=10,
        )  # fmt: skip
    return figure


def draw_neighbours() -> Figure:
    """Six nearest particles; what alignment and the spread of Euler angles say."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.8))
    rng = np.random.default_rng(7)
    centre = np.column_stack([np.zeros(30), rng.uniform(0, 100, (30, 2))])
    keep = [0]
    for n in range(1, 30):
        if np.linalg.norm(centre[keep] - centre[n], axis=1).min() > 12:
            keep.append(n)
    centre = centre[keep]
    usable = ((centre[:, 1:] > 8) & (centre[:, 1:] < 92)).all(axis=1)
    own = int(np.argmin(np.linalg.norm(centre[:, 1:] - [45, 28], axis=1)))
    for chosen, colour, style in ((np.ones_like(usable), ORANGE, "-"), (usable, BLUE, "--")):
        near, _ = find_nearest(centre, chosen, 6)
        for other in near[own]:
            left.plot(*centre[[own, other], 1:].T, color=colour, ls=style, lw=1.6)
    for (_, x, y), whole in zip(centre, usable, strict=True):
        left.add_patch(Circle((x, y), 5.5, fc=SOLID if whole else "white", ec=GREY, zorder=3))
    left.add_patch(Rectangle((3, 3), 94, 94, fill=False, ec="k"))
    left.set(xlim=(0, 100), ylim=(0, 100), aspect="equal", xticks=[], yticks=[])
    left.set_title("distance: all (orange)\nspreads: whole ones (blue)", fontsize=10)
    for scatter, name, colour in ((0.2, "about one axis", BLUE), (np.inf, "random", ORANGE)):
        for side, panel in (([1.0, 0, 0], None), ([0, 1.0, 0], right)):
            axis = rng.normal(size=(24000, 3)) * (1 if np.isinf(scatter) else scatter)
            axis = axis if np.isinf(scatter) else axis + np.array(side)
            axis /= np.linalg.norm(axis, axis=1, keepdims=True)
            axis *= np.where(axis[:, :1] < 0, -1, 1)
            index = np.arange(24000).reshape(-1, 6)
            if panel is None:
                whole = np.concatenate([index, np.zeros((20000, 6), int)])
                order = measure_alignment(axis, whole)[:4000]
                middle.hist(order, np.linspace(0, 1, 41), color=colour, alpha=0.6, label=name)
            else:
                yaw = np.degrees(np.arctan2(axis[:, 1], axis[:, 0]))[index].std(axis=1, ddof=1)
                panel.hist(
                    yaw,
                    np.linspace(0, 100, 41),
                    color=colour,
                    alpha=0.6,
                    label=(name if np.isinf(scatter) else "about y"),
                )
    middle.set(xlabel="S2 of six long axes (corrected)", yticks=[])
    right.set(xlabel="standard deviation of six yaws (paper, degrees)", yticks=[])
    for panel in (middle, right):
        panel.legend(frameon=False)
    return figure


def draw_cracks() -> Figure:
    """Shells from surface to core, the profile, and the width of cracks."""
    rng = np.random.default_rng(8)
    tapered = lambda p: np.minimum(  # noqa: E731
        1.0 + 0.12 * (24 - p[..., 2]) - np.abs(p[..., 0]), 20 - p[..., 2]
    )
    inside, crack = draw(ellipsoid(30, 26, 26), [30, 26, 26], tapered, rng=rng,
                         turn=Rotation.from_euler("x", 90, degrees=True))  # fmt: skip
    inside, crack = np.pad(inside, 2), np.pad(crack, 2)
    depth = edt.edt(inside)
    middle = len(inside) // 2
    figure, panels = plt.subplots(1, 3, figsize=(12, 3.7))
    # the index of the shell that a voxel falls in, as the profile counts it
    shell = np.floor(np.clip((depth - 0.5) / (depth.max() - 0.5), 0, 0.999) * 10)
    panels[0].imshow(np.where(inside, shell, np.nan)[middle], cmap="viridis", origin="lower")
    panels[0].contour(crack[middle], levels=[0.5], colors=["w"], linewidths=1)
    panels[0].set(title="shells of equal normalised depth", xticks=[], yticks=[])
    voxels, cracked = count_shells(depth, inside, crack, 10)
    panels[1].stairs(cracked / voxels, np.linspace(0, 1, 11), color=BLUE, fill=True, alpha=0.6)
    panels[1].set(xlabel="normalised depth (0 surface, 1 core)", ylabel="crack share",
                  ylim=(0, None))  # fmt: skip
    width = map_crack_width(crack, (VOXEL_UM,) * 3)
    shown = panels[2].imshow(
        np.where(width > 0, width, np.nan)[middle], cmap="magma", origin="lower", vmin=0
    )
    panels[2].contour(inside[middle], levels=[0.5], colors=[GREY], linewidths=1)
    figure.colorbar(shown, ax=panels[2], label="local thickness (um)")
    mean, largest = width[width > 0].mean(), width.max()
    panels[2].set(xticks=[], yticks=[], title=f"mean {mean:.2f} um, largest {largest:.2f} um")
    return figure


def draw_uncertainty() -> Figure:
    """Outlines one voxel tighter and wider, and what they do to a ball."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8))
    rng = np.random.default_rng(9)
    labels = np.pad(draw(wavy(12, 0.8, 16), [16] * 3, rng=rng)[0], 2).astype(np.uint32)
    tighter, wider = (np.asarray(VariedLabels(labels, way)[:]) for way in ("tighter", "wider"))
    middle = len(labels) // 2
    left.imshow(
        (labels + tighter + wider)[middle], cmap=ListedColormap(["w", "#dce6ef", "#9db9d3", BLUE]),
        origin="lower",
    )  # fmt: skip
    left.set(xticks=[], yticks=[], title="tighter, as labelled, wider")
    radii = [6, 10, 16, 24, 32]
    found = []
    for radius in radii:
        solids = [draw(ball(radius), [radius] * 3, slot(3, 0.0), rng=rng) for _ in range(2)]
        labels, cracks = stack(solids)
        grey = np.where((labels > 0) & (cracks == 0), 150.0, 60.0)
        grey = ndimage.gaussian_filter(grey, 1.0) + rng.normal(0, 5, grey.shape)
        found.append(biases.measure_uncertainty(labels, cracks, grey).mean(numeric_only=True))
    for name, colour in (("volume_um3", BLUE), ("surface_outer_um2", GREEN), ("damage", RED),
                         ("sphericity", ORANGE)):  # fmt: skip
        relative = [100 * row[f"{name}_uncertainty"] / row[name] for row in found]
        right.plot(radii, relative, "o-", color=colour, label=name, ms=4)
    right.set(xlabel="radius of a ball with a crack 3 voxels wide (voxels)",
              ylabel="uncertainty (% of the value)", yscale="log")  # fmt: skip
    right.legend(frameon=False, fontsize=9)
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {
    "crofton": draw_crofton, "closing": draw_closing, "axes": draw_axes, "grey": draw_grey,
    "shapes": draw_shapes, "roughness": draw_roughness, "contact": draw_contact,
    "packing": draw_packing, "neighbours": draw_neighbours, "cracks": draw_cracks,
    "uncertainty": draw_uncertainty,
}  # fmt: skip


def main() -> None:
    """Draw the pictures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PICTURES)}; default: all")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parents[1] / "docs/images")
    asked = parser.parse_args()
    mpl.use("agg")
    mpl.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    for name in asked.names or PICTURES:
        figure = PICTURES[name]()
        for panel in (panel for panel in figure.axes if panel.name != "3d"):
            panel.set_frame_on(bool(len(panel.get_xticks()) or len(panel.get_yticks())))
        figure.tight_layout()
        figure.savefig(asked.folder / f"attributes_{name}.png", dpi=90, bbox_inches="tight")
        plt.close(figure)


if __name__ == "__main__":
    main()
