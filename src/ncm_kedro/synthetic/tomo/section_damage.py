"""Voids, cracks, pulverised rims and shards of the particles in a training section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.params.tomo_phantoms import SectionDamageParams
from ncm_kedro.synthetic.tomo.outlines import ANGLES, draw, draw_waves
from ncm_kedro.synthetic.tomo.section_imaging import draw_cells, draw_smooth, draw_streaks

FloatArray = NDArray[np.float32]
_VOID_ORDERS = (2, 14)


@dataclass(frozen=True)
class DamageFields:
    """Random fields that all particles of a section share; each (H, W).

    Attributes
    ----------
    fine_yx, coarse_yx
        Smooth noise of a fine and of a coarse grain, standard deviation 1.
    streaky_yx
        Noise along one direction, standard deviation 1.
    shard_edge_yx, shard_yx
        Distance to the border of a shard (px), and a random grey value of each shard, 0-1.
    """

    fine_yx: FloatArray
    coarse_yx: FloatArray
    streaky_yx: FloatArray
    shard_edge_yx: FloatArray
    shard_yx: FloatArray


@dataclass(frozen=True)
class DamageShares:
    """Fractions of a section's particles that show each kind of damage, 0-1, and its depth."""

    void: float
    radial_cracks: float
    concentric_cracks: float
    through_crack: float
    pulverised_rim: float
    fragmented: float
    depth: float


@dataclass(frozen=True)
class Patch:
    """Coordinates around one particle; arrays are (h, w).

    Attributes
    ----------
    region
        Rows and columns of the patch in the section.
    dy_yx, dx_yx
        Offsets from the centre (px).
    distance_yx
        Distance from the centre (px).
    step_yx
        Entry of an angle table for each pixel.
    rho_yx
        Distance from the centre over the outline's radius; 1 on the outline.
    radius_px
        Radius of the particle.
    """

    region: tuple[slice, slice]
    dy_yx: FloatArray
    dx_yx: FloatArray
    distance_yx: FloatArray
    step_yx: NDArray[np.intp]
    rho_yx: FloatArray
    radius_px: float


def draw_damage_fields(
    rng: np.random.Generator, shape_yx: tuple[int, int], mean_radius_px: float
) -> DamageFields:
    """Draw the random fields of a section; their grain goes with the particles' mean radius."""
    grain = float(np.clip(mean_radius_px, 8, 60))
    edge, cell = draw_cells(rng, shape_yx, grain * rng.uniform(0.3, 0.8))
    tones = rng.random(int(cell.max()) + 1).astype(np.float32)
    return DamageFields(
        fine_yx=draw_smooth(rng, shape_yx, rng.uniform(0.7, 1.5) * grain / 25),
        coarse_yx=draw_smooth(rng, shape_yx, grain * rng.uniform(0.1, 0.3)),
        streaky_yx=draw_streaks(
            rng, shape_yx, rng.uniform(0, np.pi), grain * rng.uniform(0.06, 0.15)
        ),
        shard_edge_yx=edge,
        shard_yx=tones[cell],
    )


def draw_damage_shares(rng: np.random.Generator, params: SectionDamageParams) -> DamageShares:
    """Draw how common each kind of damage is in a section."""
    return DamageShares(
        void=draw(rng, params.void),
        radial_cracks=draw(rng, params.radial_cracks),
        concentric_cracks=draw(rng, params.concentric_cracks),
        through_crack=draw(rng, params.through_crack),
        pulverised_rim=draw(rng, params.pulverised_rim),
        fragmented=draw(rng, params.fragmented),
        depth=rng.uniform(0.6, 1.15),
    )


