"""Settings for what explains the damage of particles, and for how sure that is.

Settings for the auto-encoder of particle attributes and for correlations.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ncm_kedro.params.base import FrozenParams


class DamageTableParams(FrozenParams):
    """Which particles and which attributes are eligible."""

    attributes: Literal["leakage_free", "all"] = "leakage_free"
    """``leakage_free``: attributes that contain the damage by their definition (target leakage) are
    excluded and shown separately; ``all``: they are included, as in the paper."""
    lateral_positions: bool = False
    """Whether positions across the electrode may explain: they depend on where the volume was cut
    out (and the published code excludes them). The axis to the collector decides which these are;
    where it is not known, x and y."""
    excluded_attributes: tuple[str, ...] = ()
    """Further attributes that are excluded in any case."""
    max_undefined: float = Field(default=0.1, ge=0, lt=1)
    """An attribute that is null for more than this fraction of a sample's complete particles is
    excluded; of the others, particles without a value are excluded (no unit)."""
    min_sphericity: float = Field(default=0.5, ge=0, lt=1)
    """What is less round than this is taken for a shell, a fragment, or merged particles,
    and is excluded: its "damage" is an error of the segmentation. Measured with preset ``paper``
    sphericity depends on the damage, and excludes nothing (no unit)."""
    min_particles: int = Field(default=50, ge=16)
    """A sample with fewer usable particles is rejected."""
    group_correlation: float = Field(default=0.8, gt=0, le=1)
    """Attributes whose rank correlation is at least this in every pair, over all samples, form
    one group (absolute value, no unit)."""
    blocks: int = Field(default=16, ge=4, le=400)
    """Pieces of equal count that a sample is cut into, across the electrode and not through its
    depth. A piece is held out as a whole."""


class DamageForestParams(FrozenParams):
    """The random forest that predicts damage (Breiman 2001)."""

    trees: int = Field(default=100, ge=1, le=5000)
    """Trees."""
    max_leaves: int = Field(default=64, ge=2, le=1024)
    """Leaves of a tree at most; the leaf whose split gains most is split first."""
    min_leaf: int = Field(default=5, ge=1)
    """Particles in a leaf at least."""
    feature_fraction: float = Field(default=1 / 3, gt=0, le=1)
    """Fraction of the attributes that a split chooses among (no unit)."""
    max_draws: int = Field(default=20_000, ge=10)
    """Particles that a tree is grown on at most, drawn with replacement."""


class AttributionParams(FrozenParams):
    """Resampling, and levels of significance."""

    folds: int = Field(default=5, ge=2, le=50)
    """Parts of the blocked cross-validation."""
    repeats: int = Field(default=5, ge=1, le=100)
    """Repeats of the assignment of blocks to folds."""
    bootstraps: int = Field(default=500, ge=20, le=10_000)
    """Block bootstraps, each with a forest of its own, that intervals are taken from. A single
    difference between samples among G groups needs 2 G / `false_discovery` of them to become
    significant."""
    permutations: int = Field(default=250, ge=19, le=10_000)
    """Permutations of damage over the particles, each with a forest of its own: the importance if
    nothing drove damage. A single driver among G groups
    needs G / `false_discovery` of them, and as many bootstraps, to become significant."""
    resampled_trees: int = Field(default=12, ge=5, le=1000)
    """Trees of each forest of a bootstrap, a permutation or a perturbation."""
    resampled_folds: int = Field(default=3, ge=2, le=50)
    """Parts of their blocked cross-validations."""
    max_explained: int = Field(default=5_000, ge=50)
    """Particles that each of them explains at most."""
    perturbations: int = Field(default=50, ge=0, le=10_000)
    """Times that attributes are moved within their uncertainty by the segmentation."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Level of the intervals (no unit)."""
    false_discovery: float = Field(default=0.05, gt=0, lt=0.5)
    """Fraction of false findings accepted among the findings (no unit)."""
    workers: int = Field(default=2, ge=1, le=256)
    """Threads; they change nothing but the time."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything that is drawn."""


class PaperForestParams(FrozenParams):
    """The paper's own analysis: SHAP of a random forest on the particles that it was grown on."""

    preset: Literal["text", "code"] = "text"
    """``text``: depth 30, 95/5 split (supplement of Li et al. 2022); ``code``: 40 trees of 30
    leaves, the root of the number of attributes at a split, absolute error (their published
    code)."""
    draws: int = Field(default=10, ge=2, le=1000)
    """Forests on a part of the particles each."""
    draw_size: int = Field(default=500, ge=20)
    """Particles of such a part; 80 % where there are fewer than this."""
    seeds: int = Field(default=10, ge=2, le=1000)
    """Forests that differ in their random numbers alone."""
    max_explained: int = Field(default=100, ge=20)
    """Particles whose SHAP values are taken of each forest at most; trees of depth 30 cost most of
    all."""
    workers: int = Field(default=2, ge=1, le=256)
    """Threads; they change nothing but the time."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything that is drawn."""


class AutoencoderParams(FrozenParams):
    """How the auto-encoder is built, trained and given its size; weights of Li et al. (2022)."""

    max_dimensions: int = Field(default=15, ge=1, le=100)
    """Largest number of latent dimensions that is tried; never more than there are attributes
    (count)."""
    repeats: int = Field(default=5, ge=2, le=100)
    """Random splits on which each number of dimensions is evaluated, and starts of the final fit
    (count)."""
    validation_fraction: float = Field(default=0.05, gt=0, le=0.4)
    """Fraction of rows on which errors are measured; as many others choose the step at which
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
    """Which latent dimensions are retained, and which correlations count as links."""

    retained_share: float = Field(default=0.95, gt=0, le=1)
    """Minimum fraction of the total significance in the retained dimensions (no unit)."""
    top_attributes: int = Field(default=15, ge=2, le=100)
    """Best reconstructed attributes whose correlations are shown (count)."""
    min_correlation: float = Field(default=0.3, ge=0, le=1)
    """Least absolute Pearson correlation of a link (no unit)."""
    max_q: float = Field(default=0.05, gt=0, le=1)
    """Highest false-discovery rate of a link (no unit)."""


class DamageCorrelationParams(FrozenParams):
    """How correlations with damage are resampled."""

    draws: int = Field(default=10, ge=2, le=10_000)
    """Subsamples per sample (count)."""
    draw_size: int = Field(default=500, ge=5, le=1_000_000)
    """Particles of a subsample (count)."""
    subsample_fraction: float = Field(default=0.8, gt=0, lt=1)
    """Largest fraction of a sample's particles in a subsample (no unit)."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Level of the intervals of differences (no unit)."""
    resamples: int = Field(default=1000, ge=100, le=100_000)
    """Bootstrap resamples of an interval (count)."""
    seed: int = Field(default=0, ge=0)
    """Seed of subsamples and resamples."""
