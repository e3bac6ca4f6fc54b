"""Settings of `sem_transfer` and `sem_studies`."""

from __future__ import annotations

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from ncm_kedro.params.base import FrozenParams
from ncm_kedro.params.tune_train import AugmentParams, ResampledParams, TrainParams

HoldOutKind = Literal["state", "composition", "session"]
"""What is held out of training: a state, a composition, or a session of each class."""

TransferModel = Literal["texture", "network"]

TEXTURE: TransferModel = "texture"
NETWORK: TransferModel = "network"


class SemTransferParams(ResampledParams):
    """What is held out of training, and the training on the rest."""

    kinds: tuple[HoldOutKind, ...] = Field(
        default=("state", "composition", "session"), min_length=1
    )
    """What is held out, in turn: `state` tests the composition, `composition` tests the state,
    `session` tests the class."""

    models: tuple[TransferModel, ...] = Field(default=("texture",), min_length=1)
    """Texture features with logistic regression, always; the network costs a training each time."""

    train: TrainParams = TrainParams()
    """Training of the network."""

    @model_validator(mode="after")
    def _check_models(self) -> Self:
        if TEXTURE not in self.models:
            raise ValueError("models must contain texture, the baseline of every other model")
        return self


StudyName = Literal[
    "crop_size",
    "image_count",
    "normalisation",
    "grey_levels",
    "weights",
    "finetuning",
    "augmentation",
    "magnification",
    "accelerating_voltage",
    "microscope",
    "split",
]
STUDIES: tuple[StudyName, ...] = get_args(StudyName)

Normalisation = Literal["none", "data_set", "per_image", "offset", "clahe"]


class FinetuningParams(FrozenParams):
    """How `finetuning` trains on from the discriminant of pretrained features."""

    epochs: int = Field(default=4, ge=1)
    """Epochs of each point."""

    learning_rate: float = Field(default=1e-4, gt=0.0, le=10.0)
    """Step size of the last layer."""

    layer_decay: float = Field(default=0.7, gt=0.0, le=1.0)
    """Factor of the learning rate from each layer to the one below it."""

    l2_sp: float = Field(default=100.0, ge=0.0)
    """Pull towards the starting weights, as in `tune_train.train`."""


class SemStudiesParams(ResampledParams):
    """What is varied, and how each point is trained and scored."""

    models: tuple[TransferModel, ...] = Field(default=("texture", "network"), min_length=1)
    """The network, and texture features with logistic regression where a study changes crops."""

    train: TrainParams = TrainParams()
    """Training of the network; each study changes one thing of it."""

    images_per_class: int | None = Field(default=None, ge=2)
    """Crops per class for training and validation together; null: as `crop_augment`."""

    test_images_per_class: int | None = Field(default=None, ge=1)
    """Crops per class for the test; null: as `crop_augment`."""

    sizes_px: tuple[int, ...] = Field(default=(100, 150, 200, 250, 300, 350, 400), min_length=1)
    """Edges of a crop in the frame (px) of `crop_size`."""

    counts: tuple[int, ...] = Field(default=(50, 100, 200, 300, 400, 500), min_length=1)
    """Crops per class (training and validation together) of `image_count`."""

    normalisations: tuple[Normalisation, ...] = Field(
        default=("none", "data_set", "per_image", "offset", "clahe"), min_length=1
    )
    """What `normalisation` tries, each with its own training; `clahe` equalises only."""

    augment: AugmentParams = AugmentParams(
        flip=True, rotate90=True, position_jitter_px=1000, contrast=0.08
    )
    """What `augmentation` switches on."""

    finetuning: FinetuningParams = FinetuningParams()
    """What `finetuning` does to pretrained weights."""

    weights_model: str = "tf_efficientnet_b7"
    """Architecture of `weights` and `finetuning`; it must have published weights, or packaged ones
    where `train.pretrained` says so."""
