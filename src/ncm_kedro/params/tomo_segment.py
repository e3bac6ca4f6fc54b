"""How block-wise work on volumes is spread over cores or a cluster.

How raw tomograms become volumes.

Settings for the particle probability fused from sections in three directions.

Settings for turning fused maps into labelled particles.

Settings for scoring a segmentation where the truth is known.

Settings for segmenting a single section with the particle detector.

Settings for the correction of labels by hand.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ncm_kedro.params.base import FrozenParams


class TomoComputeParams(FrozenParams):
    """Who works on the blocks of a volume; the result does not depend on it."""

    workers: int = Field(default=2, ge=1, le=1024)
    """Threads of this machine that work on blocks."""
    dask_address: str | None = None
    """Scheduler of a dask cluster that sees the same files, ``tcp://host:8786``; null: threads."""
    block_edge_vx: int = Field(default=128, ge=16, le=1024, multiple_of=16)
    """Edge of a block in voxels: of a Zarr shard, and of what one task holds at a time."""


class TomoVolumeParams(FrozenParams):
    """What is measured while a tomogram is copied; grey values themselves are never changed."""

    find_field_of_view: bool = True
    """Whether constant grey at the sides is taken as outside the field of view."""

    outside_noise_levels: float = Field(default=2.0, ge=0, le=32)
    """By how much constant grey may waver, as JPEG makes it (levels of 255 over the grey range;
    levels as such for 8-bit data of more than 32 levels)."""

    outside_margin: float = Field(default=0.25, gt=0, le=1)
    """Largest fraction of a constant region that may lie within the convex hull of the rest (no
    unit). The outside of an image circle lies beyond it; saturated particles and pores do not."""

    grey_samples: int = Field(default=4_000_000, ge=10_000, le=200_000_000)
    """Voxels, on a lattice through the volume, from which percentiles are taken."""

    slab_memory_mb: int = Field(default=512, ge=16, le=65_536)
    """Memory for the part of the raw file that one worker holds at a time (MB); a compressed
    section larger than it is decoded more than once."""


class TomoFusionParams(FrozenParams):
    """How sections are scaled, cut and fused."""

    particle_diameter_um: float | None = Field(default=None, gt=0)
    """Median diameter of a particle, which is scaled to what the network was trained around (um);
    null: measured on sections through the volume."""

    contrast: Literal["auto", "bright", "dark"] = "auto"
    """Whether particles are brighter or darker than their surroundings; ``auto``: as the detector
    finds them on a few sections, with a warning where they are darker."""

    particle_phase: float | None = None
    """Value of the particles in a map of phases, a volume of at most four values, which is labelled
    by its distance transform; null: the largest (grey value)."""

    scale_tolerance: float = Field(default=1.25, ge=1, le=4)
    """Factor by which the wanted scale may differ from that of a volume with cubic voxels before
    the volume is resampled (no unit)."""

    max_upsampling: float = Field(default=3.0, ge=1, le=8)
    """Largest factor by which a volume of small particles is enlarged (no unit)."""

    distance_fusion: Literal["mean", "median"] = "mean"
    """How the distances to the outline of three directions become one."""

    min_probability: float = Field(default=0.05, ge=0, lt=1)
    """Probability in a section below which its distance counts as 0 (no unit): the network learns
    no distance outside particles."""

    slab_vx: int = Field(default=64, ge=32, le=512, multiple_of=32)
    """Thickness of a slab of sections, and edge of a chunk on disk, on the detection grid (voxels);
    memory and the work that a kill can lose grow with it."""

    tile_px: int = Field(default=1024, ge=64, le=8192, multiple_of=16)
    """Edge of the tiles that larger sections are cut into (px); memory grows with its square."""

    batch_px: int = Field(default=1_000_000, ge=10_000)
    """Pixels that go through the network at once (px); at least one section or tile."""


