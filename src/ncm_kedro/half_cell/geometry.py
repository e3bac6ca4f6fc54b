"""Outlines of particles and the section of a half cell that they lie in.

x runs along the collector, y from the collector to the lithium; lengths are in um.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import SettingsError
from ncm_kedro.params.half_cell.geometry import CircleParams, LayoutParams

FloatArray = NDArray[np.float64]

_EDGE_UM = 1e-6
_LAYOUTS, _TRIES = 200, 200  # first circles may leave no room for the last: then from anew


@dataclass(frozen=True)
class Outline:
    """The section of a particle: a circle, or a polygon.

    Attributes
    ----------
    name
        What errors and tables call it.
    circle
        The circle, None for a polygon.
    polygon_nx2
        Corners x, y in um, counter-clockwise; None for a circle.
    """

    name: str
    circle: CircleParams | None = None
    polygon_nx2: FloatArray | None = None

    @property
    def area_um2(self) -> float:
        """Area, 0 where neither is given."""
        if self.circle is not None:
            return math.pi * self.circle.radius_um**2
        return 0.0 if self.polygon_nx2 is None else abs(measure_area(self.polygon_nx2))


@dataclass(frozen=True)
class Section:
    """What is meshed.

    Attributes
    ----------
    outlines
        The particles.
    width_um, height_um, separator_um
        Width, thickness of the CB layer and of the separator.
    is_high
        Whether the CB at points x, y (N,) has the high conductivity.
    split_x_um
        A line that edges follow, None where the CB is not split by a line.
    half
        Whether the cell is the half x > 0 of one that is symmetric about the axis x = 0.
    """

    outlines: tuple[Outline, ...]
    width_um: float
    height_um: float
    separator_um: float
    is_high: Callable[[FloatArray, FloatArray], NDArray[np.bool_]]
    split_x_um: float | None = None
    half: bool = False


def lay_out_section(layout: LayoutParams, *, half: bool = False) -> Section:
    """Make the section of circles, given or random.

    Raises
    ------
    SettingsError
        If circles overlap, lie outside the CB or off the axis of a `half`, or do not fit.
    """
    circles = _place_circles(layout) if layout.random_particles else layout.circles
    outlines = tuple(Outline(f"particle {n + 1}", circle) for n, circle in enumerate(circles))
    _check_circles(layout, circles, half=half)
    return Section(
        outlines=outlines,
        width_um=layout.width_um,
        height_um=layout.height_um,
        separator_um=layout.separator_um,
        is_high=lambda x, _: x < layout.split_x_um,
        split_x_um=layout.split_x_um if 0.0 < layout.split_x_um < layout.width_um else None,
        half=half,
    )


def measure_area(polygon_nx2: FloatArray) -> float:
    """Signed area of a polygon, positive counter-clockwise."""
    x, y = polygon_nx2.T
    return float(0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def _place_circles(layout: LayoutParams) -> tuple[CircleParams, ...]:
    """Put circles of the first one's radius at random places, one after the other."""
    rng = np.random.default_rng(layout.seed)
    radius = layout.circles[0].radius_um
    edge = radius + layout.min_gap_um
    placed: list[CircleParams] = []
    for number in range(_LAYOUTS * _TRIES):
        if number % _TRIES == 0:
            placed = []
        x = rng.uniform(edge, max(edge, layout.width_um - edge))
        y = rng.uniform(edge, max(edge, layout.height_um - edge))
        if all(
            math.hypot(x - p.x_um, y - p.y_um) >= 2 * radius + layout.min_gap_um for p in placed
        ):
            placed.append(CircleParams(x_um=x, y_um=y, radius_um=radius))
        if len(placed) == layout.random_particles:
            return tuple(placed)
    raise SettingsError(
        "layout.random_particles",
        found=f"room for {len(placed)} of {layout.random_particles} circles in {_LAYOUTS} layouts",
        expected="circles that fit beside each other",
        action="make layout.width_um or layout.height_um larger, or the radius of the first of "
        "layout.circles smaller",
    )


def _check_circles(layout: LayoutParams, circles: tuple[CircleParams, ...], *, half: bool) -> None:
    for number, one in enumerate(circles, start=1):
        if half and one.x_um != 0.0:
            raise SettingsError(
                f"layout.circles, particle {number}",
                found=f"a centre at x_um = {one.x_um:.3g} in an axisymmetric cell: a ring",
                expected="spheres on the axis",
                action="set x_um: 0 and layout.random_particles: 0, or another material.symmetry",
            )
        left = math.inf if half else one.x_um
        gap = min(left, layout.width_um - one.x_um, one.y_um, layout.height_um - one.y_um)
        if gap - one.radius_um < layout.min_gap_um - _EDGE_UM:
            raise SettingsError(
                f"layout.circles, particle {number}",
                found=f"a circle that ends {gap - one.radius_um:.3g} um inside the CB",
                expected=f"at least min_gap_um = {layout.min_gap_um:g} um of CB around it, in "
                f"0 < x < {layout.width_um:g} and 0 < y < {layout.height_um:g} um",
                action="move it, make radius_um smaller, or width_um or height_um larger",
            )
    for (i, a), (j, b) in itertools.combinations(enumerate(circles, start=1), 2):
        gap = math.hypot(a.x_um - b.x_um, a.y_um - b.y_um) - a.radius_um - b.radius_um
        if gap < layout.min_gap_um - _EDGE_UM:
            raise SettingsError(
                f"layout.circles, particle {i} and particle {j}",
                found=f"a gap of {gap:.3g} um between them (negative: they overlap)",
                expected=f"at least min_gap_um = {layout.min_gap_um:g} um of CB",
                action="move one of them, or make its radius_um smaller",
            )
