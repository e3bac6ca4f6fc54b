"""Settings of `sem_transfer`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ncm_kedro.params.base import FrozenParams
from ncm_kedro.params.tune_train import EvaluationParams, TrainParams

HoldOutKind = Literal["state", "composition", "session"]
"""What is left out of training: a state, a composition, or a session of each class."""

TransferModel = Literal["texture", "network"]

TEXTURE: TransferModel = "texture"
NETWORK: TransferModel = "network"


class SemTransferParams(FrozenParams):
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

    n_bootstrap: int = Field(default=2000, ge=100)
    """Resamples of areas."""

    confidence: float = Field(default=0.95, gt=0.0, lt=1.0)
    """Probability mass of an interval."""

    seed: int = Field(default=0, ge=0)
    """Seed of the texture baseline and of the resampling."""

    @property
    def resampling(self) -> EvaluationParams:
        """How areas are resampled."""
        return EvaluationParams(
            n_bootstrap=self.n_bootstrap, confidence=self.confidence, seed=self.seed
        )

    @model_validator(mode="after")
    def _check_models(self) -> Self:
        if TEXTURE not in self.models:
            raise ValueError("models must hold texture, which every other model is set beside")
        return self
