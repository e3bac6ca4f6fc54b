"""What is known of a particle beyond Table S1, and what to beware of."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.particles.axes import find_axes
from ncm_kedro.particles.cutout_kernels import COUNTS
from ncm_kedro.particles.measure import Measurement

FLAGS = {
    "touches_border": "reaches a face of the volume or the edge of the field of view: the visible "
    "part is measured, shape and orientation are null",
    "small": "fewer voxels than min_shape_vx: shape and surfaces are null",
    "too_large": "larger than max_cutout_vx: not filled, so that open cracks are missed",
    "pieces": "the filled particle falls into parts that do not touch: perhaps two particles",
    "no_solid": "cracks and voids alone",
}
"""What each flag means."""


def tabulate_details(measurement: Measurement, params: AttributeParams) -> pd.DataFrame:
    """Make the table of details of a sample.

    Parameters
    ----------
    measurement
        What was measured.
    params
        Settings.

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
    marks = {
        "touches_border": raw["label_border"] > 0,
        "small": raw["label_voxels"] < params.min_shape_vx,
        "too_large": ~raw["was_cut"],
        "pieces": raw["filled_pieces"] > 1,
        "no_solid": raw["filled_solid"] == 0,
    }
    marked = np.stack([marks[name].to_numpy() for name in FLAGS], axis=1)
    names = np.array(list(FLAGS))
    return [",".join(names[row]) for row in marked]