def draw_damage(
    rng: np.random.Generator, patch: Patch, fields: DamageFields, shares: DamageShares
) -> FloatArray:
    """Draw what is missing of one particle.

    Returns
    -------
    (h, w) array
        Fraction of the particle's contrast that is gone, 0 to about 1.15; above 1 a void is
        darker than the matrix.
    """
    chance = rng.random(6)
    missing: list[FloatArray] = []
    if chance[0] < shares.void:
        missing.append(_draw_void(rng, patch, fields))
    if chance[1] < shares.radial_cracks:
        missing.append(_draw_radial_cracks(rng, patch, fields))
    if chance[2] < shares.through_crack:
        missing.append(_draw_through_crack(rng, patch, fields))
    if chance[3] < shares.pulverised_rim:
        missing.append(_draw_rim(rng, patch, fields))
    if chance[4] < shares.fragmented:
        missing.append(_draw_shards(rng, patch, fields))
    if chance[5] < shares.concentric_cracks:
        missing.append(_draw_concentric_cracks(rng, patch, fields))
    depth = shares.depth * rng.uniform(0.7, 1.0)
    return _combine(missing, patch.rho_yx.shape) * np.float32(depth)


def _combine(missing: Sequence[FloatArray], shape_yx: tuple[int, ...]) -> FloatArray:
    whole = np.zeros(shape_yx, np.float32)
    for part in missing:
        np.maximum(whole, part, out=whole)
    return whole


def _ramp(signed_px: FloatArray, width_px: float = 1.0) -> FloatArray:
    """1 where the signed distance is well below 0, 0 well above, a ramp of a width between."""
    ramp: FloatArray = np.clip(0.5 - signed_px / width_px, 0, 1).astype(np.float32)
    return ramp


def _draw_void(rng: np.random.Generator, patch: Patch, fields: DamageFields) -> FloatArray:
    """Dark core of irregular outline with spikes, sometimes with bridges left across it."""
    size = rng.uniform(0.06, 0.5)
    spikes = np.exp(rng.uniform(0.15, 0.6) * draw_waves(rng, 1, _VOID_ORDERS, 0.4)[0])
    table = (size * spikes).astype(np.float32)
    np.clip(table, 0.02, 0.8, out=table)
    ragged = rng.uniform(0.02, 0.14) * fields.coarse_yx[patch.region]
    ragged = ragged + rng.uniform(0.0, 0.08) * fields.fine_yx[patch.region]
    shift = rng.uniform(-0.15, 0.15, 2) * (1 if rng.random() < 0.7 else 2)
    lean = (patch.dy_yx * shift[0] + patch.dx_yx * shift[1]) / patch.radius_px
    signed = (patch.rho_yx + lean - table[patch.step_yx] + ragged) * patch.radius_px
    void = _ramp(signed.astype(np.float32), rng.uniform(1.0, 3.0))
    if rng.random() < 0.5:
        bridge = fields.coarse_yx[patch.region] * rng.choice([-1.0, 1.0]) + rng.uniform(-1.5, 0.2)
        void *= _ramp(bridge.astype(np.float32), 0.5)
    return void


def _draw_radial_cracks(rng: np.random.Generator, patch: Patch, fields: DamageFields) -> FloatArray:
    """Up to fourteen wobbling cracks along radii, each between two depths."""
    count = int(rng.integers(1, 15))
    angles = np.sort(rng.uniform(-np.pi, np.pi, count))
    steps = np.linspace(-np.pi, np.pi, ANGLES, endpoint=False)
    turn = steps[:, None] - angles
    turn = (turn + np.pi) % (2 * np.pi) - np.pi
    nearest = np.abs(turn).argmin(axis=1)
    offset = np.take_along_axis(turn, nearest[:, None], axis=1)[:, 0].astype(np.float32)
    inner = rng.uniform(0.0, 0.7, count)
    outer = np.minimum(inner + rng.uniform(0.15, 0.9, count), 1.3)
    width = np.maximum(patch.radius_px * rng.uniform(0.015, 0.07, count), 0.5)
    wobble = rng.uniform(0.0, 0.07) * patch.radius_px * fields.coarse_yx[patch.region]
    step = patch.step_yx
    across = np.abs(np.sin(offset)[step] * patch.distance_yx + wobble)
    half = (width.astype(np.float32) / 2)[nearest][step]
    start = inner.astype(np.float32)[nearest][step]
    stop = outer.astype(np.float32)[nearest][step]
    ends = np.maximum(start - patch.rho_yx, patch.rho_yx - stop) * patch.radius_px
    signed = np.maximum(across - half, ends)
    thin = min(1.0, 2 * float(width.mean()))
    return _ramp(signed.astype(np.float32)) * np.float32(thin)