class RefineParams(FrozenParams):
    """How the outline of each particle is fitted to the grey values.

    Every length is at least its value in voxels, so that coarse volumes are refined too.
    """

    enabled: bool = True
    """False: watershed outlines are final; then no cracks are marked."""
    smoothing_vx: float = Field(default=0.7, ge=0, le=5)
    """Standard deviation of the Gaussian that calms the grey values (voxels; 0: none)."""
    outline_smoothing: float = Field(default=2.0, ge=0, le=10)
    """Contrast, in standard deviations of the noise, below which grey values are smoothed before
    the outline is looked for (no unit; 0: none); cracks are marked in what the Gaussian leaves."""
    trim_um: float = Field(default=0.25, ge=0, le=20)
    """Depth below the watershed outline down to which dark voxels may be cut off (um)."""
    trim_vx: float = Field(default=3.0, ge=0, le=50)
    """The same depth in voxels; the larger of the two counts."""
    grow_um: float = Field(default=0.15, ge=0, le=20)
    """Distance beyond the watershed outline up to which bright voxels may be taken in (um)."""
    grow_vx: float = Field(default=2.0, ge=0, le=50)
    """The same distance in voxels; the larger of the two counts."""
    closing_um: float = Field(default=0.4, ge=0, le=20)
    """Radius of the closing: cracks that open to the outside keep their mouth within the watershed
    outline if they are less than twice this wide (um)."""
    closing_vx: float = Field(default=4.0, ge=0, le=50)
    """The same radius in voxels; the larger of the two counts."""
    opening_vx: float = Field(default=1.0, ge=0, le=20)
    """Spurs of the outline thinner than twice this are removed (voxels; 0: none)."""
    gap_vx: int = Field(default=2, ge=0, le=20)
    """Blurred voxels beside the outline that do not count as a particle's surrounding (voxels)."""
    shell_vx: int = Field(default=3, ge=1, le=20)
    """Thickness of the surrounding, beyond the gap, that a particle is compared with (voxels)."""
    min_crack_vx: int = Field(default=8, ge=1)
    """Smallest connected void or crack that is marked (voxels)."""
    max_cutout_vx: int = Field(default=40_000_000, ge=4096)
    """Particles whose bounding box holds more voxels keep their watershed outline (voxels)."""


class TomoInstanceParams(FrozenParams):
    """How particles are separated, outlined and filtered."""

    fusion: Literal["watershed", "paper"] = "watershed"
    """``paper``: threshold and connected components, as in Li et al. 2022; ``watershed``: seeds,
    watershed, and merges checked by the predicted distances."""
    threshold: float = Field(default=0.3, gt=0, lt=1)
    """``paper`` alone: fused probability from which a voxel is particle (0-1). The text gives none;
    of 0.1, 0.15, 0.2, 0.3 and 0.5 this one scored best on phantoms."""
    connectivity: Literal[6, 18, 26] = 26
    """``paper`` alone: neighbours that connect."""
    smoothing_vx: float = Field(default=1.0, ge=0, le=10)
    """``watershed``: standard deviation of the Gaussian over the map of the watershed (voxels)."""
    outline_probability: float = Field(default=0.02, ge=0, lt=1)
    """``watershed``: fused probability that a voxel of a particle must exceed (0-1); it falls to
    nothing at the outline, so that a higher value cuts a fraction of the radius off."""
    outline_steps: int = Field(default=5, ge=0, le=40)
    """``watershed``: fused distance to the outline that a voxel of a particle must exceed, so that
    one direction alone adds no spur (steps of the stored map, quarters of a voxel of the network's
    grid). The refinement restores the same distance; without refinement it counts as 0."""
    seed_probability: float = Field(default=0.5, gt=0, lt=1)
    """``watershed``: fused probability that a particle reaches somewhere, and that two parts of
    one particle have all the way between them (0-1)."""
    merge_saddle_fraction: float = Field(default=0.7, ge=0, le=1)
    """``watershed``: two regions are one particle only if the probability between them falls to no
    less than this fraction of the lower of the two seeds (no unit)."""
    absorb_fraction: float = Field(default=0.6, ge=0, le=1)
    """``watershed``: a region without a seed belongs to a neighbour if the probability between them
    falls to no less than this fraction of its peak; else it is debris (no unit)."""
    merge_neck_fraction: float = Field(default=0.5, ge=0, le=1)
    """``watershed``: two regions are two particles if the contact between them is narrower than
    this fraction of the smaller one's inner radius (no unit)."""
    check_shape: bool = True
    """``watershed``: whether contacts are judged by shape, too: a compact particle is not joined to
    what makes it less compact, fragments behind a crack are, and what has a peak of probability but
    no body is dropped."""
    min_volume_um3: float = Field(default=1.0, ge=0)
    """Smaller particles are dropped (um3); 1 um3 is a ball of 1.24 um."""
    refine: RefineParams = RefineParams()
    """How outlines are fitted to the grey values (see there)."""


