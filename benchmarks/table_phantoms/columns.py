"""Attributes of the particles of a table phantom, as a measurement would give them.

``corrected`` measures the named quantities; in ``paper`` shape and grey values hold the cracks,
and damage what a closing in a tight box adds. ``docs/attributes.md`` describes both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.params.particle_features import AttributeParams
from table_phantoms.electrode import (
    Electrode,
    find_nearest,
    list_contacts,
    measure_density,
)
from table_phantoms.params import ParticleTableParams

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

UNCERTAINTY_SHARES = {
    "surface_inner_um2": 1.0, "surface_outer_um2": 5**0.5 / 3, "volume_um3": 1.0,
    "damage": 1.0, "elongation": 1.0, "sphericity": 1.0, "vs_ratio": 1 / 6, "roughness_inner": 1.0,
    "roughness_outer": 1.0, "contact": 1.0,
}  # fmt: skip
"""Relative standard error of a column over ``measurement_noise``; of the elongation less 1."""

_GREY, _GREY_SPREAD, _TEXTURE, _CONTRAST = 182.0, 5.0, 12.0, 94.0  # as of the phantom volumes
_CRACK_WIDTH_UM = 1.0
_WALL_SPREAD = 0.35  # of ln(wall area) about that of cracks of one width
_FEW_FACES = 20  # voxels of crack wall without which a roughness is not measured
_ROUGHNESS = 0.012
_ROUGHNESS_SPREAD = 0.3
_PERIMETER = 0.77  # surface by counted voxels over the true one (18 to 28 % low)
_BOX_SHARE, _BOX_RADIUS_VX, _BOX_POWER = 0.36, 15.0, 1.39  # 36/16/11/6.8/4.2 % at 15/25/35/50/70
_BOX_LIMIT = 0.7


@dataclass(frozen=True)
class Bodies:
    """The visible parts of N particles.

    Attributes
    ----------
    volume_um3, surface_um2
        (N,), filled volume and outer surface.
    contact
        (N,), fraction of that surface that faces another particle.
    pairs, area_um2
        (M, 2) and (M,), contacts as of `list_contacts`.
    whole
        (N,), False for border-truncated particles.
    """

    volume_um3: FloatArray
    surface_um2: FloatArray
    contact: FloatArray
    pairs: IntArray
    area_um2: FloatArray
    whole: BoolArray


def measure_bodies(
    rng: np.random.Generator, electrode: Electrode, params: ParticleTableParams
) -> Bodies:
    """Measure size and contact of what the view shows of each particle.

    Returns
    -------
    Bodies
        A particle that the border cuts is measured as a ball cut at the same place.
    """
    cut = electrode.cut_lateral()
    number = len(cut)
    excess = params.electrode.irregularity * np.exp(0.5 * rng.standard_normal(number))
    whole_um2 = electrode.surface_um2 * (1 + excess)
    caps, discs = ((1 + cut) / 2).prod(axis=1), ((1 - cut**2) / 4).sum(axis=1)
    surface = whole_um2 * (caps + discs)
    pairs, area = list_contacts(electrode, params.attributes.contact_gap_um)
    facing = np.bincount(pairs[:, 0], area, number)
    return Bodies(
        volume_um3=np.pi / 6 * electrode.diameter_um**3 * ((2 + 3 * cut - cut**3) / 4).prod(axis=1),
        surface_um2=surface,
        contact=np.minimum(facing / surface, 1),
        pairs=pairs,
        area_um2=area,
        whole=~electrode.touches_border,
    )


def draw_columns(
    rng: np.random.Generator,
    electrode: Electrode,
    bodies: Bodies,
    damage: FloatArray,
    params: ParticleTableParams,
) -> dict[str, FloatArray]:
    """Draw the attributes that belong to a particle alone.

    Parameters
    ----------
    damage
        (N,), simulated.

    Returns
    -------
    dict
        (N,) by column: ID 4 to 17 and 19 of Table S1; not a number where there is no value.
    """
    paper = params.preset == "paper"
    number = len(damage)
    wall, rough_outer, rough_inner, grey, texture = rng.standard_normal((5, number))
    counted = _PERIMETER if paper else 1.0
    inner = 2 / _CRACK_WIDTH_UM * damage * bodies.volume_um3 * np.exp(_WALL_SPREAD * wall)
    walled = inner >= _FEW_FACES * params.voxel_size_um**2
    uneven = 0.1 * np.sqrt(damage) * np.exp(_ROUGHNESS_SPREAD * rough_inner)
    columns = {
        **_measure_angles(electrode, bodies.whole, params.attributes),
        **_draw_grey((grey, texture), damage, paper=paper),
        "surface_inner_um2": counted * inner,
        "surface_outer_um2": counted * bodies.surface_um2,
        "volume_um3": bodies.volume_um3,
        "damage": _add_box(bodies, damage, params) if paper and params.box_bias else damage,
        "elongation": electrode.half_um[:, 0] / electrode.half_um[:, 2],
        "roughness_inner": np.where(walled, uneven, np.nan),
        "roughness_outer": _ROUGHNESS * np.exp(_ROUGHNESS_SPREAD * rough_outer),
        "contact": bodies.contact,
    }
    _add_errors(rng, columns, params.measurement_noise, counted)
    _derive_shape(columns, paper=paper)
    if not paper:
        for name in ("elongation", "sphericity", "vs_ratio", "roughness_inner", "roughness_outer"):
            columns[name] = np.where(bodies.whole, columns[name], np.nan)
    return columns


def measure_surroundings(
    electrode: Electrode, columns: dict[str, FloatArray], bodies: Bodies, settings: AttributeParams
) -> dict[str, FloatArray]:
    """Measure packing and the six nearest particles.

    Returns
    -------
    dict
        (N,) by column: ID 18 and 20 to 24 of Table S1.
    """
    paper, count, centre = settings.preset == "paper", settings.neighbours, electrode.centre_um
    everyone = np.ones_like(bodies.whole)
    near = find_nearest(centre, everyone if paper else bodies.whole, count)[0]
    found = {
        "packing_density": measure_density(electrode, settings.window_um, clipped=not paper),
        "distance_nearest_um": find_nearest(centre, everyone, count)[1].mean(axis=1),
        "sphericity_std": _spread_over(columns["sphericity"], near),
        "elongation_std": _spread_over(columns["elongation"], near),
        "volume_std_um3": _spread_over(columns["volume_um3"], near),
    }
    if paper:
        angles = [_spread_over(columns[f"{name}_deg"], near) for name in ("yaw", "pitch", "roll")]
        return {**found, "orientation_isotropy": np.mean(angles, axis=0)}
    directed = bodies.whole & find_directed(electrode, settings)
    aligned = find_nearest(centre, directed, count)[0]
    return {**found, "orientation_isotropy": _measure_alignment(electrode.axes[:, 0], aligned)}


def find_directed(electrode: Electrode, settings: AttributeParams) -> BoolArray:
    """Return which particles have a distinct longest axis, (N,)."""
    half = electrode.half_um
    return np.asarray(half[:, 0] >= settings.min_axis_ratio * half[:, 1])


def list_uncertainties(table: pd.DataFrame, noise: float) -> pd.DataFrame:
    """Return the columns ``<name>_uncertainty`` of a table: standard errors, in its units."""
    errors = {}
    for name, share in UNCERTAINTY_SHARES.items():
        value = table[name] - 1 if name == "elongation" else table[name]
        errors[f"{name}_uncertainty"] = noise * share * value
    return pd.DataFrame(errors)


def _measure_angles(
    electrode: Electrode, whole: BoolArray, settings: AttributeParams
) -> dict[str, FloatArray]:
    """Return turns about z, the turned y and the turned x of axes without sign (ID 4 to 6)."""
    long, middle = (electrode.axes[:, axis, ::-1] for axis in range(2))  # x, y, z
    long = long * np.where(long[:, :1] < 0, -1, 1)
    short = np.cross(long, middle)
    yaw = np.arctan2(long[:, 1], long[:, 0])
    pitch = np.arctan2(-long[:, 2], np.hypot(long[:, 0], long[:, 1]))
    roll = np.arctan2(middle[:, 2], short[:, 2])
    if settings.preset == "paper":
        shown, level = np.ones_like(whole), np.ones_like(whole)
    else:
        half = electrode.half_um
        shown = whole & find_directed(electrode, settings)
        level = shown & (half[:, 1] >= settings.min_axis_ratio * half[:, 2])
    return {
        "yaw_deg": np.where(shown, 90 - np.mod(90 - np.degrees(yaw), 180), np.nan),
        "pitch_deg": np.where(shown, np.degrees(pitch), np.nan),
        "roll_deg": np.where(level, 90 - np.mod(90 - np.degrees(roll), 180), np.nan),
    }


def _draw_grey(
    normal: tuple[FloatArray, FloatArray], damage: FloatArray, *, paper: bool
) -> dict[str, FloatArray]:
    """Draw mean and inverse deviation of grey values: of the solid, or with its cracks."""
    mean = _GREY + _GREY_SPREAD * normal[0]
    spread = _TEXTURE * np.exp(0.1 * normal[1])
    if paper:
        mean = mean - damage * _CONTRAST
        spread = np.sqrt(spread**2 + damage * (1 - damage) * _CONTRAST**2)
    return {"electron_density": mean, "homogeneity": 1 / spread}


def _add_box(bodies: Bodies, damage: FloatArray, params: ParticleTableParams) -> FloatArray:
    """Add the damage that a closing in a tight box finds in an intact ball of that size."""
    radius_vx = np.cbrt(bodies.volume_um3 / (4 / 3 * np.pi)) / params.voxel_size_um
    bias = np.minimum(_BOX_SHARE * (_BOX_RADIUS_VX / radius_vx) ** _BOX_POWER, _BOX_LIMIT)
    return np.asarray(damage + (1 - damage) * bias)


def _add_errors(
    rng: np.random.Generator, columns: dict[str, FloatArray], noise: float, counted: float
) -> None:
    """Add errors of measurement; the outline moves volume and outer surface together.

    No surface is measured smaller than that of a ball of the volume.
    """
    names = ("surface_inner_um2", "damage", "contact", "roughness_inner", "roughness_outer")
    factors = np.exp(noise * rng.standard_normal((len(names) + 3, len(columns["damage"]))))
    outline, waves, length, *others = factors
    columns["volume_um3"] = columns["volume_um3"] * outline
    surface = columns["surface_outer_um2"] * outline ** (2 / 3) * waves ** (1 / 3)
    ball = np.cbrt(36 * np.pi * columns["volume_um3"] ** 2)
    columns["surface_outer_um2"] = np.maximum(surface, counted * ball)
    columns["elongation"] = 1 + (columns["elongation"] - 1) * length
    for name, factor in zip(names, others, strict=True):
        columns[name] = columns[name] * factor
    for name in ("damage", "contact"):
        columns[name] = np.minimum(columns[name], 1)


def _derive_shape(columns: dict[str, FloatArray], *, paper: bool) -> None:
    """Add sphericity and ratio of volume to surface (Table S1, 14 and 15)."""
    volume, surface = columns["volume_um3"], columns["surface_outer_um2"]
    surface = surface + columns["surface_inner_um2"] if paper else surface
    columns["sphericity"] = 36 * np.pi * volume**2 / surface**3
    columns["vs_ratio"] = np.cbrt(volume) / np.sqrt(surface)


def _spread_over(values: FloatArray, index: IntArray) -> FloatArray:
    """Return the standard deviation (n - 1) over neighbours; not a number where there are none."""
    spread: FloatArray = np.std(values[index], axis=1, ddof=1)
    return np.where((index < 0).any(axis=1), np.nan, spread)


def _measure_alignment(axis: FloatArray, index: IntArray) -> FloatArray:
    """Return the nematic order parameter S2 of the neighbours' long axes."""
    near = axis[index]
    order = 1.5 * np.einsum("nki,nkj->nij", near, near) / index.shape[1] - 0.5 * np.eye(3)
    largest = np.clip(np.linalg.eigvalsh(order)[:, -1], 0, 1)
    return np.where((index < 0).any(axis=1), np.nan, largest)
