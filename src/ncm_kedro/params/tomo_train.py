"""Settings for training the particle detector."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ncm_kedro.params.base import FrozenParams


class NetworkParams(FrozenParams):
    """Shape of the star-convex network; the defaults are those of Li et al. (2022)."""

    n_rays: int = Field(default=32, ge=8, le=256)
    """Directions in which the distance to the outline is predicted (count)."""

    grid_px: Literal[1, 2, 4] = 2
    """Input pixels per predicted point, along both axes (px)."""

    unet_depth: int = Field(default=3, ge=1, le=5)
    """Times that the U-Net halves the resolution, beside the grid's own halvings (count)."""

    filters: int = Field(default=32, ge=4, le=128)
    """Channels of the U-Net's first level; each level below doubles them (count)."""

    features: int = Field(default=128, ge=8, le=512)
    """Channels of the layer that both outputs read (count)."""


class SectionAugmentParams(FrozenParams):
    """What each crop goes through while training, beside flips and rotations by 90 degrees."""

    scale: float = Field(default=1.25, ge=1, le=2)
    """Largest factor of enlargement or reduction, drawn log-uniformly (no unit)."""

    gain: float = Field(default=1.25, ge=1, le=3)
    """Largest factor of contrast, drawn log-uniformly (no unit)."""

    offset: float = Field(default=0.1, ge=0, le=0.5)
    """Largest shift of brightness (in units of the normalised range, 0 to 1)."""

    gamma: float = Field(default=1.3, ge=1, le=3)
    """Largest exponent of a tone curve, or its inverse, drawn log-uniformly (no unit)."""

    noise: float = Field(default=0.05, ge=0, le=0.5)
    """Largest standard deviation of added white noise (in units of the normalised range)."""


class TomoTrainParams(FrozenParams):
    """How the detector is trained: on phantom sections, user's pairs, or a mixture."""

    network: NetworkParams = NetworkParams()
    """Shape of the network (see there)."""

    augment: SectionAugmentParams = SectionAugmentParams()
    """Randomisation while training (see there)."""

    phantom_sections: int = Field(default=6000, ge=0, le=1_000_000)
    """Phantom sections that are rendered once and cached in the work folder (count); 0 for none."""

    section_px: int = Field(default=336, ge=64, le=2048)
    """Edge of a rendered phantom section (px)."""

    pairs_folder: Path | None = None
    """Folder of the user's image and mask pairs; null for none."""

    pair_share: float = Field(default=0.5, gt=0, le=1)
    """Fraction of crops that come from the user's pairs where there are both kinds (no unit)."""

    validation_fraction: float = Field(default=0.1, gt=0, lt=0.5)
    """Fraction of images, of each kind, that is held out to choose the best epoch (no unit)."""

    validation_crops: int = Field(default=96, ge=1, le=10_000)
    """Crops of held-out images that the validation loss is taken on (count)."""

    threshold_images: int = Field(default=24, ge=1, le=1000)
    """Held-out images on which the two thresholds are chosen (count)."""

    evaluation_images: int = Field(default=60, ge=1, le=10_000)
    """Held-out images on which the detector is set beside the one in use (count)."""

    patch_px: int = Field(default=256, ge=32, le=1024, multiple_of=16)
    """Edge of a training crop (px)."""

    batch_size: int = Field(default=8, ge=1, le=512)
    """Crops per step (count)."""

    epochs: int = Field(default=50, ge=1, le=10_000)
    """Epochs; after each the state is saved and the validation loss taken (count)."""

    steps_per_epoch: int = Field(default=200, ge=1, le=100_000)
    """Steps per epoch (count)."""

    learning_rate: float = Field(default=6e-4, gt=0, le=0.1)
    """Step size of Adam at its highest, after the warm-up (no unit)."""

    final_learning_rate: float = Field(default=1e-5, gt=0, le=0.1)
    """Step size at the end of the cosine (no unit)."""

    warmup_steps: int = Field(default=200, ge=0, le=100_000)
    """Steps over which the step size rises from zero (count)."""

    average_decay: float = Field(default=0.998, ge=0, lt=1)
    """Decay per step of the running mean of the weights that is validated and selected; 0: none."""

    dist_weight: float = Field(default=0.2, gt=0, le=10)
    """Weight of the distance loss beside the probability loss (no unit)."""

    particle_px: float = Field(default=48.0, gt=8, le=512)
    """Typical particle diameter that the detector shall be fed with when it is used (px)."""

    precision: Literal["auto", "bf16", "f32"] = "auto"
    """Arithmetic while training; auto: bfloat16 where the processor has units for it."""

    render_workers: int = Field(default=2, ge=1, le=256)
    """Processes that render phantom sections (count); the sections do not depend on it."""

    seed: int = Field(default=20221, ge=0)
    """Seed of everything random in training (no unit)."""

    start_from: Path | None = None
    """Folder of a detector whose weights training starts from; null: random weights."""

    @model_validator(mode="after")
    def _check_sources(self) -> TomoTrainParams:
        if self.phantom_sections == 0 and self.pairs_folder is None:
            raise ValueError("phantom_sections is 0 and pairs_folder is null: nothing to train on")
        return self

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.epochs * self.steps_per_epoch
