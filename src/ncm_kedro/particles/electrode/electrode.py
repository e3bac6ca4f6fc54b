"""Parameters of a sample for an electrode model: fractions, sizes, surfaces, cracks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.errors import SettingsError
from ncm_kedro.params.particle_features import ElectrodeParams
from ncm_kedro.particles.electrode.layer import Layer, find_layer, measure_share
from ncm_kedro.particles.electrode.sizes import (
    RadiusMoments,
    SizeDistribution,
    estimate_sizes,
    measure_moments,
    weigh_whole_particles,
)
from ncm_kedro.particles.measure import Measurement

_NAN = float("nan")


@dataclass(frozen=True)
class SurfaceDensities:
    """Surfaces and cracks of all particles, of the visible part of those at the border.

    NaN where nothing of the kind was measured.

    Attributes
    ----------
    outer_per_um
        Outer surface per volume of the electrode (1/um).
    total_per_um
        The same with the surface of cracks and voids (1/um).
    crack_per_outer
        Surface of cracks and voids over outer surface (no unit).
    contact_fraction
        Fraction of the outer surface that is in contact with other particles (no unit).
    damage
        Volume of cracks and voids over that of the filled particles (no unit).
    crack_width_um
        Mean width of cracks, each particle counting by the volume of its cracks (um).
    """

    outer_per_um: float
    total_per_um: float
    crack_per_outer: float
    contact_fraction: float
    damage: float
    crack_width_um: float


@dataclass(frozen=True)
class ElectrodeGeometry:
    """A sample as an electrode model sees it.

    Attributes
    ----------
    layer
        The electrode between collector and separator; None: the axis is not known.
    active_fraction
        Solid of the particles, without their cracks, over the electrode's volume.
    inactive_fraction
        Carbon and binder without their pores over the electrode's volume, as the user gave it.
    particles
        Particles in the volume.
    whole_particles
        Those that do not touch its border, which sizes are taken from.
    radius
        Radii of equivalent balls, corrected for the cut at the border; None: no complete particle.
    sizes
        Their distribution.
    coordination
        Mean number of particles in contact with one, over the same particles and weights.
    surfaces
        Surfaces and cracks.
    """

    layer: Layer | None
    active_fraction: float
    inactive_fraction: float | None
    particles: int
    whole_particles: int
    radius: RadiusMoments | None
    sizes: SizeDistribution | None
    coordination: float
    surfaces: SurfaceDensities

    @property
    def void_and_binder_fraction(self) -> float:
        """All that is not solid of particles: an upper bound of the porosity."""
        return 1 - self.active_fraction

    @property
    def porosity(self) -> float | None:
        """Fraction of pores and cracks; None unless the inactive solid is known."""
        if self.inactive_fraction is None:
            return None
        return 1 - self.active_fraction - self.inactive_fraction


def describe_electrode(
    measurement: Measurement,
    attributes: pd.DataFrame,
    details: pd.DataFrame,
    params: ElectrodeParams,
) -> ElectrodeGeometry:
    """Describe a sample as an electrode model sees it.

    Parameters
    ----------
    measurement
        Voxel counts, boxes, contacts and cells.
    attributes
        The sample's attributes of the preset ``corrected``, a row per particle.
    details
        Touching particles and width of cracks, a row per particle.
    params
        What the tomogram does not show.

    Returns
    -------
    ElectrodeGeometry
        What cannot be measured is None or NaN.

    Raises
    ------
    SettingsError
        If the inactive solid leaves no room for pores.
    TomogramError
        If the axis to the collector cannot be read.
    """
    layer = find_layer(measurement)
    labelled = measure_share(measurement, layer)
    raw = measurement.particles
    active = labelled * _divide(raw["label_solid"].sum(), raw["label_voxels"].sum())
    _check_fractions(measurement.name, active, params.inactive_solid_fraction)
    table = _join_particles(raw, attributes, details)
    whole = table[~table["touches_border"] & (table["volume_um3"] > 0)]
    weights = weigh_whole_particles(measurement, _list_extents(whole), layer)
    radius_um = np.cbrt(0.75 / np.pi * whole["volume_um3"].to_numpy(np.float64))
    touching = whole["touching_particles"].to_numpy(np.float64)
    return ElectrodeGeometry(
        layer=layer,
        active_fraction=active,
        inactive_fraction=params.inactive_solid_fraction,
        particles=len(table),
        whole_particles=len(whole),
        radius=measure_moments(radius_um, weights),
        sizes=estimate_sizes(radius_um, weights, params.size_points),
        coordination=_divide(weights @ touching, weights.sum()),
        surfaces=_measure_surfaces(table, measurement, labelled),
    )


def _join_particles(
    raw: pd.DataFrame, attributes: pd.DataFrame, details: pd.DataFrame
) -> pd.DataFrame:
    boxes = [f"{axis}_{end}_vx" for axis in "zyx" for end in ("start", "stop")]
    return (
        attributes.set_index("particle_id")
        .join(raw.set_index("particle_id")[["label_voxels", *boxes]])
        .join(
            details.set_index("particle_id")[["touching_particles", "crack_width_mean_um"]]
        )
    )  # fmt: skip


def _list_extents(table: pd.DataFrame) -> NDArray[np.float64]:
    """Return the extents of bounding boxes along z, y, x, (n, 3) (voxels)."""
    extents = [
        (table[f"{axis}_stop_vx"] - table[f"{axis}_start_vx"]).to_numpy(np.float64)
        for axis in "zyx"
    ]
    return np.stack(extents, axis=1)


def _measure_surfaces(
    table: pd.DataFrame, measurement: Measurement, labelled: float
) -> SurfaceDensities:
    """Add up surfaces and cracks; a particle without a surface has no part in any of it."""
    voxel_um3 = float(np.prod(measurement.voxel_size_um))
    known = table.dropna(subset=["surface_outer_um2", "volume_um3"])
    outer = known["surface_outer_um2"].sum()
    inner = known["surface_inner_um2"].sum(min_count=1)
    per_electrode = _divide(labelled, known["label_voxels"].sum() * voxel_um3)
    solid = known.dropna(subset=["damage"])
    cracked_um3 = solid["damage"] * solid["volume_um3"]
    wide = solid["crack_width_mean_um"].notna()
    touching = known.dropna(subset=["contact"])
    return SurfaceDensities(
        outer_per_um=outer * per_electrode if len(known) else _NAN,
        total_per_um=(outer + inner) * per_electrode,
        crack_per_outer=_divide(inner, outer),
        contact_fraction=_divide(
            (touching["contact"] * touching["surface_outer_um2"]).sum(),
            touching["surface_outer_um2"].sum(),
        ),
        damage=_divide(cracked_um3.sum(), solid["volume_um3"].sum()),
        crack_width_um=_divide(
            (cracked_um3 * solid["crack_width_mean_um"])[wide].sum(), cracked_um3[wide].sum()
        ),
    )


def _check_fractions(name: str, active: float, inactive: float | None) -> None:
    if inactive is not None and active + inactive >= 1:
        raise SettingsError(
            "inactive_solid_fraction",
            found=f"{inactive:g}, beside {active:.3f} of active material in sample {name}",
            expected=f"less than {1 - active:.3f}, so that pores are left",
            action="give the fraction of the electrode's volume that is carbon and binder without "
            "their pores, or null",
        )


def _divide(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else _NAN
