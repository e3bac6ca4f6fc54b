"""Secondary particles of NCM: their distributions by class, and images of single particles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ncm_kedro.params.synthesise import AdditiveParams, SynthesiseSemParams

Float = NDArray[np.float32]

OUTSIDE = np.float32(-1e6)
"""Height given to the pixels of a sprite that lie outside its particle."""

GRAIN_TILE_PX = 512
"""Edge of the periodic tile of primary grains that texture the particles."""


@dataclass(frozen=True)
class ParticleLaw:
    """Distribution of size, damage and texture of the particles of a class.

    Attributes
    ----------
    median_diameter_um, log_spread
        Median and standard deviation of ln(diameter) of the log-normal size distribution.
    grain_um
        Spacing of the primary grains in um.
    cracked_fraction
        Fraction of particles with cracks, 0-1.
    crack_width_um
        Width of a crack in um.
    pulverised_fraction
        Fraction of particles that have fallen into fines, 0-1.
    roughness
        Standard deviation of the boundary radius over its mean.
    fines_fraction
        Area that loose fines cover over the area of the field, 0-1.
    film
        Strength of the surface film that closes gaps and softens grains, 0-1.
    flatness
        Power of the particle's profile: 2 for spheres, more for plates with rounded edges.
    patchiness
        Factor on the fraction of the field that particles leave open in patches.
    """

    median_diameter_um: float
    log_spread: float
    grain_um: float
    cracked_fraction: float
    crack_width_um: float
    pulverised_fraction: float
    roughness: float
    fines_fraction: float
    film: float
    flatness: float = 2.0
    patchiness: float = 1.0


@dataclass(frozen=True)
class Sprite:
    """Height in px and brightness of one particle, both (S, S), and its diameter in um."""

    height_yx: Float
    shade_yx: Float
    diameter_um: float

    @property
    def radius_px(self) -> float:
        """Half of the sprite's edge in px: no pixel of the particle lies further out."""
        return float(self.height_yx.shape[0] - 1) / 2


def measure_nickel_fraction(composition: str) -> float:
    """Return the fraction of nickel among the metals, 0-1 (``811`` -> 0.8)."""
    parts: list[int] = [int(digit) for digit in composition]
    return parts[0] / sum(parts)


def derive_law(nickel_fraction: float, damage: float) -> ParticleLaw:
    """Return the distribution of particles with that fraction of nickel (0-1) and damage (0-1).

    The median diameter falls by exp(-1.65) per unit of nickel from 9.6 um at one third, and the
    size distribution is widest for the middle compositions, as seen in the published frames.
    """
    return ParticleLaw(
        median_diameter_um=float(9.6 * np.exp(-1.65 * (nickel_fraction - 1 / 3))),
        log_spread=float(0.17 + 0.16 * np.exp(-(((nickel_fraction - 0.56) / 0.1) ** 2))),
        grain_um=0.95 - 0.25 * nickel_fraction,
        cracked_fraction=0.02 + 0.40 * damage,
        crack_width_um=0.22 + 0.22 * damage,
        pulverised_fraction=0.01 + 0.24 * damage,
        roughness=0.035 + 0.045 * damage,
        fines_fraction=0.25 + 0.50 * damage,
        film=0.08 + 0.30 * damage,
        patchiness=0.8 + 0.9 * nickel_fraction,
    )


LCO_LAW = ParticleLaw(
    median_diameter_um=11.0,
    log_spread=0.36,
    grain_um=0.7,
    cracked_fraction=0.0,
    crack_width_um=0.3,
    pulverised_fraction=0.0,
    roughness=0.09,
    fines_fraction=0.04,
    film=0.9,
    flatness=7.0,
    patchiness=0.0,
)
"""Lithium cobalt oxide: large, smooth plates, as they strayed into a published NCM folder."""


def mix_laws(laws: Sequence[ParticleLaw]) -> ParticleLaw:
    """Return the distribution whose every number is the mean of those of `laws`."""
    names = ParticleLaw.__dataclass_fields__
    return ParticleLaw(**{n: float(np.mean([getattr(law, n) for law in laws])) for n in names})


