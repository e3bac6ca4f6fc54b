"""Settings of the tomogram phantoms: training sections and whole volumes."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from ncm_kedro.params.base import FrozenParams

Share = Annotated[float, Field(ge=0, le=1)]
"""A fraction or probability, 0-1."""

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
    area_fraction: Range = (0.15, 0.65)
    """Fraction of the space between the bands that particles are to fill (no unit)."""
    touching: Range = (0.0, 1.0)
    """Fraction of the particles that are placed against another one (no unit)."""
    overlap: Range = (0.0, 0.1)
    """How far touching particles are pressed into each other, as a fraction of the sum of radii."""
    elongation: Range = (1.0, 1.65)
    """Longest over shortest axis (no unit)."""
    irregularity: Range = (0.0, 0.16)
    """Standard deviation of the smooth radial waves, as a fraction of the radius (no unit)."""
    roughness: Range = (0.0, 0.035)
    """Standard deviation of the fine radial waves, as a fraction of the radius (no unit)."""
    jaggedness: Range = (0.0, 0.05)
    """Standard deviation of the raggedness of edges in the image, as a fraction of the radius; the
    label follows the mean edge (no unit)."""
    facets: Share = 0.3
    """Fraction of the particles with flattened or cut-off sides."""


class SectionDamageParams(FrozenParams):
    """Fractions of the particles in a training section that show each kind of damage."""

    void: Range = (0.0, 0.95)
    """Particles with a dark core (no unit)."""
    radial_cracks: Range = (0.0, 0.9)
    """Particles with cracks along their radii (no unit)."""
    concentric_cracks: Range = (0.0, 0.35)
    """Particles with cracks along their outline, as splinters that come off (no unit)."""
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
    """How a training section is imaged; amplitudes are fractions of particle minus matrix."""

    blur_px: Range = (0.4, 2.2)
    """Standard deviation of the point spread (px)."""
    contrast: Range = (0.15, 0.75)
    """Particle minus matrix as a fraction of the grey range 0-255 (no unit)."""
    white_noise: Range = (0.0, 0.22)
    """Standard deviation of uncorrelated noise (no unit)."""
    total_noise: float = Field(default=0.27, ge=0)
    """Standard deviation of all noise together that is never exceeded (no unit)."""
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
    """Fraction of the sections with a current collector or separator at an edge."""
    field_of_view: Share = 0.2
    """Fraction of the sections that a curved field of view cuts."""


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


class TomoSampleParams(FrozenParams):
    """One sample of the phantom set."""

    cycles: int = Field(default=10, ge=0)
    """Charge cycles of the sample, as recorded."""
    c_rate: float = Field(default=5.0, gt=0)
    """Charge rate of the sample, as recorded (1/h)."""
    damage_level: float = Field(default=0.08, gt=0, lt=0.5)
    """Damage of an average particle: crack and void volume over filled volume (no unit)."""
    asynchrony: float = Field(default=1.0, ge=0)
    """Factor on the model's drivers and noise; below 1 particles differ less (no unit)."""
    drift: float = Field(default=0.0, ge=-2, le=2)
    """Change of the depth's weight in the model against the other samples (no unit)."""


class DamageLawParams(FrozenParams):
    """Damage model (logistic): drivers of a particle's damage, linear on the logit scale.

    Each weight is the change of the logit for one standard deviation of its driver.
    """

    depth: float = -0.45
    """Weight of the distance from the current collector."""
    contact: float = 0.5
    """Weight of the touching particles per surface of a particle, which correlate with Table S1's
    fraction of the surface in contact (Li et al. 2022)."""
    size: float = 0.35
    """Weight of the diameter."""
    noise: float = Field(default=0.35, ge=0)
    """Standard deviation of the unexplained part (logit)."""
    noise_columns: int = Field(default=3, ge=0, le=50)
    """Columns ``noise_1..k`` of pure noise in the truth, which must not become significant."""
    max_damage: float = Field(default=0.4, gt=0, lt=0.6)
    """Largest damage (no unit)."""


