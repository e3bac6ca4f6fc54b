"""Electrode of packed ellipsoids, and the geometry of each particle.

Ellipsoids are thrown into a slab, more into some regions than into others, and pushed apart as in
`tomo_packing`. A square view is cut out of the slab; what reaches out of it touches the border.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from scipy.special import elliprg

from ncm_kedro.synthetic.tomo.scene import draw_directions, reach_ellipsoids
from table_phantoms.params import DIAMETER_CUT, TableElectrodeParams

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_MARGIN = 2.0  # median diameters around the view that are packed, too
_PROPOSALS = 4
_WAVES = 12
_WAVELENGTH_UM = (35.0, 90.0)
_TOLERANCE = 2e-3
_REBUILD = 4  # sweeps between two searches for close pairs
_SKIN = 0.1  # how much farther than the reach that search looks
_FOUND = 0.8  # part of the half extent that may lie outside the view before a particle is lost
_CELL_UM = 2.5
_POINTS = 64


@dataclass(frozen=True)
class Electrode:
    """Particles of a view into an electrode.

    Attributes
    ----------
    centre_um
        (N, 3), z, y, x from the view's first corner; outside it for some that the border cuts.
    half_um
        (N, 3), half axes, longest first.
    axes
        (N, 3, 3), rows are the axes as z, y, x.
    extent_um
        (3,), of the view along z, y, x; the current collector lies at z = 0.
    """

    centre_um: FloatArray
    half_um: FloatArray
    axes: FloatArray
    extent_um: FloatArray

    @property
    def diameter_um(self) -> FloatArray:
        """Diameter of a ball of the complete particle's volume, (N,)."""
        diameter: FloatArray = 2 * np.cbrt(self.half_um.prod(axis=1))
        return diameter

    @property
    def surface_um2(self) -> FloatArray:
        """Surface of the complete ellipsoid, (N,): 4 pi abc R_G(1/a2, 1/b2, 1/c2), DLMF 19.33.1."""
        inverse = self.half_um**-2
        form: FloatArray = elliprg(inverse[:, 0], inverse[:, 1], inverse[:, 2])
        area: FloatArray = 4 * np.pi * self.half_um.prod(axis=1) * form
        return area

    @property
    def touches_border(self) -> NDArray[np.bool_]:
        """Which particles reach out of the view along y or x, (N,)."""
        return np.asarray((self.cut_lateral() < 1).any(axis=1))

    def cut_lateral(self) -> FloatArray:
        """Distance from the centre to the nearer face over the half extent, y and x, (N, 2).

        1 or more: whole; 0: halved; never below -1.
        """
        half = measure_extents(self.half_um, self.axes)[:, 1:]
        place, size = self.centre_um[:, 1:], self.extent_um[1:]
        return np.asarray(np.clip(np.minimum(place, size - place) / half, -1, 1))


def measure_extents(half_um: FloatArray, axes: FloatArray) -> FloatArray:
    """Return how far ellipsoids reach from their centres along z, y, x, (N, 3)."""
    return np.asarray(np.sqrt(((axes * half_um[:, :, None]) ** 2).sum(axis=1)))


def pack_electrode(
    rng: np.random.Generator, particles: int, params: TableElectrodeParams
) -> Electrode:
    """Pack an electrode and cut a square view out of it.

    Parameters
    ----------
    particles
        Particles in the view, those that its border cuts included.

    Returns
    -------
    Electrode
        Along z all particles are complete.
    """
    mean_um3 = np.pi / 6 * params.median_diameter_um**3 * np.exp(4.5 * params.diameter_spread**2)
    per_um2 = params.packing_fraction * params.thickness_um / mean_um3
    width = np.sqrt(particles / per_um2) + 2 * _MARGIN * params.median_diameter_um
    count = max(round(width**2 * per_um2), particles + 1)
    half = _draw_half_axes(rng, count, params)
    axes = np.asarray(Rotation.random(count, rng=rng).as_matrix())
    centre = _draw_centres(rng, count, np.array([params.thickness_um, width, width]), params)
    centre = _push_apart(centre, half, axes, params)
    reach = measure_extents(half, axes)[:, 1:]
    middle = np.abs(centre[:, 1:] - width / 2)
    edge = (middle - _FOUND * reach).max(axis=1)
    order = np.argsort(edge, kind="stable")
    view = float(edge[order[particles - 1 : particles + 1]].mean())
    seen = np.sort(order[:particles])
    shift = np.array([0.0, width / 2 - view, width / 2 - view])
    return Electrode(
        centre[seen] - shift, half[seen], axes[seen],
        np.array([params.thickness_um, 2 * view, 2 * view]),
    )  # fmt: skip


