"""Settings for measuring particles and for what is made of the measurements."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ncm_kedro.params.base import FrozenParams


class AttributeParams(FrozenParams):
    """How the attributes of Table S1 (Li et al. 2022) are measured."""

    preset: Literal["corrected", "paper"] = "corrected"
    """``corrected``: unbiased estimators; ``paper``: the text's definitions, with the published
    code's where the text is silent. ``docs/attributes.md`` sets both side by side."""
    closing_um: float = Field(default=0.4, ge=0, le=20)
    """Radius of the closing that fills cracks open to the outside: cracks up to twice this wide
    belong to the particle (um; 0: enclosed voids and marked cracks alone). Half the particle's
    own equivalent radius is never exceeded."""
    contact_gap_um: float = Field(default=0.1, ge=0, le=5)
    """Largest gap between two particles that are in contact (um). Voxels that share a face, an
    edge or a corner are in contact whatever the gap."""
    packing_window_um: float | None = Field(default=None, gt=0, le=1000)
    """Edge of the cube around a particle in which the packing density is taken (um); null: 20
    for ``corrected`` (the published code's), 100 for ``paper`` (the text's)."""
    neighbours: int = Field(default=6, ge=2, le=100)
    """Nearest particles over which neighbour statistics are taken (Table S1: six)."""
    min_axis_ratio: float = Field(default=1.05, ge=1, le=3)
    """Two principal axes whose lengths differ by less than this factor have no direction of
    their own (no unit)."""
    min_shape_vx: int = Field(default=100, ge=1)
    """Particles of fewer voxels get no shape: surfaces, ratios and orientation are null
    (voxels)."""
    roughness_um: float = Field(default=0.3, gt=0, le=20)
    """Radius of the ball within which a surface is taken as flat when its roughness is measured
    (um); never less than two voxels. Particles of less than twice this radius get no roughness."""
    max_cutout_vx: int = Field(default=60_000_000, ge=4096)
    """Particles whose bounding box holds more voxels are too large to be filled: their damage
    comes from the marked cracks alone, and they are flagged (voxels)."""
    crack_width: bool = False
    """Whether the width of cracks is measured (local thickness); it costs more than all the rest
    where there are many cracks."""
    profile_bins: int = Field(default=0, ge=0, le=100)
    """Shells from surface to core in which damage is counted; 0: none."""
    uncertainty: bool = False
    """Whether each attribute gets a column ``<name>_uncertainty``: everything is measured again
    with outlines one voxel wider and tighter and with the crack threshold raised and lowered,
    which takes five times as long."""
    threshold_shift: float = Field(default=0.1, gt=0, lt=0.5)
    """How far the threshold between solid and crack is moved for the uncertainty, as a fraction of
    the contrast between the two (no unit)."""

    @property
    def window_um(self) -> float:
        """Edge of the packing window (um)."""
        if self.packing_window_um is not None:
            return self.packing_window_um
        return 20.0 if self.preset == "corrected" else 100.0


class ElectrodeParams(FrozenParams):
    """What a tomogram does not show but an electrode model needs."""

    inactive_solid_fraction: float | None = Field(default=None, ge=0, lt=1)
    """Fraction of the electrode's volume that is carbon and binder without their pores (no unit).
    X-rays hardly show them; null: no porosity is exported, only its upper bound is listed."""
    size_points: int = Field(default=100, ge=10, le=10_000)
    """Points of the exported particle-size distribution."""


class ParticleFigureParams(FrozenParams):
    """What the report shows."""

    shown_particles: int = Field(default=8, ge=1, le=50)
    """Most and least damaged particles on the contact sheet, each."""
    pair_attributes: tuple[str, ...] = (
        "z_um", "volume_um3", "sphericity", "elongation", "contact", "packing_density", "damage",
    )  # fmt: skip
    """Attributes of the pair plot."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Level of the confidence intervals (no unit)."""
    resamples: int = Field(default=2000, ge=100)
    """Bootstrap resamples of an interval."""
    seed: int = Field(default=0, ge=0)
    """Seed of the resamples."""

    @model_validator(mode="after")
    def check_attributes(self) -> Self:
        """Check that there are at least two attributes to pair."""
        if len(set(self.pair_attributes)) < 2:
            raise ValueError(f"pair_attributes {self.pair_attributes} must name two or more")
        return self
