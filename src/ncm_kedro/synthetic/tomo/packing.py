"""Damage of the particles of a phantom: how much, by a simulated law, and of which kind.

Packing of ellipsoids: thrown in at random, then pushed apart until they only touch.

The relaxation follows the idea of force-biased packing (Jodrey and Tory, Phys. Rev. A 32,
2347, 1985): overlapping pairs repel each other in proportion to their overlap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ncm_kedro.params.tomo_phantoms import DamageLawParams, TomoSampleParams
from ncm_kedro.synthetic.tomo.solids import Solids, fit_severity

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
    """Draw each particle's damage from the simulated law.

    ``damage = max * logistic(base + asynchrony * (sum of weight * driver + noise))`` with
    drivers standardised over the sample, and the base such that the average particle has the
    sample's damage level.

    Parameters
    ----------
    rng
        Source of the unexplained part.
    depth_um, contact, diameter_um
        (N,), the drivers; contact in whatever measures how much of a particle is in contact.
    law
        The sample's level and the law.

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
    rng
        Source of kinds and places.
    solids
        Sound particles.
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
    rng
        Source of the first, random places.
    half_um
        (N, 3), half axes.
    axes
        (N, 3, 3), rows are the axes.
    box_um
        Low and high corner of the box, (3,) each. Along z ellipsoids stay within it;
        along y and x only their centres do, so that the box may be cut out of a wider electrode.
    max_overlap
        Overlap of touching ellipsoids as a share of the sum of their reaches.

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
