"""Settings of the synthetic SEM data set.

Settings of the table phantoms: attribute tables drawn from a packing with a damage model.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ncm_kedro.params.base import FrozenParams
from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_phantoms import DamageLawParams, Range, Share, TomoSampleParams

BANNER_PX = 64
"""Height of the data banner under every frame, as on the SNE-4500M Plus."""

Composition = Annotated[str, Field(pattern=r"^[0-9]{3}$")]
"""Three digits, the parts of nickel, cobalt and manganese."""

State = Annotated[str, Field(pattern=r"^[a-z]+$")]
"""Lower-case name of an ageing state."""


class AdditiveParams(FrozenParams):
    """What an additive does to the particles of an electrode."""

    name: str = Field(default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9.+-]*)?$")
    """Name, as the folder carries it behind `__`; empty for no additive."""
    ageing_signal: float = Field(default=1.0, ge=0.0, le=1.0)
    """Fraction of the damage of its state that an electrode shows; 0: it looks pristine."""
    boundary_jitter: float = Field(default=0.0, ge=0.0, le=0.2)
    """Added to the standard deviation of a particle's boundary radius over its mean."""


class SynthesiseSemParams(FrozenParams):
    """What the synthetic SEM data set holds and how strongly its classes differ."""

    compositions: tuple[Composition, ...] = ("333", "523", "622", "811")
    """Parts of nickel, cobalt and manganese; the mean particle diameter falls with nickel."""
    states: tuple[State, ...] = ("pristine", "formation", "cycled")
    """Ageing states, least damaged first."""
    additives: tuple[AdditiveParams, ...] = Field(default=(AdditiveParams(),), min_length=1)
    """Additives that every class is there with, each by itself."""
    frames_per_class: int = Field(default=48, ge=1, le=2000)
    """Frames per class, shared out over its series."""
    series_per_class: int = Field(default=4, ge=1, le=200)
    """Drift series (disjoint fields of view) per class."""
    width_px: int = Field(default=1280, ge=320, le=4096)
    """Frame width in pixels."""
    height_px: int = Field(default=960, ge=256, le=4096)
    """Frame height in pixels, including the 64-px banner."""
    pixel_size_um: float = Field(default=100.0 / 371.0, ge=0.05, le=2.0)
    """Edge length of a pixel in um; the banner's scale bar is drawn to it."""
    overlap_range: tuple[float, float] = (0.60, 0.97)
    """Smallest and largest fraction of its area that a frame has in common with the one before."""
    class_signal: float = Field(default=1.0, ge=0.0, le=1.0)
    """Strength of the true class difference; 0: all classes share one particle distribution."""
    acquisition_confound: float = Field(default=0.0, ge=0.0, le=1.0)
    """Fraction of series recorded with settings of their class's own session; 0: every session
    records all classes alike, 1: class and session are one, as in the published data."""
    noise: float = Field(default=1.0, ge=0.0, le=3.0)
    """Strength of shot noise, charging bands and scan-line jitter; 0: overlaps are identical."""
    special_cases: bool = True
    """Whether to plant bare, clipped, LCO and badly documented frames and stray files."""
    lco_frames: int = Field(default=4, ge=0, le=500)
    """Frames of LCO plates simulated in the folder of the pristine nickel-richest class."""
    jpeg_quality: int = Field(default=90, ge=50, le=100)
    """JPEG quality, 0-100, of the written frames."""
    seed: int = Field(default=20240115, ge=0)
    """Seed of the whole data set."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that render series; the frames do not depend on it."""

    @model_validator(mode="after")
    def check_consistency(self) -> Self:
        """Check what no single field can: order of ranges, repeats, series without frames."""
        low, high = self.overlap_range
        if not 0.3 <= low < high <= 0.995:
            raise ValueError(f"overlap_range {low, high} must rise within 0.3-0.995")
        for name in ("compositions", "states"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} {values} must name at least one and repeat none")
        names = [additive.name for additive in self.additives]
        if len(set(names)) != len(names):
            raise ValueError(f"additives {names} must repeat no name")
        if self.series_per_class > self.frames_per_class:
            raise ValueError(
                f"series_per_class {self.series_per_class} exceeds frames_per_class "
                f"{self.frames_per_class}; every series needs a frame"
            )
        if any(int(c[0]) + int(c[1]) + int(c[2]) == 0 for c in self.compositions):
            raise ValueError("a composition needs at least one part of a metal")
        return self

    @property
    def view_height_px(self) -> int:
        """Height of the micrograph above the banner in pixels."""
        return self.height_px - BANNER_PX


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