class PackingParams(FrozenParams):
    """Size, shape and packing of the particles of a volume."""

    median_diameter_um: float = Field(default=9.0, gt=0)
    """Median particle diameter (um)."""
    diameter_spread: float = Field(default=0.25, ge=0, le=1)
    """Standard deviation of the natural logarithm of the diameter (no unit)."""
    diameter_range_um: Range = (4.5, 15.0)
    """Smallest and largest particle diameter (um)."""
    packing_fraction: float = Field(default=0.42, gt=0, lt=0.58)
    """Fraction of the electrode's volume that particles are to fill (no unit)."""
    max_overlap: float = Field(default=0.05, ge=0, le=0.2)
    """How far touching particles are pressed into each other, as a fraction of their reach."""
    elongation: Range = (1.0, 1.5)
    """Longest over shortest axis (no unit)."""
    irregularity: float = Field(default=0.065, ge=0, le=0.2)
    """Standard deviation of the smooth radial waves, as a fraction of the radius (no unit)."""
    roughness: float = Field(default=0.022, ge=0, le=0.05)
    """Standard deviation of the fine radial waves, as a fraction of the radius (no unit)."""
    collector_fraction: float = Field(default=0.1, ge=0, lt=0.4)
    """Fraction of the height, at low z, that the current collector takes (no unit)."""
    separator_fraction: float = Field(default=0.1, ge=0, lt=0.4)
    """Fraction of the height, at high z, that the separator takes (no unit)."""


class VolumeImagingParams(FrozenParams):
    """How a volume is imaged; amplitudes are fractions of particle minus matrix."""

    matrix_grey: float = Field(default=88.0, ge=0, le=255)
    """Mean grey value of the matrix (0-255)."""
    particle_grey: float = Field(default=182.0, ge=0, le=255)
    """Mean grey value of sound particles (0-255)."""
    outside_grey: float = Field(default=105.0, ge=0, le=255)
    """Constant grey value outside the field of view (0-255)."""
    blur_vx: float = Field(default=0.7, ge=0, le=4)
    """Standard deviation of the point spread (voxels)."""
    fringe: float = Field(default=0.35, ge=-1, le=2)
    """Overshoot at edges, as of phase contrast (no unit)."""
    white_noise: float = Field(default=0.07, ge=0, le=1)
    """Standard deviation of uncorrelated noise (no unit)."""
    correlated_noise: float = Field(default=0.06, ge=0, le=1)
    """Standard deviation of blurred noise (no unit)."""
    streaks: float = Field(default=0.07, ge=0, le=1)
    """Standard deviation of noise drawn out along two directions of each section (no unit)."""
    rings: float = Field(default=0.03, ge=0, le=1)
    """Amplitude of rings around the rotation axis, which runs along z (no unit)."""
    shading: float = Field(default=0.12, ge=0, le=1)
    """Amplitude of uneven brightness (no unit)."""
    field_of_view: float = Field(default=0.54, gt=0.2, le=2)
    """Radius of the round field of view as a fraction of the longer of width and height; above
    0.71 it cuts nothing."""


class TomoPhantomParams(FrozenParams):
    """The phantom tomograms that `synthesise` writes."""

    samples: dict[str, TomoSampleParams] = Field(
        default={
            "cyc10": TomoSampleParams(cycles=10, damage_level=0.05),
            "cyc50": TomoSampleParams(cycles=50, damage_level=0.15, asynchrony=0.6, drift=0.2),
        },
        min_length=1,
    )
    """Samples by name."""
    shape_zyx: tuple[int, int, int] = (128, 224, 224)
    """Voxels along z, y, x."""
    voxel_size_um: float = Field(default=0.25, gt=0)
    """Edge of a voxel (um), the same along all axes."""
    packing: PackingParams = PackingParams()
    """Sizes, shapes and packing (see there)."""
    law: DamageLawParams = DamageLawParams()
    """What drives damage (see there)."""
    imaging: VolumeImagingParams = VolumeImagingParams()
    """Blur, noise, artefacts (see there)."""
    slab_vx: int = Field(default=32, ge=1)
    """Voxels along z that are rendered at a time; bounds memory, changes nothing else."""
    seed: int = Field(default=20220520, ge=0)
    """Seed of all samples; each sample draws its own numbers from its name."""

    @model_validator(mode="after")
    def check_consistency(self) -> Self:
        """Check what no single field can: axes, names, sizes."""
        if min(self.shape_zyx) < 16:
            raise ValueError(f"shape_zyx {self.shape_zyx} must be at least 16 along each axis")
        low, high = self.packing.diameter_range_um
        if not 4 * self.voxel_size_um <= low < high:
            raise ValueError(f"diameter_range_um {low, high} must rise from 4 voxels on")
        wrong = [name for name in self.samples if not name.replace("_", "").isalnum()]
        if wrong:
            raise ValueError(f"sample names {wrong} may hold letters, digits and _ alone")
        return self
