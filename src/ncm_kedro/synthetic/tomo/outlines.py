"""Outlines and places of the particles in a training section.

An outline is a radius as a function of the angle, tabulated at `ANGLES` even steps: an ellipse,
times smooth low-order waves, times fine roughness, cut by facets where it has any.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.params.tomo_phantoms import Range, SectionShapeParams

ANGLES = 1024
"""Steps of a table over the full angle."""

_CANDIDATES = 24
_SMOOTH_ORDERS = (2, 7)
_ROUGH_ORDERS = (8, 40)

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Outlines:
    """Particles of a section.

    Attributes
    ----------
    centres_px
        (N, 2), y and x of the centres.
    radii_px
        (N,), radius of a disc of the same area as the bare ellipse.
    tables_px
        (N, ANGLES), radius over the angle ``arctan2(dy, dx)``, counted from -pi.
    """

    centres_px: FloatArray
    radii_px: FloatArray
    tables_px: FloatArray


@dataclass(frozen=True)
class _Ellipses:
    """Half axes (px), and unit vectors (y, x) of the long axes."""

    long_px: FloatArray
    short_px: FloatArray
    axis_ny: FloatArray


def draw(rng: np.random.Generator, limits: Range) -> float:
    """Draw evenly between two limits."""
    return float(rng.uniform(*limits))


def draw_waves(
    rng: np.random.Generator, count: int, orders: tuple[int, int], decay: float
) -> FloatArray:
    """Draw periodic random functions of the angle.

    Parameters
    ----------
    orders
        Lowest and highest number of waves around the full angle.
    decay
        The amplitude falls with the order to this power.

    Returns
    -------
    (count, ANGLES) array
        Mean 0, expected standard deviation 1.
    """
    order = np.arange(orders[0], orders[1] + 1)
    weight = order.astype(np.float64) ** -decay
    weight *= ANGLES / 2 / np.sqrt((weight**2).sum())
    spectrum = np.zeros((count, ANGLES // 2 + 1), np.complex128)
    noise = rng.standard_normal((2, count, order.size))
    spectrum[:, order] = (noise[0] + 1j * noise[1]) * weight
    return np.fft.irfft(spectrum, ANGLES, axis=1).astype(np.float32)


def place_outlines(
    rng: np.random.Generator,
    height_px: int,
    width_px: int,
    electrode_rows: tuple[float, float],
    params: SectionShapeParams,
) -> Outlines:
    """Fill a section with particles, many of them against each other.

    Parameters
    ----------
    height_px, width_px
        Size of the section; particles also lie across its sides.
    electrode_rows
        First and last row (px) that particles may reach.

    Returns
    -------
    Outlines
        In random order; none may fit, then N = 0.
    """
    mean_px = float(np.exp(rng.uniform(*np.log(params.mean_diameter_px))))
    margin = min(mean_px, 60.0)
    area = (height_px + 2 * margin) * (width_px + 2 * margin)
    count = int(np.ceil(0.75 * area / (np.pi / 4 * mean_px**2))) + 1
    spread = draw(rng, params.diameter_spread)
    diameters = mean_px * np.exp(spread * rng.standard_normal(count) - spread**2 / 2)
    diameters = np.clip(diameters, params.min_diameter_px, params.max_diameter_px)
    diameters = np.sort(diameters)[::-1]
    most = draw(rng, params.elongation)
    stretch = np.sqrt(1 + (most - 1) * rng.random(count))
    turn = rng.uniform(0, np.pi, count)
    ellipses = _Ellipses(
        (diameters / 2 * stretch).astype(np.float32),
        (diameters / 2 / stretch).astype(np.float32),
        np.stack([np.sin(turn), np.cos(turn)], axis=1).astype(np.float32),
    )
    box = np.array([[electrode_rows[0], electrode_rows[1]], [-margin, width_px + margin]])
    if electrode_rows[0] <= 0:
        box[0, 0] = -margin
    if electrode_rows[1] >= height_px:
        box[0, 1] = height_px + margin
    placed, centres = _pack(rng, ellipses, box, params)
    tables = _tabulate(rng, ellipses, turn, params)[placed]
    order = rng.permutation(len(placed))
    return Outlines(
        centres[order], (diameters[placed] / 2).astype(np.float32)[order], tables[order]
    )


def _pack(
    rng: np.random.Generator,
    ellipses: _Ellipses,
    box: NDArray[np.float64],
    params: SectionShapeParams,
) -> tuple[NDArray[np.intp], FloatArray]:
    """Throw the particles in, largest first, until the area is full; (M,) indices, (M, 2)."""
    goal = draw(rng, params.area_fraction) * float(np.prod(box[:, 1] - box[:, 0]))
    touching = draw(rng, params.touching)
    tight = 1 - draw(rng, params.overlap)
    order = np.arange(ellipses.long_px.size)
    keep = rng.random(order.size) < min(1.0, 1.6 * goal / _sum_area(ellipses))
    centres = np.zeros((order.size, 2), np.float32)
    chosen: list[int] = []
    area = 0.0
    for index in order[keep]:
        if area >= goal:
            break
        others = np.array(chosen, np.intp)
        against = bool(chosen) and rng.random() < touching
        place = _find_place(rng, ellipses, int(index), centres, others, box, tight, against)
        if place is not None:
            centres[index] = place
            chosen.append(int(index))
            area += np.pi * float(ellipses.long_px[index] * ellipses.short_px[index])
    placed = np.array(chosen, np.intp)
    return placed, centres[placed]


def _find_place(  # noqa: PLR0917
    rng: np.random.Generator,
    ellipses: _Ellipses,
    index: int,
    centres: FloatArray,
    others: NDArray[np.intp],
    box: NDArray[np.float64],
    tight: float,
    against: bool,
) -> FloatArray | None:
    """Return the best of some random places that clears the other particles; (2,) or None."""
    radius = float(ellipses.short_px[index])
    inner = np.stack([box[:, 0] + radius, np.maximum(box[:, 1] - radius, box[:, 0] + radius + 1)])
    if inner[1, 0] > box[0, 1]:
        return None
    if against:
        partner = others[rng.integers(others.size, size=_CANDIDATES)]
        angle = rng.uniform(-np.pi, np.pi, _CANDIDATES)
        unit = np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)
        reach = _reach(ellipses, partner, unit) + _reach(ellipses, np.array([index]), unit)
        places = centres[partner] + unit * (reach * tight * 1.001)[:, None]
        places = places[np.all((places >= inner[0]) & (places <= inner[1]), axis=1)]
    else:
        places = rng.uniform(inner[0], inner[1], (_CANDIDATES, 2)).astype(np.float32)
    if not places.size or not others.size:
        return places[0] if places.size else None
    offset = places[:, None, :] - centres[others]
    distance = np.sqrt((offset**2).sum(axis=2)) + 1e-3
    unit = offset / distance[..., None]
    reach = _reach(ellipses, others, unit) + _reach(ellipses, np.array([index]), unit)
    slack = (distance - reach * tight).min(axis=1)
    good = np.flatnonzero(slack >= 0)
    if not good.size:
        return None
    best: FloatArray = places[good[np.argmin(slack[good])] if against else good[0]]
    return best


def _reach(ellipses: _Ellipses, index: NDArray[np.intp], unit: FloatArray) -> FloatArray:
    """Radius of ellipses in the direction of unit vectors (..., 2)."""
    along = (unit * ellipses.axis_ny[index]).sum(axis=-1) ** 2
    inverse = along / ellipses.long_px[index] ** 2 + (1 - along) / ellipses.short_px[index] ** 2
    radius: FloatArray = inverse**-0.5
    return radius


def _sum_area(ellipses: _Ellipses) -> float:
    return float(np.pi * (ellipses.long_px * ellipses.short_px).sum())


def _tabulate(
    rng: np.random.Generator,
    ellipses: _Ellipses,
    turn: NDArray[np.float64],
    params: SectionShapeParams,
) -> FloatArray:
    """Radius over the angle of every particle, (N, ANGLES)."""
    count = turn.size
    angle = np.linspace(-np.pi, np.pi, ANGLES, endpoint=False)
    cosine2 = np.cos(angle - turn[:, None]).astype(np.float32) ** 2
    inverse = cosine2 / ellipses.long_px[:, None] ** 2
    inverse += (1 - cosine2) / ellipses.short_px[:, None] ** 2
    table = inverse**-0.5
    smooth = draw(rng, params.irregularity) * rng.random((count, 1)).astype(np.float32)
    waves = draw_waves(rng, count, _SMOOTH_ORDERS, 1.3)
    rough = draw(rng, params.roughness) * rng.random((count, 1)).astype(np.float32)
    fine = draw_waves(rng, count, _ROUGH_ORDERS, 0.7)
    table *= np.clip(1 + smooth * waves, 0.6, 1.5) * np.clip(1 + rough * fine, 0.8, 1.2)
    faceted = np.flatnonzero(rng.random(count) < params.facets)
    if faceted.size:
        table[faceted] = _cut_facets(rng, table[faceted], angle)
    return table


def _cut_facets(
    rng: np.random.Generator, table: FloatArray, angle: NDArray[np.float64]
) -> FloatArray:
    """Flatten one to seven sides of each outline, with rounded corners."""
    size = table.mean(axis=1, keepdims=True)
    for number in range(7):
        normal = rng.uniform(-np.pi, np.pi, (table.shape[0], 1))
        height = size * rng.uniform(0.72 if number else 0.45, 1.0, (table.shape[0], 1))
        used = (number == 0) | (rng.random((table.shape[0], 1)) < 0.6)
        cosine = np.cos(angle - normal)
        limit = np.where(used & (cosine > 0.05), height / np.maximum(cosine, 0.05), np.inf)
        table = np.minimum(table, limit).astype(np.float32)
    order = np.arange(ANGLES // 2 + 1)
    soft = np.exp(-0.5 * (order * rng.uniform(0.02, 0.12, (table.shape[0], 1))) ** 2)
    return np.fft.irfft(np.fft.rfft(table, axis=1) * soft, ANGLES, axis=1).astype(np.float32)
