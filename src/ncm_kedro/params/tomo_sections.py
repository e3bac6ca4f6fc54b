"""Settings for segmenting a single section with the particle detector."""

from __future__ import annotations

from pydantic import Field

from ncm_kedro.params.base import FrozenParams


class SectionSegmentParams(FrozenParams):
    """How particles are found and outlined in one section."""

    particle_px: float | None = Field(default=None, gt=4, le=4096)
    """Typical particle diameter in the section (px); null: estimated from the section."""

    prob_threshold: float | None = Field(default=None, gt=0, lt=1)
    """Least probability of a particle (0 to 1); null: the detector's own."""

    max_overlap: float | None = Field(default=None, gt=0, lt=1)
    """Overlap, as a share of the smaller area, that two particles may have; null: the detector's
    own."""

    turns: bool = True
    """Whether to average over flips and quarter turns: better outlines for eight times the work."""

    scales: tuple[float, ...] = Field(default=(1.0,), min_length=1, max_length=5)
    """Enlargements, relative to the one that brings a typical particle to the size that the
    detector was trained around, at which the section is looked at (no unit)."""

    size_tolerance: float = Field(default=0.7, gt=0, le=5)
    """Standard deviation of the logarithm of a particle's size at which a scale is trusted (no
    unit)."""

    agreement: float = Field(default=0.5, gt=0, lt=1)
    """Share of a particle's candidates that must claim a pixel (no unit)."""

    central: float = Field(default=0.6, gt=0, le=1)
    """Candidates within this share of the way from the centre to the outline vote (no unit)."""

    edge_band: float = Field(default=0.05, ge=0, le=0.3)
    """Half width of the band about an outline in which the grey edge is looked for, as a share of
    the particle's diameter (no unit); 0: the network's outlines stand."""

    edge_smoothing_px: float = Field(default=0.9, ge=0, le=10)
    """Standard deviation of the smoothing before the grey edge is looked for (px)."""

    edge_contrast: float = Field(default=2.0, ge=0, le=100)
    """Least difference of the grey values inside and outside, in standard deviations of the
    smoothed section, for an outline to be moved to the edge (no unit)."""

    min_diameter_px: float = Field(default=6.0, ge=0)
    """Smaller particles are left out (px of the section)."""
