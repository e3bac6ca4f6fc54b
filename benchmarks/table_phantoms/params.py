"""What a table phantom is drawn from."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ncm_kedro.params.base import FrozenParams
from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_phantoms import DamageLawParams, Range, Share, TomoSampleParams

Driver = Literal["depth", "contact", "size"]
"""What can drive damage; named as its weight in `DamageLawParams`."""


DIAMETER_CUT = 2.5
"""Standard deviations of the logarithm of the diameter beyond which no particle is drawn."""


class TableSampleParams(TomoSampleParams):
    """One sample of a table phantom."""

    neighbour_noise: Share = 0.0
    """Fraction of the variance of the model's unexplained part that a particle has in common with
    the particles around it, by contact (0: every particle on its own)."""


class TableElectrodeParams(FrozenParams):
    """The packing that the tables are measured on."""

    median_diameter_um: float = Field(default=9.0, gt=0, le=100)
    """Median particle diameter (um)."""
    diameter_spread: float = Field(default=0.25, ge=0, le=0.6)
    """Standard deviation of the natural logarithm of the diameter (no unit), cut off at
    2.5 of it."""
    thickness_um: float = Field(default=40.0, gt=0, le=1000)
    """Thickness of the electrode along z (um)."""
    packing_fraction: float = Field(default=0.4, gt=0, lt=0.55)
    """Fraction of the electrode's volume that particles fill on average (no unit)."""
    density_spread: float = Field(default=0.6, ge=0, le=1.5)
    """Standard deviation of the natural logarithm of the local number of particles before they
    are pushed apart: how unevenly the electrode is packed (no unit)."""
    max_overlap: float = Field(default=0.04, ge=0, le=0.2)
    """How far touching particles are pressed into each other, as a fraction of their reach."""
    elongation: Range = (1.0, 1.5)
    """Longest over shortest axis (no unit)."""
    irregularity: float = Field(default=0.06, ge=0, le=0.3)
    """Median excess of the outer surface over that of the ellipsoid (no unit)."""
    sweeps: int = Field(default=60, ge=1, le=1000)
    """How often overlapping particles are pushed apart at most."""

    @model_validator(mode="after")
    def check_sizes(self) -> Self:
        """Check that elongations rise from 1 on and that particles fit the electrode."""
        low, high = self.elongation
        if not 1 <= low <= high <= 3:
            raise ValueError(f"elongation {low, high} must rise within 1 to 3")
        largest = self.median_diameter_um * np.exp(DIAMETER_CUT * self.diameter_spread)
        longest = float(largest * high ** (2 / 3))
        if longest > self.thickness_um:
            raise ValueError(
                f"thickness_um {self.thickness_um} must hold the longest particle, {longest:.1f} um"
            )
        return self


class ParticleTableParams(FrozenParams):
    """Attribute tables with a damage model, without a tomogram.

    A null model has the weights ``depth``, ``contact`` and ``size`` at 0, and every sample's
    ``drift``.
    """

    samples: dict[str, TableSampleParams] = Field(
        default={
            "cyc10": TableSampleParams(cycles=10, damage_level=0.05),
            "cyc50": TableSampleParams(cycles=50, damage_level=0.15, asynchrony=0.6),
        },
        min_length=1,
    )
    """Samples by name."""
    particles: int = Field(default=2000, ge=20, le=1_000_000)
    """Particles of each sample, those at the border included."""
    preset: Literal["corrected", "paper"] = "corrected"
    """Which definitions the attributes follow; the particles and their damage are the same
    in both."""
    electrode: TableElectrodeParams = TableElectrodeParams()
    """Sizes, shapes and packing (see there)."""
    law: DamageLawParams = DamageLawParams()
    """What drives damage (see there). Here ``contact`` weighs the fraction of the outer surface in
    contact, not the number of touching particles, so that a column of the table is the driver."""
    threshold_driver: Driver | None = None
    """A driver that acts as a step, not in proportion: below its threshold all particles are
    alike, and above (null: none)."""
    threshold_quantile: float = Field(default=0.5, gt=0.05, lt=0.95)
    """Where that threshold lies: fraction of the particles below it."""
    measurement_noise: float = Field(default=0.0, ge=0, le=0.3)
    """Relative standard error of volume, shape, damage, contact and roughness; above 0 these
    columns get a ``<name>_uncertainty`` (no unit)."""
    box_bias: bool = True
    """Whether the paper's preset adds to damage what its closing in a tight box adds, more in small
    particles (``corrected``: never)."""
    voxel_size_um: float = Field(default=0.1, gt=0, le=1)
    """Nominal voxel edge of the tables (um)."""

    @property
    def attributes(self) -> AttributeParams:
        """Settings of the measurement that the tables stand for."""
        return AttributeParams(preset=self.preset, uncertainty=self.measurement_noise > 0)

    @model_validator(mode="after")
    def check_names(self) -> Self:
        """Check the names of the samples."""
        wrong = [name for name in self.samples if not name.replace("_", "").isalnum()]
        if wrong:
            raise ValueError(f"sample names {wrong} may hold letters, digits and _ alone")
        return self
