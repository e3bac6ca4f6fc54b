"""The attribute table: Table S1 of Li et al. (2022) from what was measured.

``corrected`` estimates the named quantities; ``paper`` keeps the text's definitions, and the
published code's where the text is silent. ``docs/attributes.md`` describes both.

Details of a particle beyond Table S1, and caveats.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.particles.axes import (
    PrincipalAxes,
    find_angles,
    find_axes,
    find_nearest,
    measure_alignment,
    measure_packing,
    measure_roughness,
    spread_over,
)
from ncm_kedro.particles.block_sums import LINES, CroftonWeights
from ncm_kedro.particles.columns import ATTRIBUTE_NAMES, IDENTITY_COLUMNS
from ncm_kedro.particles.kernels.cutouts import COUNTS
from ncm_kedro.particles.measure import Measurement

FloatArray = NDArray[np.float64]
Columns = dict[str, NDArray[np.generic]]


def tabulate_attributes(measurement: Measurement, params: AttributeParams) -> pd.DataFrame:
    """Make the attribute table of a sample.

    Parameters
    ----------
    measurement
        What was measured, with the same settings.

    Returns
    -------
    pandas.DataFrame
        A row per particle, ascending ``particle_id``; columns as in `columns`. What is not defined
        is not a number: never 0, never infinite.
    """
    raw = measurement.particles
    axes = find_axes(_take(raw, "filled", COUNTS[:10]), measurement.voxel_size_um)
    whole = raw["label_border"].to_numpy() == 0
    columns: Columns = {
        "particle_id": raw["particle_id"].to_numpy(),
        "touches_border": ~whole,
        "voxel_count": raw["label_voxels"].to_numpy(),
    }
    shown = raw["label_voxels"].to_numpy() >= params.min_shape_vx
    if params.preset == "corrected":
        shown &= whole
    columns |= _place(axes, shown, params)
    columns |= _measure_grey(raw, params)
    columns |= _measure_bodies(measurement, axes, params, shown)
    columns["elongation"] = np.where(shown, axes.elongation, np.nan)
    columns |= _measure_surroundings(measurement, axes, columns, params)
    columns |= _measure_contact(measurement, columns, params)
    table = pd.DataFrame(columns)
    table.insert(0, "sample", pd.Series(measurement.name, index=table.index, dtype="str"))
    table = table[[*IDENTITY_COLUMNS, *ATTRIBUTE_NAMES]]
    table.attrs = {
        "sample": measurement.name,
        "preset": params.preset,
        "settings": params.model_dump(mode="json"),
    }
    return table


def _take(raw: pd.DataFrame, prefix: str, names: tuple[str, ...]) -> NDArray[np.int64]:
    return raw[[f"{prefix}_{name}" for name in names]].to_numpy(dtype=np.int64)


def _place(axes: PrincipalAxes, shown: NDArray[np.bool_], params: AttributeParams) -> Columns:
    """Return position and orientation (ID 1 to 6)."""
    paper = params.preset == "paper"
    ratio = params.min_axis_ratio
    long = shown & (paper | axes.distinct(0, 1, ratio))
    level = long & (paper | axes.distinct(1, 2, ratio))
    yaw, pitch, roll = find_angles(axes.direction)
    return {
        "orientation_defined": shown & axes.distinct(0, 1, ratio),
        **{f"{name}_um": axes.centre_um[:, axis] for axis, name in enumerate("zyx")},
        "yaw_deg": np.where(long, yaw, np.nan),
        "pitch_deg": np.where(long, pitch, np.nan),
        "roll_deg": np.where(level, roll, np.nan),
    }


def _measure_grey(raw: pd.DataFrame, params: AttributeParams) -> Columns:
    """Return electron density and homogeneity (ID 7 and 8)."""
    part = "label" if params.preset == "paper" else "solid"
    number = raw["label_voxels" if part == "label" else "label_solid"].to_numpy(dtype=np.float64)
    number = np.where((number > 0) & raw["has_grey"].to_numpy(), number, np.nan)
    mean = raw[f"grey_{part}"].to_numpy() / number
    variance = raw[f"grey2_{part}"].to_numpy() / number - mean**2
    noise = 1e-12 * mean**2  # what rounding leaves of a constant
    spread = np.sqrt(np.where(variance > noise, variance, np.nan))
    return {"electron_density": mean, "homogeneity": 1 / spread}


def _measure_bodies(
    measurement: Measurement,
    axes: PrincipalAxes,
    params: AttributeParams,
    shown: NDArray[np.bool_],
) -> Columns:
    """Return surfaces, volume, damage, sphericity, ratio and roughness (ID 9 to 12, 14 to 17)."""
    raw = measurement.particles
    voxel_um3 = float(np.prod(measurement.voxel_size_um))
    volume = raw["filled_filled"].to_numpy() * voxel_um3
    closed, solid = raw["filled_closed"].to_numpy(), raw["filled_solid"].to_numpy()
    known = raw["was_cut"].to_numpy() | raw["has_cracks"].to_numpy()
    large_enough = raw["label_voxels"].to_numpy() >= params.min_shape_vx
    outer, inner = _measure_surfaces(measurement, axes, params)
    outer = np.where(large_enough, outer, np.nan)
    inner_known = raw["was_cut"].to_numpy() if params.preset == "paper" else known
    inner = np.where(large_enough & inner_known, inner, np.nan)
    surface = outer + inner if params.preset == "paper" else outer
    surface = np.where(shown & (surface > 0), surface, np.nan)
    radius_um = np.cbrt(3 * volume / (4 * np.pi))
    rough_outer, rough_inner = measure_roughness(raw, measurement.voxel_size_um)
    return {
        "surface_inner_um2": inner,
        "surface_outer_um2": outer,
        "volume_um3": volume,
        "damage": np.where(known, (closed - solid) / np.maximum(closed, 1), np.nan),
        "sphericity": 36 * np.pi * volume**2 / surface**3,
        "vs_ratio": np.cbrt(volume) / np.sqrt(surface),
        "roughness_inner": np.where(shown, rough_inner / radius_um, np.nan),
        "roughness_outer": np.where(shown, rough_outer / radius_um, np.nan),
    }


def _measure_surfaces(
    measurement: Measurement, axes: PrincipalAxes, params: AttributeParams
) -> tuple[FloatArray, FloatArray]:
    """Return outer and inner surface in um2."""
    raw = measurement.particles
    if params.preset == "paper":  # voxels with an outer face, each counted as one voxel face
        face_um2 = float(np.cbrt(np.prod(measurement.voxel_size_um))) ** 2
        rim, all_rims = raw["filled_perimeter"].to_numpy(), raw["filled_solid_perimeter"].to_numpy()
        return rim * face_um2, np.maximum(all_rims - rim, 0) * face_um2
    weights = CroftonWeights.of(measurement.voxel_size_um)
    lines = range(LINES)
    filled, solid = (
        weights.area(raw[[f"{part}_crossings_{line}" for line in lines]].to_numpy(dtype=np.int64))
        for part in ("filled", "solid")
    )
    missed = weights.missed_area(axes.spread_um2, axes.direction)
    return filled + np.where(filled > 0, missed, 0.0), np.maximum(solid - filled, 0.0)


def _measure_surroundings(
    measurement: Measurement,
    axes: PrincipalAxes,
    known: Mapping[str, NDArray[np.generic]],
    params: AttributeParams,
) -> Columns:
    """Return packing, distances and neighbour statistics (ID 18, 20 to 24)."""
    everyone = np.ones(len(axes.centre_um), dtype=np.bool_)
    shaped = everyone
    if params.preset == "corrected":
        shaped = np.isfinite(known["sphericity"]) & np.isfinite(known["elongation"])
    near = find_nearest(axes.centre_um, shaped, params.neighbours)[0]
    directed = shaped & np.asarray(known["orientation_defined"], dtype=np.bool_)
    columns: Columns = {
        "distance_nearest_um": find_nearest(axes.centre_um, everyone, params.neighbours)[1].mean(
            axis=1
        ),
        "packing_density": measure_packing(
            axes.centre_um, params.window_um, measurement.cells,
            (measurement.shape_zyx, measurement.voxel_size_um),
            clipped=params.preset == "corrected",
        ),
    }  # fmt: skip
    for name in ("sphericity", "elongation", "volume_um3"):
        spread = spread_over(np.asarray(known[name], dtype=np.float64), near)
        columns["volume_std_um3" if name == "volume_um3" else f"{name}_std"] = spread
    if params.preset == "corrected":
        aligned = find_nearest(axes.centre_um, directed, params.neighbours)[0]
        columns["orientation_isotropy"] = measure_alignment(axes.direction[:, 0], aligned)
    else:
        angles = [spread_over(angle, near) for angle in find_angles(axes.direction)]
        columns["orientation_isotropy"] = np.mean(angles, axis=0)
    return columns


def _measure_contact(
    measurement: Measurement,
    known: Mapping[str, NDArray[np.generic]],
    params: AttributeParams,
) -> Columns:
    """Return the fraction of the outer surface in contact (ID 19)."""
    raw = measurement.particles
    if params.preset == "paper":
        rim = raw["label_perimeter"].to_numpy(dtype=np.float64)
        share = raw["label_perimeter_contact"].to_numpy() / np.maximum(rim, 1)
        return {"contact": np.where(rim > 0, share, np.nan)}
    facing = measurement.contacts.groupby("particle_id")["area_um2"].sum()
    area = facing.reindex(raw["particle_id"]).fillna(0.0).to_numpy()
    outer = np.asarray(known["surface_outer_um2"], dtype=np.float64)
    share = np.divide(area, outer, out=np.full(len(outer), np.nan), where=outer > 0)
    return {"contact": np.minimum(share, 1.0)}


FLAGS = {
    "touches_border": "reaches a face of the volume or the edge of the field of view: the visible "
    "part is measured, shape and orientation are null",
    "small": "fewer voxels than min_shape_vx: shape and surfaces are null",
    "too_large": "larger than max_cutout_vx: not filled, so that open cracks are missed",
    "pieces": "the filled particle falls into parts that do not touch: perhaps two particles",
    "no_solid": "cracks and voids alone",
    "closing": "damage is mostly what closing and filling added to the label: open cracks that the "
    "label leaves out, or the neck of a two-lobed particle, hollows of its surface, or the wedge "
    "between it and a face of the volume; an intact particle may show 1 to 3 % so",
}
"""What each flag means."""

_CLOSING = 0.002
"""Fraction of a filled particle from which what was added to its label is worth the flag."""


def tabulate_details(measurement: Measurement, params: AttributeParams) -> pd.DataFrame:
    """Make the table of details of a sample.

    Returns
    -------
    pandas.DataFrame
        A row per particle, ascending ``particle_id``: ``sample, particle_id,
        equivalent_diameter_um`` (of a ball of the filled volume), ``depth_um`` (of the centre, from
        the volume's face on the collector's side; null where that side is not known),
        ``touching_particles`` (within the contact gap), ``crack_width_mean_um,
        crack_width_max_um`` (local thickness; null without cracks), ``pieces``, ``flags`` (see
        `FLAGS`, joined by commas).
    """
    raw = measurement.particles
    volume = raw["filled_filled"].to_numpy() * float(np.prod(measurement.voxel_size_um))
    touching = measurement.contacts.groupby("particle_id")["neighbour_id"].nunique()
    table = pd.DataFrame(
        {
            "particle_id": raw["particle_id"],
            "equivalent_diameter_um": np.cbrt(6 * volume / np.pi),
            "depth_um": _measure_depth(measurement),
            "touching_particles": touching.reindex(raw["particle_id"])
            .fillna(0)
            .to_numpy(dtype=np.int64),
            "crack_width_mean_um": raw["crack_width_mean_um"],
            "crack_width_max_um": raw["crack_width_max_um"],
            "pieces": np.maximum(raw["filled_pieces"], 1),
            "flags": pd.Series(_name_flags(raw, params), dtype="str"),
        }
    )
    table.insert(0, "sample", pd.Series(measurement.name, index=table.index, dtype="str"))
    return table


def _measure_depth(measurement: Measurement) -> NDArray[np.float64]:
    raw = measurement.particles
    towards = measurement.axis_to_collector
    if towards is None:
        return np.full(len(raw), np.nan)
    sums = raw[[f"filled_{name}" for name in COUNTS[:10]]].to_numpy(dtype=np.int64)
    axis = "zyx".index(towards[-1])
    place = find_axes(sums, measurement.voxel_size_um).centre_um[:, axis]
    extent = measurement.shape_zyx[axis] * measurement.voxel_size_um[axis]
    return place if towards.startswith("-") else extent - place


def _name_flags(raw: pd.DataFrame, params: AttributeParams) -> list[str]:
    added = raw["filled_closed"] - raw["label_voxels"]
    damaged = raw["filled_closed"] - raw["filled_solid"]
    marks = {
        "touches_border": raw["label_border"] > 0,
        "small": raw["label_voxels"] < params.min_shape_vx,
        "too_large": ~raw["was_cut"],
        "pieces": raw["filled_pieces"] > 1,
        "no_solid": raw["filled_solid"] == 0,
        "closing": (added > _CLOSING * raw["filled_closed"]) & (2 * added > damaged),
    }
    marked = np.stack([marks[name].to_numpy() for name in FLAGS], axis=1)
    names = np.array(list(FLAGS))
    return [",".join(names[row]) for row in marked]