def choose_law(
    params: SynthesiseSemParams,
    composition: str,
    state: str,
    additive: AdditiveParams | None = None,
) -> ParticleLaw:
    """Return the particle distribution of a class at the requested class signal.

    Parameters
    ----------
    params
        Settings; `class_signal` blends from the mean of all classes (0) to each its own (1).
    composition, state
        The class; both must be among those of `params`.
    additive
        Weakens the damage of the state and roughens boundaries; none by default.
    """
    additive = additive or AdditiveParams()
    steps = max(1, len(params.states) - 1)
    laws = {
        (c, s): derive_law(measure_nickel_fraction(c), i / steps)
        for c in params.compositions
        for i, s in enumerate(params.states)
    }
    damage = additive.ageing_signal * params.states.index(state) / steps
    common = mix_laws(list(laws.values()))
    own = derive_law(measure_nickel_fraction(composition), damage)
    law = ParticleLaw(
        **{
            name: getattr(common, name)
            + params.class_signal * (getattr(own, name) - getattr(common, name))
            for name in ParticleLaw.__dataclass_fields__
        }
    )
    return replace(law, roughness=law.roughness + additive.boundary_jitter)


def draw_grain_tile(grain_px: float, rng: np.random.Generator) -> Float:
    """Return a periodic height tile (512, 512) of rounded primary grains, mean 0, unit spread.

    Grains are the Voronoi cells of random seeds, domed by the distance to their seed.
    """
    size = GRAIN_TILE_PX
    count = max(16, int((size / grain_px) ** 2))
    seeds = rng.integers(0, size, (count, 2))
    field = np.full((size, size), 255, np.uint8)
    field[seeds[:, 0], seeds[:, 1]] = 0
    margin = min(size, int(6 * grain_px) + 4)
    wrapped = cv2.copyMakeBorder(field, margin, margin, margin, margin, cv2.BORDER_WRAP)
    distance = cv2.distanceTransform(wrapped, cv2.DIST_L2, 3)[margin:-margin, margin:-margin]
    tone = rng.normal(0, 0.5, (size, size)).astype(np.float32)
    tone = cv2.GaussianBlur(tone, (0, 0), 0.5 * grain_px, borderType=cv2.BORDER_REFLECT_101)
    lumps = cv2.GaussianBlur(rng.normal(0, 1, (size, size)), (0, 0), 1.6 * grain_px)
    tile = -((distance / grain_px) ** 1.5) + tone / max(float(tone.std()), 1e-6) * 0.22
    tile = tile / tile.std() + 0.6 * lumps / lumps.std()
    tile = cv2.GaussianBlur(tile.astype(np.float32), (0, 0), 0.5)
    grains: Float = ((tile - tile.mean()) / tile.std()).astype(np.float32)
    return grains


def draw_sprite(
    diameter_um: float,
    law: ParticleLaw,
    grain_tile: Float,
    pixel_size_um: float,
    rng: np.random.Generator,
) -> Sprite:
    """Draw one secondary particle as the microscope's detector sees it from above.

    Parameters
    ----------
    diameter_um
        Diameter of the circle of the same mean radius.
    pixel_size_um
        Edge of a pixel in um.

    Returns
    -------
    Sprite
        Height (px above the particle's equator) and brightness, which rises with tilt as
        1/cos(theta) [1]_.

    References
    ----------
    .. [1] L. Reimer, Scanning Electron Microscopy, 2nd ed., Springer 1998, section 4.2.
    """
    radius_px = 0.5 * diameter_um / pixel_size_um
    half = int(np.ceil(radius_px * (1 + 2.2 * law.roughness + 0.12))) + 1
    dy, dx = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    squeeze = np.float32(rng.uniform(0.88, 1.13))
    distance = np.hypot(dy * squeeze, dx / squeeze)
    rho = distance / (radius_px * _draw_boundary(np.arctan2(dy, dx), law, rng))
    inside = rho < 1
    rho = np.minimum(rho, 0.999)
    dome = np.sqrt(1 - rho ** np.float32(law.flatness))
    grains = _paper_sphere(grain_tile, dy, dx, rho, rng)
    relief = (1 - 0.55 * law.film) * (2 / law.flatness) * grains
    tilt = np.minimum(1 / np.maximum(dome, 0.3) - 1, 1.6)
    shade = 0.58 + 0.095 * tilt * (1 + 0.35 * relief) + 0.13 * relief + rng.normal(0, 0.04)
    height = (0.9 * radius_px * dome + 0.5 * relief).astype(np.float32)
    if rng.random() < law.cracked_fraction:
        depth = _draw_cracks(half, radius_px, law.crack_width_um / pixel_size_um, rng)
        shade = shade * (1 - 0.85 * depth) + 0.10 * cv2.GaussianBlur(depth, (0, 0), 1.2)
        height -= depth * 0.15 * np.float32(radius_px)
    height[~inside] = OUTSIDE
    return Sprite(height, shade.astype(np.float32), diameter_um)


