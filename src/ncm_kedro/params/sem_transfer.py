"""Settings of `sem_transfer`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ncm_kedro.params.tune_train import ResampledParams, TrainParams

HoldOutKind = Literal["state", "composition", "session"]
"""What is left out of training: a state, a composition, or a session of each class."""

TransferModel = Literal["texture", "network"]

TEXTURE: TransferModel = "texture"
NETWORK: TransferModel = "network"


class SemTransferParams(ResampledParams):
    """What is left out of training, and what is trained on the rest."""

    kinds: tuple[HoldOutKind, ...] = Field(
        default=("state", "composition", "session"), min_length=1
    )
    """What is left out, in turn: `state` tests the composition, `composition` tests the state,
    `session` tests the class."""

    models: tuple[TransferModel, ...] = Field(default=("texture",), min_length=1)
    """Texture features with logistic regression, always; the network costs a training each time."""

    train: TrainParams = TrainParams()
    """Training of the network."""

    @model_validator(mode="after")
    def _check_models(self) -> Self:
        if TEXTURE not in self.models:
            raise ValueError("models must hold texture, which every other model is set beside")
        return self