def list_contacts(electrode: Electrode, gap_um: float) -> tuple[IntArray, FloatArray]:
    """List who faces whom across at most a gap.

    Returns
    -------
    pairs : (M, 2) array
        Indices of a particle and its neighbour, both ways, sorted; contacts within the view.
    area_um2 : (M,) array
        The part of the first one's surface that lies within the gap of the second: a cap, both
        taken as balls of the radii that they have towards each other.
    """
    pairs = _list_close(electrode.centre_um, electrode.half_um[:, 0] + gap_um)
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    distance, unit, own, other = _measure_reach(
        electrode.centre_um, electrode.half_um, electrode.axes, pairs
    )
    place = electrode.centre_um[pairs[:, 0]] + unit * (distance * own / (own + other))[:, None]
    seen = ((place >= 0) & (place <= electrode.extent_um)).all(axis=1)
    near = seen & (distance < own + other + gap_um)
    distance, own, other = distance[near], own[near], other[near]
    cosine = (distance**2 + own**2 - (other + gap_um) ** 2) / (2 * distance * own)
    return pairs[near], 2 * np.pi * own**2 * (1 - np.clip(cosine, -1, 1))


def measure_density(electrode: Electrode, window_um: float, *, clipped: bool) -> FloatArray:
    """Return the fraction of a cube around each centre that particles fill, (N,).

    Parameters
    ----------
    electrode
        N particles, each taken as 64 points that share its volume.
    clipped
        True divides by the part of the cube within the view, False by the whole cube.
    """
    shape = np.ceil(electrode.extent_um / _CELL_UM).astype(np.int64)
    filled = np.zeros(shape)
    weight = electrode.half_um.prod(axis=1) * 4 / 3 * np.pi / _POINTS
    for unit in _spread_points():
        offset = np.einsum("ni,nij->nj", electrode.half_um * unit, electrode.axes)
        place = electrode.centre_um + offset
        inside = ((place >= 0) & (place < electrode.extent_um)).all(axis=1)
        cell = (place[inside] / _CELL_UM).astype(np.int64)
        np.add.at(filled, tuple(cell.T), weight[inside])
    total = np.zeros(shape + 1)
    total[1:, 1:, 1:] = filled.cumsum(axis=0).cumsum(axis=1).cumsum(axis=2)
    low = np.clip(electrode.centre_um - window_um / 2, 0, electrode.extent_um)
    high = np.clip(electrode.centre_um + window_um / 2, 0, electrode.extent_um)
    held = np.zeros(len(low))
    for corner in np.ndindex(2, 2, 2):
        place = np.where(corner, high, low).T / _CELL_UM
        sign = (-1) ** (3 - sum(corner))
        held += sign * map_coordinates(total, place, output=np.float64, order=1, mode="nearest")
    known = (high - low).prod(axis=1) if clipped else np.full(len(low), window_um**3)
    return np.asarray(np.clip(held / known, 0, 1))


def find_nearest(
    centre_um: FloatArray, usable: NDArray[np.bool_], neighbours: int
) -> tuple[IntArray, FloatArray]:
    """Find the nearest other particles: index and distance in um, (N, neighbours) each.

    Where too few are usable all indices are -1 and all distances not a number.
    """
    places = np.flatnonzero(usable)
    number = len(centre_um)
    if len(places) <= neighbours:
        return np.full((number, neighbours), -1), np.full((number, neighbours), np.nan)
    distance, found = cKDTree(centre_um[places]).query(centre_um, k=neighbours + 1)
    index = places[found]
    is_self = index == np.arange(number)[:, None]
    is_self[~is_self.any(axis=1), -1] = True
    shape = (number, neighbours)
    return index[~is_self].reshape(shape), distance[~is_self].reshape(shape)


