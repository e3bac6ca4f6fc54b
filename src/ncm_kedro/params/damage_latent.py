"""Settings for the auto-encoder of particle attributes and for correlations."""

from __future__ import annotations

from pydantic import Field

from ncm_kedro.params.base import FrozenParams


class AutoencoderParams(FrozenParams):
    """How the auto-encoder is built, trained and given its size; weights of Li et al. (2022)."""

    max_dimensions: int = Field(default=15, ge=1, le=100)
    """Largest number of latent dimensions that is tried; never more than there are attributes
    (count)."""
    repeats: int = Field(default=5, ge=2, le=100)
    """Random splits on which each number of dimensions is judged, and starts of the final fit
    (count)."""
    validation_fraction: float = Field(default=0.05, gt=0, le=0.4)
    """Share of rows on which errors are measured; as many others choose the step at which
    training stops (no unit)."""
    hidden: int = Field(default=32, ge=2, le=1024)
    """Units of the hidden layer on either side of the latent dimensions (count)."""
    l2_weight: float = Field(default=0.001, ge=0, le=1)
    """Factor of half the sum of squared weights, beside a squared error per row that is summed
    over the attributes (no unit)."""
    sparsity_weight: float = Field(default=0.01, ge=0, le=10)
    """Factor of the sparsity term, summed over the latent dimensions (no unit)."""
    sparsity_target: float = Field(default=0.05, gt=0, lt=1)
    """Mean activation that the sparsity term draws each latent dimension towards (no unit)."""
    steps: int = Field(default=1500, ge=10, le=100_000)
    """Steps of Adam (count)."""
    batch_rows: int = Field(default=64, ge=8, le=65_536)
    """Rows drawn for a step; all training rows where there are no more (count)."""
    learning_rate: float = Field(default=0.03, gt=0, le=1)
    """Highest step size of Adam; it falls to 0 along a cosine (no unit)."""
    seed: int = Field(default=0, ge=0)
    """Seed of splits, first weights and drawn rows."""


class LinkParams(FrozenParams):
    """Which latent dimensions are kept, and which correlations count as links."""

    share_kept: float = Field(default=0.95, gt=0, le=1)
    """Share of the total significance that the kept latent dimensions hold at least (no unit)."""
    top_attributes: int = Field(default=15, ge=2, le=100)
    """Best reconstructed attributes whose correlations are shown (count)."""
    min_correlation: float = Field(default=0.3, ge=0, le=1)
    """Least absolute Pearson correlation of a link (no unit)."""
    max_q: float = Field(default=0.05, gt=0, le=1)
    """Highest false-discovery rate of a link (no unit)."""


class DamageCorrelationParams(FrozenParams):
    """How correlations with damage are drawn again and again."""

    draws: int = Field(default=10, ge=2, le=10_000)
    """Subsamples per sample (count)."""
    draw_size: int = Field(default=500, ge=5, le=1_000_000)
    """Particles of a subsample (count)."""
    draw_share: float = Field(default=0.8, gt=0, lt=1)
    """Largest share of a sample's particles in a subsample (no unit)."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Level of the intervals of differences (no unit)."""
    resamples: int = Field(default=1000, ge=100, le=100_000)
    """Bootstrap resamples of an interval (count)."""
    seed: int = Field(default=0, ge=0)
    """Seed of subsamples and resamples."""
