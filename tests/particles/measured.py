"""Attribute tables of arrays and of digitised solids."""

import numpy as np
from scipy.spatial.transform import Rotation

from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.particles.attributes import tabulate_attributes
from ncm_kedro.particles.measure import measure_specimen
from ncm_kedro.particles.specimen import Specimen

ANGLES = ["yaw_deg", "pitch_deg", "roll_deg"]


def measure_arrays(
    labels,
    *,
    voxel_um=(0.1, 0.1, 0.1),
    grey=None,
    cracks=None,
    view=None,
    block=64,
    workers=1,
    **params,
):
    """Return the attributes of a labelled array, a row per particle, indexed by its label."""
    specimen = Specimen("sample", labels, tuple(voxel_um), grey=grey, cracks=cracks, view=view)
    settings = AttributeParams(**{"crack_width": False, "profile_bins": 0, **params})
    compute = TomoComputeParams(workers=workers, block_edge_vx=block)
    measurement = measure_specimen(specimen, settings, compute)
    return tabulate_attributes(measurement, settings).set_index("particle_id", drop=False)


def measure_solids(solids, *, space_vx=6, **settings):
    """Stand solids of one voxel size in a row along z and measure them, labelled from 1.

    ``space_vx`` voxels lie between them and the faces of the volume, beside their own margins.
    """
    sizes = np.array([solid.labels.shape for solid in solids])
    shape = np.array([sizes[:, 0].sum(), *sizes[:, 1:].max(axis=0)]) + 2 * space_vx
    labels, cracks = np.zeros(shape, np.uint32), np.zeros(shape, np.uint8)
    start = space_vx
    for number, solid in enumerate(solids, start=1):
        window = tuple(
            slice(low, low + n)
            for low, n in zip((start, space_vx, space_vx), solid.labels.shape, strict=True)
        )
        labels[window] = solid.labels * np.uint32(number)
        if solid.cracks is not None:
            cracks[window] = solid.cracks
        start += len(solid.labels)
    marked = cracks if any(solid.cracks is not None for solid in solids) else None
    voxel_um = solids[0].voxel_size_um
    return measure_arrays(labels, cracks=marked, voxel_um=voxel_um, **settings)


def take_axes(row):
    """Principal axes of a row of the table, long one first, along x, y, z; rows of (3, 3)."""
    angles = [row[name] for name in ANGLES]
    return Rotation.from_euler("ZYX", angles, degrees=True).as_matrix().T


def angle_between(axis, other):
    """Angle in degrees between two lines."""
    return np.degrees(np.arccos(np.clip(abs(np.dot(axis, other)), 0, 1)))