def _draw_half_axes(
    rng: np.random.Generator, count: int, params: TableElectrodeParams
) -> FloatArray:
    spread = (
        np.clip(rng.standard_normal(count), -DIAMETER_CUT, DIAMETER_CUT) * params.diameter_spread
    )
    low, high = params.elongation
    elongation = low + (high - low) * rng.random(count) ** 1.5
    shape = np.stack([elongation, elongation ** rng.random(count), np.ones(count)], axis=1)
    shape /= np.cbrt(shape.prod(axis=1, keepdims=True))
    return shape * (params.median_diameter_um / 2 * np.exp(spread))[:, None]


def _draw_centres(
    rng: np.random.Generator, count: int, size_um: FloatArray, params: TableElectrodeParams
) -> FloatArray:
    """Places in a slab, denser where a smooth random field is high; (count, 3)."""
    place = rng.uniform(0, size_um, (_PROPOSALS * count, 3))
    wave = draw_directions(rng, _WAVES) * 2 * np.pi / rng.uniform(*_WAVELENGTH_UM, (_WAVES, 1))
    phase = rng.uniform(0, 2 * np.pi, _WAVES)
    field = np.cos(place @ wave.T + phase).sum(axis=1) * np.sqrt(2 / _WAVES)
    key = rng.exponential(size=len(place)) / np.exp(params.density_spread * field)
    return place[np.argpartition(key, count - 1)[:count]]


def _push_apart(
    centre_um: FloatArray, half_um: FloatArray, axes: FloatArray, params: TableElectrodeParams
) -> FloatArray:
    """Push overlapping particles apart until they hardly do, within the slab along z."""
    centre = centre_um.copy()
    room = measure_extents(half_um, axes)[:, 0]
    for sweep in range(params.sweeps):
        centre[:, 0] = np.clip(centre[:, 0], room, params.thickness_um - room)
        if sweep % _REBUILD == 0:
            pairs = _list_close(centre, half_um[:, 0] * (1 + _SKIN))
        distance, unit, own, other = _measure_reach(centre, half_um, axes, pairs)
        reach = own + other
        overlap = np.maximum(reach * (1 - params.max_overlap) - distance, 0)
        if not overlap.size or (overlap / reach).max() < _TOLERANCE:
            break
        push = unit * (0.5 * overlap)[:, None]
        for axis in range(3):
            centre[:, axis] += np.bincount(pairs[:, 1], push[:, axis], len(centre))
            centre[:, axis] -= np.bincount(pairs[:, 0], push[:, axis], len(centre))
    centre[:, 0] = np.clip(centre[:, 0], room, params.thickness_um - room)
    return centre


def _list_close(centre_um: FloatArray, reach_um: FloatArray) -> IntArray:
    """Pairs whose distance is below the sum of their reaches, first below second; (M, 2)."""
    far = 2 * float(reach_um.max())
    pairs: IntArray = cKDTree(centre_um).query_pairs(far, output_type="ndarray").astype(np.int64)
    apart = centre_um[pairs[:, 1]] - centre_um[pairs[:, 0]]
    close: IntArray = pairs[(apart**2).sum(axis=1) < reach_um[pairs].sum(axis=1) ** 2]
    return close


def _measure_reach(
    centre_um: FloatArray, half_um: FloatArray, axes: FloatArray, pairs: IntArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Distance of pairs, its direction, and the radii of both along it."""
    offset = centre_um[pairs[:, 1]] - centre_um[pairs[:, 0]]
    distance = np.sqrt((offset**2).sum(axis=1)) + 1e-9
    unit = offset / distance[:, None]
    own = reach_ellipsoids(half_um, axes, pairs[:, 0], unit)
    return distance, unit, own, reach_ellipsoids(half_um, axes, pairs[:, 1], unit)


def _spread_points() -> FloatArray:
    """Points that fill the unit ball evenly, (64, 3)."""
    step = np.arange(_POINTS) + 0.5
    radius = np.cbrt((step * 0.7548776662466927) % 1)  # the plastic number's sequence
    height = 1 - 2 * step / _POINTS
    flat = np.sqrt(1 - height**2)
    turn = np.pi * (3 - np.sqrt(5)) * step
    unit = np.stack([height, flat * np.sin(turn), flat * np.cos(turn)], axis=1)
    return np.asarray(unit * radius[:, None])