def _draw_concentric_cracks(
    rng: np.random.Generator, patch: Patch, fields: DamageFields
) -> FloatArray:
    """One to three wobbling arcs along the outline, each over a part of the angle."""
    crack = np.zeros_like(patch.rho_yx)
    for _ in range(int(rng.integers(1, 4))):
        depth = rng.uniform(0.3, 0.95)
        wave = depth * np.exp(0.12 * draw_waves(rng, 1, (1, 6), 1.0)[0])
        half = max(0.5, patch.radius_px * rng.uniform(0.01, 0.06))
        width = np.where(draw_waves(rng, 1, (1, 4), 0.5)[0] > rng.uniform(-0.5, 1.0), half, -1.0)
        across = (patch.rho_yx - wave[patch.step_yx]) * patch.radius_px
        across += 0.04 * patch.radius_px * fields.coarse_yx[patch.region]
        signed = np.abs(across) - width[patch.step_yx]
        np.maximum(crack, _ramp(signed.astype(np.float32)), out=crack)
    return crack


def _draw_through_crack(rng: np.random.Generator, patch: Patch, fields: DamageFields) -> FloatArray:
    """One or two wobbling cracks from side to side."""
    crack = np.zeros_like(patch.rho_yx)
    for _ in range(1 + int(rng.random() < 0.3)):
        angle = rng.uniform(0, np.pi)
        across = patch.dy_yx * np.cos(angle) - patch.dx_yx * np.sin(angle)
        across += rng.uniform(-0.45, 0.45) * patch.radius_px
        across += rng.uniform(0.02, 0.12) * patch.radius_px * fields.coarse_yx[patch.region]
        half = max(0.5, patch.radius_px * rng.uniform(0.01, 0.08))
        np.maximum(crack, _ramp(np.abs(across) - np.float32(half)), out=crack)
    return crack


def _draw_rim(rng: np.random.Generator, patch: Patch, fields: DamageFields) -> FloatArray:
    """Grains and streaks outside a core, as deep as the centre or only skin-deep."""
    start = rng.uniform(0.1, 0.85)
    wavy = start - patch.rho_yx + 0.12 * fields.coarse_yx[patch.region]
    outside = _ramp(4 * wavy.astype(np.float32))
    grains = fields.fine_yx if rng.random() < 0.5 else fields.streaky_yx
    gaps = _ramp(rng.uniform(-0.2, 0.9) - grains[patch.region], 0.8)
    part: FloatArray = outside * gaps * np.float32(rng.uniform(0.5, 1))
    return part


def _draw_shards(rng: np.random.Generator, patch: Patch, fields: DamageFields) -> FloatArray:
    """Shards with dark gaps between, some of them gone; the outermost skin may hold."""
    gap = rng.uniform(0.4, 2.0)
    edge = fields.shard_edge_yx[patch.region]
    wobble = 0.5 * fields.fine_yx[patch.region]
    gone = (fields.shard_yx[patch.region] < rng.uniform(0, 0.3)).astype(np.float32)
    missing = np.maximum(_ramp((edge + wobble - gap).astype(np.float32), 1.5), gone)
    inside = _ramp((patch.rho_yx - rng.uniform(0.75, 1.1)) * patch.radius_px, 4.0)
    part: FloatArray = missing * inside
    return part
