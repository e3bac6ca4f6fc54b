"""Scene of a phantom tomogram: packed particles, their contacts and their simulated damage.

Ellipsoids are placed at random, then pushed apart until they only touch. The relaxation follows
force-biased packing (Jodrey and Tory, Phys. Rev. A 32, 2347, 1985): overlapping pairs repel each
other in proportion to their overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from ncm_kedro.params.tomo_phantoms import (
    DamageLawParams,
    PackingParams,
    TomoPhantomParams,
    TomoSampleParams,
)
from ncm_kedro.synthetic.tomo.solids import FAR_UM, Solids, fit_severity, measure_radius

FloatArray = NDArray[np.float64]

CRACKS = 12
"""Cracks that a particle may have."""

_SAMPLES = 4096


def simulate_damage(
    rng: np.random.Generator,
    depth_um: FloatArray,
    contact: FloatArray,
    diameter_um: FloatArray,
    law: tuple[TomoSampleParams, DamageLawParams],
) -> FloatArray:
    """Draw each particle's damage from the damage model (logistic).

    ``damage = max * logistic(base + asynchrony * (sum of weight * driver + noise))`` with
    drivers standardised over the sample, and the base such that the average particle has the
    sample's damage level.

    Parameters
    ----------
    depth_um, contact, diameter_um
        (N,), the drivers; contact in whatever measures how much of a particle is in contact.

    Returns
    -------
    (N,) array
        0 to ``max_damage``.
    """
    sample, weights = law
    drive = (weights.depth + sample.drift) * _standardise(depth_um)
    drive += weights.contact * _standardise(contact)
    drive += weights.size * _standardise(diameter_um)
    drive += weights.noise * rng.standard_normal(depth_um.size)
    share = min(sample.damage_level / weights.max_damage, 0.95)
    base = np.log(share / (1 - share))
    damage: FloatArray = weights.max_damage / (1 + np.exp(-base - sample.asynchrony * drive))
    return damage


def damage_solids(rng: np.random.Generator, solids: Solids, simulated: FloatArray) -> Solids:
    """Choose each particle's kinds of damage and scale them to the simulated amount.

    Parameters
    ----------
    simulated
        (N,), missing over filled volume that each is to have.

    Returns
    -------
    Solids
        The same particles, damaged. A particle whose kinds of damage cannot reach the amount
        falls short of it.
    """
    count = simulated.size
    kind = rng.random((4, count))
    void = np.stack(
        [
            np.where(kind[0] < 0.7, rng.uniform(0.12, 0.32, count), 0.1),
            rng.uniform(0.15, 0.5, count),
        ],
        axis=1,
    )
    rim = np.stack(
        [rng.uniform(0.3, 0.85, count), np.where(kind[1] < 0.2, rng.uniform(0.3, 0.9, count), 0)],
        axis=1,
    )
    crack = _draw_cracks(rng, kind[2], kind[3])
    # A radial crack holds its centre line: its side must lie in its plane.
    normal = solids.crack_normal
    side = solids.crack_side - (solids.crack_side * normal).sum(-1, keepdims=True) * normal
    side /= np.sqrt((side**2).sum(-1, keepdims=True))
    damaged = solids._replace(
        void=void, rim=rim, crack=crack, crack_side=side, severity=np.ones(count)
    )
    share = np.cbrt((np.arange(_SAMPLES) + 0.5) / _SAMPLES)
    fit_severity(damaged, simulated, draw_directions(rng, _SAMPLES), share)
    return damaged


def draw_directions(rng: np.random.Generator, *count: int) -> FloatArray:
    """Draw unit vectors, even over the sphere; (*count, 3)."""
    vector = rng.standard_normal((*count, 3))
    unit: FloatArray = vector / np.sqrt((vector**2).sum(axis=-1, keepdims=True))
    return unit


def _standardise(values: FloatArray) -> FloatArray:
    spread = float(values.std())
    standard: FloatArray = (values - values.mean()) / (spread if spread > 0 else 1.0)
    return standard


def _draw_cracks(rng: np.random.Generator, radial: FloatArray, whole: FloatArray) -> FloatArray:
    """Radial cracks, through cracks, and cracks that break a particle up; (N, CRACKS, 5)."""
    count = radial.size
    crack = np.zeros((count, CRACKS, 5))
    number = rng.integers(2, CRACKS - 2, count)
    number[radial > 0.85] = 0
    slot = np.arange(CRACKS)
    crack[..., 0] = rng.uniform(0.008, 0.03, (count, CRACKS)) * (slot < number[:, None])
    crack[..., 2] = rng.uniform(0, 0.5, (count, CRACKS))
    crack[..., 3] = crack[..., 2] + rng.uniform(0.2, 0.8, (count, CRACKS))
    crack[..., 4] = 1
    through = np.where(whole < 0.12, rng.integers(1, 3, count), 0)
    through[whole < 0.03] = 6  # broken into fragments
    last = slot >= CRACKS - np.maximum(through, number == 0)[:, None]
    crack[..., 0] = np.where(last, rng.uniform(0.01, 0.03, (count, CRACKS)), crack[..., 0])
    crack[..., 4] = np.where(last, 0, crack[..., 4])
    crack[..., 1] = np.where(last, rng.uniform(-0.35, 0.35, (count, CRACKS)), 0)
    return crack


IntArray = NDArray[np.int64]

_STEPS = 400
_TOLERANCE = 2e-3


def reach_ellipsoids(
    half_um: FloatArray, axes: FloatArray, index: IntArray, unit: FloatArray
) -> FloatArray:
    """Radius of ellipsoids in given directions.

    Parameters
    ----------
    half_um
        (N, 3), half axes.
    axes
        (N, 3, 3), rows are the axes.
    index
        (M,), which ellipsoid.
    unit
        (M, 3), unit vectors z, y, x.

    Returns
    -------
    (M,) array
        Radii in um.
    """
    local = np.einsum("mij,mj->mi", axes[index], unit)
    radius: FloatArray = ((local / half_um[index]) ** 2).sum(axis=1) ** -0.5
    return radius


def pack_ellipsoids(
    rng: np.random.Generator,
    half_um: FloatArray,
    axes: FloatArray,
    box_um: tuple[FloatArray, FloatArray],
    max_overlap: float,
) -> FloatArray:
    """Find places where ellipsoids do not overlap by more than they are pressed together.

    Parameters
    ----------
    half_um
        (N, 3), half axes.
    axes
        (N, 3, 3), rows are the axes.
    box_um
        Low and high corner of the box, (3,) each. Along z ellipsoids stay within it;
        along y and x only their centres do, so that the box may be cut out of a wider electrode.
    max_overlap
        Overlap of touching ellipsoids as a fraction of the sum of their reaches.

    Returns
    -------
    (N, 3) array
        Centres z, y, x in um.
    """
    low_um, high_um = box_um
    centre = rng.uniform(low_um, high_um, half_um.shape)
    height = np.sqrt(((axes[:, :, 0] * half_um) ** 2).sum(axis=1))
    room = np.minimum(height, (high_um[0] - low_um[0]) / 2)
    far = 2 * float(half_um.max())
    for step in range(_STEPS):
        pairs = cKDTree(centre).query_pairs(far, output_type="ndarray").astype(np.int64)
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        offset = centre[pairs[:, 1]] - centre[pairs[:, 0]]
        distance = np.sqrt((offset**2).sum(axis=1)) + 1e-9
        unit = offset / distance[:, None]
        reach = reach_ellipsoids(half_um, axes, pairs[:, 0], unit)
        reach = reach + reach_ellipsoids(half_um, axes, pairs[:, 1], unit)
        overlap = np.maximum(reach * (1 - max_overlap) - distance, 0)
        if step > 0 and (not overlap.size or (overlap / reach).max() < _TOLERANCE):
            break
        push = unit * (0.5 * overlap)[:, None]
        np.add.at(centre, pairs[:, 1], push)
        np.add.at(centre, pairs[:, 0], -push)
        centre = np.clip(centre, low_um, high_um)
        centre[:, 0] = np.clip(centre[:, 0], low_um[0] + room, high_um[0] - room)
    return centre


_SMOOTH_WAVES, _ROUGH_WAVES = 8, 8
_VOID_WAVES = 5
_BOUND_DIRECTIONS = 600
_CONTACT_REACH = 0.02  # largest gap between touching outlines, as a fraction of the reach


@dataclass(frozen=True)
class Scene:
    """Particles of a sample, independent of any voxel grid.

    Attributes
    ----------
    solids
        The particles, damage and all.
    diameter_um
        (N,), of a ball of the ellipsoid's volume.
    elongation
        (N,), longest over shortest axis.
    contacts
        (M, 2), pairs of indices of touching particles, first below second.
    depth_um
        (N,), distance of the centre from the current collector along z.
    simulated_damage
        (N,), damage by the model: missing over filled volume.
    collector_um, separator_um
        Where along z the collector ends and the separator starts.
    seed
        Of the fields that belong to no particle.
    """

    solids: Solids
    diameter_um: FloatArray
    elongation: FloatArray
    contacts: IntArray
    depth_um: FloatArray
    simulated_damage: FloatArray
    collector_um: float
    separator_um: float
    seed: int

    @property
    def contact_neighbours(self) -> IntArray:
        """Number of touching particles of each one, (N,)."""
        return count_contacts(self.contacts, self.diameter_um.size)


def build_scene(
    rng: np.random.Generator, sample: TomoSampleParams, params: TomoPhantomParams
) -> Scene:
    """Pack an electrode and damage its particles by the damage model.

    Returns
    -------
    Scene
        Particles reach past the volume's sides in y and x, so that the sides cut some.
    """
    extent = np.array(params.shape_zyx) * params.voxel_size_um
    collector = extent[0] * params.packing.collector_fraction
    separator = extent[0] * (1 - params.packing.separator_fraction)
    margin = params.packing.median_diameter_um
    low = np.array([collector, -margin, -margin])
    high = np.array([separator, extent[1] + margin, extent[2] + margin])
    diameter = _draw_diameters(rng, params.packing, float(np.prod(high - low)))
    count = diameter.size
    half, elongation = _draw_half_axes(rng, diameter, params.packing)
    axes = Rotation.random(count, rng=rng).as_matrix()
    centre = pack_ellipsoids(rng, half, axes, (low, high), params.packing.max_overlap)
    solids = _shape_solids(rng, centre, axes, half, params.packing)
    contacts = find_contacts(solids)
    contact = count_contacts(contacts, count) / (np.pi * diameter**2)
    depth = centre[:, 0] - collector
    simulated = simulate_damage(rng, depth, contact, diameter, (sample, params.law))
    solids = damage_solids(rng, solids, simulated)
    seed = int(rng.integers(2**31))
    return Scene(
        solids, diameter, elongation, contacts, depth, simulated, collector, separator, seed
    )


def count_contacts(contacts: IntArray, count: int) -> IntArray:
    """Return how many particles touch each one, (N,).

    Parameters
    ----------
    contacts
        (M, 2), pairs of indices.
    """
    number: IntArray = np.bincount(contacts.ravel(), minlength=count)
    return number


def find_contacts(solids: Solids) -> IntArray:
    """List the pairs of particles whose outlines touch or overlap.

    Returns
    -------
    (M, 2) array
        Pairs of indices, first below second, sorted. A pair touches where, on the line between
        the centres, the gap is under 2 % of the two radii.
    """
    reach = 2 * float(solids.bound_um.max())
    pairs = cKDTree(solids.centre_um).query_pairs(reach, output_type="ndarray").astype(np.int64)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    touching = np.zeros(len(pairs), np.bool_)
    for row, (a, b) in enumerate(pairs):
        offset = solids.centre_um[b] - solids.centre_um[a]
        distance = float(np.sqrt((offset**2).sum()))
        z, y, x = offset / distance
        radii = measure_radius(solids, a, z, y, x) + measure_radius(solids, b, -z, -y, -x)
        touching[row] = distance < radii * (1 + _CONTACT_REACH)
    found: IntArray = pairs[touching]
    return found


def _draw_diameters(
    rng: np.random.Generator, params: PackingParams, space_um3: float
) -> FloatArray:
    """Diameters (N,) that fill the wanted fraction of a space, largest first."""
    goal = params.packing_fraction * space_um3
    chosen: list[float] = []
    filled = 0.0
    while filled < goal:
        spread = params.diameter_spread * rng.standard_normal()
        size = float(np.clip(params.median_diameter_um * np.exp(spread), *params.diameter_range_um))
        chosen.append(size)
        filled += np.pi / 6 * size**3
    return np.sort(np.array(chosen))[::-1].copy()


def _draw_half_axes(
    rng: np.random.Generator, diameter_um: FloatArray, params: PackingParams
) -> tuple[FloatArray, FloatArray]:
    """Half axes (N, 3) and elongations (N,)."""
    count = diameter_um.size
    low, high = params.elongation
    elongation = low + (high - low) * rng.random(count) ** 1.5
    middle = elongation ** rng.random(count)
    shape = np.stack([elongation, middle, np.ones(count)], axis=1)
    shape /= np.prod(shape, axis=1, keepdims=True) ** (1 / 3)
    return shape * diameter_um[:, None] / 2, elongation


def _shape_solids(
    rng: np.random.Generator,
    centre_um: FloatArray,
    axes: FloatArray,
    half_um: FloatArray,
    params: PackingParams,
) -> Solids:
    """Give packed ellipsoids their outlines; no damage yet."""
    count = len(centre_um)
    waves = _SMOOTH_WAVES + _ROUGH_WAVES
    pitch = np.concatenate(
        [rng.uniform(1.5, 4.5, (count, _SMOOTH_WAVES)), rng.uniform(8, 30, (count, _ROUGH_WAVES))],
        axis=1,
    )
    strength = rng.uniform(0.4, 1.4, (count, 1))
    amplitude = np.empty((count, waves))
    amplitude[:, :_SMOOTH_WAVES] = params.irregularity * np.sqrt(2 / _SMOOTH_WAVES)
    amplitude[:, _SMOOTH_WAVES:] = params.roughness * np.sqrt(2 / _ROUGH_WAVES)
    solids = Solids(
        centre_um=centre_um,
        axes=axes,
        half_um=half_um,
        bound_um=np.full(count, FAR_UM),
        wave=draw_directions(rng, count, waves) * pitch[..., None],
        phase=rng.uniform(0, 2 * np.pi, (count, waves)),
        amplitude=amplitude * strength,
        void_wave=draw_directions(rng, count, _VOID_WAVES)
        * rng.uniform(2, 9, (count, _VOID_WAVES, 1)),
        void_phase=rng.uniform(0, 2 * np.pi, (count, _VOID_WAVES)),
        void=np.zeros((count, 2)),
        crack_normal=draw_directions(rng, count, CRACKS),
        crack_side=draw_directions(rng, count, CRACKS),
        crack=np.zeros((count, CRACKS, 5)),
        rim=np.zeros((count, 2)),
        severity=np.zeros(count),
        tone=np.clip(1 + 0.05 * rng.standard_normal(count), 0.8, 1.2),
        seed=rng.integers(2**31, size=count),
    )
    directions = draw_directions(rng, _BOUND_DIRECTIONS)
    bound = [max(measure_radius(solids, n, *u) for u in directions) for n in range(count)]
    return solids._replace(bound_um=np.array(bound))