class TomoScoringParams(FrozenParams):
    """Which methods are set beside the default one, and on how large a volume."""

    paper_fusion: bool = True
    """Whether the paper's method (mean, threshold, connected components) is scored too."""
    otsu_watershed: bool = True
    """Whether Otsu's threshold with a distance watershed is scored too."""
    slice_linking: bool = True
    """Whether two-dimensional instances, linked from slice to slice, are scored too."""
    max_voxels: int = Field(default=40_000_000, ge=1)
    """Larger volumes are not scored (voxels): the two last methods hold the whole volume."""
    min_volume_um3: float = Field(default=1.0, ge=0)
    """Smaller known particles do not count (um3); the segmentation drops such, too."""


class SectionSegmentParams(FrozenParams):
    """How particles are found and outlined in one section."""

    particle_px: float | None = Field(default=None, gt=4, le=4096)
    """Typical particle diameter in the section (px); null: estimated from the section."""

    prob_threshold: float | None = Field(default=None, gt=0, lt=1)
    """Least probability of a particle (0 to 1); null: the detector's own."""

    max_overlap: float | None = Field(default=None, gt=0, lt=1)
    """Overlap, as a fraction of the smaller area, that two particles may have; null: the detector's
    own."""

    turns: bool = True
    """Whether to average over flips and rotations by 90 degrees (test-time augmentation): better
    outlines for eight times the work."""

    scales: tuple[float, ...] = Field(default=(1.0,), min_length=1, max_length=5)
    """Enlargements, relative to the one that brings a typical particle to the size that the
    detector was trained around, at which the section is predicted (no unit)."""

    size_tolerance: float = Field(default=0.7, gt=0, le=5)
    """Standard deviation of the logarithm of a particle's size at which a scale is trusted (no
    unit)."""

    agreement: float = Field(default=0.5, gt=0, lt=1)
    """Fraction of a particle's candidates that must claim a pixel (no unit)."""

    central: float = Field(default=0.6, gt=0, le=1)
    """Candidates within this fraction of the way from the centre to the outline vote (no unit)."""

    edge_band: float = Field(default=0.05, ge=0, le=0.3)
    """Half width of the band about an outline that is searched for the grey edge, as a fraction of
    the particle's diameter (no unit); 0: the network's outlines stand."""

    edge_smoothing_px: float = Field(default=0.9, ge=0, le=10)
    """Standard deviation of the smoothing before the grey edge is looked for (px)."""

    edge_contrast: float = Field(default=2.0, ge=0, le=100)
    """Least difference of the grey values inside and outside, in standard deviations of the
    smoothed section, for an outline to be moved to the edge (no unit)."""

    min_diameter_px: float = Field(default=6.0, ge=0)
    """Smaller particles are excluded (px of the section)."""


class TomoReviewParams(FrozenParams):
    """Which particles are called suspect; limits do not change any label."""

    max_disagreement: float = Field(default=0.3, gt=0, le=1)
    """Mean range of the probability between the three directions from which a particle is suspect
    (no unit, 0 to 1)."""

    min_probability: float = Field(default=0.26, ge=0, le=1)
    """Mean fused probability below which a particle is suspect (no unit, 0 to 1)."""

    max_neck_uncertainty: float = Field(default=0.9, gt=0)
    """Ambiguity of a merge or a split from which a particle is suspect (no unit, 0 to 1)."""

    max_size_factor: float = Field(default=2.5, gt=1)
    """Factor above the median of the complete particles' diameters beyond which a complete one is
    suspect (no unit)."""

    min_size_fraction: float = Field(default=0.5, ge=0, lt=1)
    """Fraction of that median below which a complete particle is suspect (no unit)."""

    min_border_fraction: float = Field(default=0.5, ge=0, lt=1)
    """Fraction of that median below which a particle that the border cuts is suspect (no unit)."""

    min_box_fill: float = Field(default=0.75, ge=0, lt=1)
    """Fraction of the median of how much particles fill of their bounding boxes, below which one is
    suspect (no unit): two that were joined, or one with a tail."""

    max_listed: int = Field(default=200, ge=1)
    """Longest list of suspect particles (count)."""