def draw_sprites(
    law: ParticleLaw, count: int, pixel_size_um: float, rng: np.random.Generator
) -> list[Sprite]:
    """Draw a library of `count` particles whose diameters follow `law`, largest first."""
    tile = draw_grain_tile(law.grain_um / pixel_size_um, rng)
    levels = (np.arange(count) + rng.random(count)) / count
    normal = _quantile_normal(levels)
    diameters = law.median_diameter_um * np.exp(law.log_spread * np.clip(normal, -2.5, 2.5))
    return [draw_sprite(float(d), law, tile, pixel_size_um, rng) for d in diameters[::-1]]


def draw_fines(
    law: ParticleLaw, count: int, pixel_size_um: float, rng: np.random.Generator
) -> list[Sprite]:
    """Draw a library of `count` loose fines, 0.8-2.6 um across, rough and bright."""
    tile = draw_grain_tile(law.grain_um / pixel_size_um, rng)
    ragged = ParticleLaw(**{**vars(law), "roughness": 0.13, "cracked_fraction": 0.0})
    diameters = rng.uniform(0.8, 2.6, count)
    return [draw_sprite(float(d), ragged, tile, pixel_size_um, rng) for d in diameters]


def _quantile_normal(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return standard-normal quantiles of `levels` (0-1)."""
    from scipy.special import ndtri

    return np.asarray(ndtri(levels), dtype=np.float64)


def _draw_boundary(angle: Float, law: ParticleLaw, rng: np.random.Generator) -> Float:
    """Return the boundary radius over its mean at `angle` (rad), as a random Fourier series."""
    orders = np.arange(2, 14)
    amplitudes = rng.normal(0, 1, orders.size) / orders ** (0.4 + 0.25 * law.flatness)
    amplitudes *= law.roughness * np.sqrt(2) / max(float(np.hypot.reduce(amplitudes)), 1e-6)
    phases = rng.uniform(0, 2 * np.pi, orders.size)
    radius = np.ones_like(angle)
    for order, amplitude, phase in zip(orders, amplitudes, phases, strict=True):
        radius += np.float32(amplitude) * np.cos(angle * np.float32(order) + np.float32(phase))
    return np.clip(radius, 0.6, 1.4)


def _paper_sphere(tile: Float, dy: Float, dx: Float, rho: Float, rng: np.random.Generator) -> Float:
    """Look the grain tile up over a sphere, so that grains narrow towards the rim."""
    stretch = np.arcsin(rho) / np.maximum(rho, 1e-3)
    shift_y, shift_x = rng.uniform(0, GRAIN_TILE_PX, 2)
    at_x = np.mod(dx * stretch + np.float32(shift_x), GRAIN_TILE_PX).astype(np.float32)
    at_y = np.mod(dy * stretch + np.float32(shift_y), GRAIN_TILE_PX).astype(np.float32)
    relief: Float = cv2.remap(tile, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return relief


def _draw_cracks(half: int, radius_px: float, width_px: float, rng: np.random.Generator) -> Float:
    """Return crack depth (S, S), 0-1: one to three jagged lines that start near the middle."""
    canvas = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    heading = rng.uniform(0, 2 * np.pi)
    for arm in range(int(rng.integers(1, 4))):
        turn = heading + arm * 2.2 + rng.normal(0, 0.3)
        point = rng.normal(half, 0.12 * radius_px, 2)
        for _ in range(5):
            turn += rng.normal(0, 0.45)
            step = 0.24 * radius_px * np.array([np.cos(turn), np.sin(turn)])
            ends = [tuple(int(v * 16) for v in p) for p in (point, point + step)]
            thickness = max(1, round(width_px))
            cv2.line(canvas, ends[0], ends[1], 1.0, thickness, cv2.LINE_AA, 4)
            point = point + step
    depth: Float = cv2.GaussianBlur(canvas, (0, 0), 0.6)
    return depth
