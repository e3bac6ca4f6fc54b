"""Scene of a phantom tomogram: packed particles, their contacts and their simulated damage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from ncm_kedro.params.tomo_phantoms import PackingParams, TomoPhantomParams, TomoSampleParams
from ncm_kedro.synthetic.tomo.packing import (
    CRACKS,
    damage_solids,
    draw_directions,
    pack_ellipsoids,
    simulate_damage,
)
from ncm_kedro.synthetic.tomo.solids import FAR_UM, Solids, measure_radius

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_SMOOTH_WAVES, _ROUGH_WAVES = 8, 8
_VOID_WAVES = 5
_BOUND_DIRECTIONS = 600
_CONTACT_REACH = 0.02  # gap between outlines, as a share of the reach, that still counts as touch


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
        (N,), what the law asks for: missing over filled volume.
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
    """Pack an electrode and damage its particles by the simulated law.

    Parameters
    ----------
    rng
        The only source of randomness.
    sample
        How strongly the sample is damaged.
    params
        Size, packing, law.

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
    count
        N.
    """
    number: IntArray = np.bincount(contacts.ravel(), minlength=count)
    return number


def find_contacts(solids: Solids) -> IntArray:
    """List the pairs of particles whose outlines touch or overlap.

    Parameters
    ----------
    solids
        Particles.

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
    """Diameters (N,) that fill the wanted share of a space, largest first."""
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
