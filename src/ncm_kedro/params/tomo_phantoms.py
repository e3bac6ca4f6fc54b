"""Settings of the tomogram phantoms: training sections and whole volumes."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from ncm_kedro.params.base import FrozenParams

Share = Annotated[float, Field(ge=0, le=1)]
"""A share or probability, 0-1."""

Range = tuple[float, float]
"""Smallest and largest value that is drawn."""


class SectionShapeParams(FrozenParams):
    """Sizes, shapes and packing of the particles in a training section."""

    mean_diameter_px: Range = (20.0, 110.0)
    """Typical particle diameter of a section (px), drawn evenly on a logarithmic scale."""
    diameter_spread: Range = (0.08, 0.45)
    """Standard deviation of the natural logarithm of the diameters in a section (no unit)."""
    min_diameter_px: float = Field(default=14.0, ge=4)
    """Smallest particle that carries a label (px); anything smaller is debris."""
    max_diameter_px: float = Field(default=150.0, ge=8)
    """Largest particle (px)."""
    area_fraction: Range = (0.08, 0.62)
    """Share of the space between the bands that particles are to fill (no unit)."""
    touching: Range = (0.0, 1.0)
    """Share of the particles that are placed against another one (no unit)."""
    overlap: Range = (0.0, 0.1)
    """How far touching particles are pressed into each other, as a share of the sum of radii."""
    elongation: Range = (1.0, 1.65)
    """Longest over shortest axis (no unit)."""
    irregularity: Range = (0.0, 0.13)
    """Standard deviation of the smooth radial waves, as a share of the radius (no unit)."""
    roughness: Range = (0.0, 0.035)
    """Standard deviation of the fine radial waves, as a share of the radius (no unit)."""
    facets: Share = 0.3
    """Share of the particles with flattened or cut-off sides."""


class SectionDamageParams(FrozenParams):
    """Shares of the particles in a training section that show each kind of damage."""

    void: Range = (0.0, 0.95)
    """Particles with a dark core (no unit)."""
    radial_cracks: Range = (0.0, 0.9)
    """Particles with cracks along their radii (no unit)."""
    through_crack: Range = (0.0, 0.3)
    """Particles cut by a crack from side to side; still one label (no unit)."""
    pulverised_rim: Range = (0.0, 0.3)
    """Particles whose outer part has gone to grains (no unit)."""
    fragmented: Range = (0.0, 0.25)
    """Particles broken into shards; still one label (no unit)."""
    faint: Range = (0.0, 0.25)
    """Particles at the edge of focus: blurred, with little contrast (no unit)."""
    debris: Range = (0.0, 1.0)
    """How much unlabelled debris lies between particles (no unit; 1: about the real slice)."""


class SectionImagingParams(FrozenParams):
    """How a training section is imaged; amplitudes are shares of particle minus matrix."""

    blur_px: Range = (0.4, 2.2)
    """Standard deviation of the point spread (px)."""
    contrast: Range = (0.15, 1.0)
    """Particle minus matrix as a share of the grey range 0-255 (no unit)."""
    white_noise: Range = (0.0, 0.22)
    """Standard deviation of uncorrelated noise (no unit)."""
    correlated_noise: Range = (0.01, 0.17)
    """Standard deviation of blurred noise (no unit)."""
    streaks: Range = (0.0, 0.12)
    """Standard deviation of noise that is drawn out along one or two directions (no unit)."""
    rings: Range = (0.0, 0.12)
    """Amplitude of ring arcs around an axis off the section (no unit)."""
    fringe: Range = (-0.35, 0.7)
    """Overshoot at edges; negative values smear edges instead (no unit)."""
    shading: Range = (0.0, 0.3)
    """Amplitude of uneven brightness across the section (no unit)."""
    texture: Range = (0.02, 0.16)
    """Standard deviation of the mottling inside particles (no unit)."""
    matrix_texture: Range = (0.02, 0.22)
    """Standard deviation of the mottling of carbon, binder and pores (no unit)."""
    band: Share = 0.35
    """Share of the sections with a current collector or separator at an edge."""
    field_of_view: Share = 0.2
    """Share of the sections that a curved field of view cuts."""


class TomoSectionParams(FrozenParams):
    """How far training sections of phantoms vary."""

    shape: SectionShapeParams = SectionShapeParams()
    """Sizes, shapes and packing (see there)."""
    damage: SectionDamageParams = SectionDamageParams()
    """Voids, cracks, rims, fragments (see there)."""
    imaging: SectionImagingParams = SectionImagingParams()
    """Blur, noise, artefacts (see there)."""

    @model_validator(mode="after")
    def check_ranges(self) -> Self:
        """Check that every range rises."""
        for group in (self.shape, self.damage, self.imaging):
            for name, value in group.model_dump().items():
                if isinstance(value, tuple) and value[0] > value[1]:
                    raise ValueError(f"{name} {value} must rise")
        return self
