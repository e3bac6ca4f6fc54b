"""What training takes and what it gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from ncm_kedro.learning.crop_index import Batch


class BatchSource(Protocol):
    """Batches, an epoch at a time; `CropLoader` is one."""

    def __len__(self) -> int:
        """Count batches in an epoch."""
        ...

    def iterate_epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        ...


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch gave; rates are fractions, losses are nats per crop."""

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    validation_balanced_accuracy: float
    validation_score: float
    best_score: float
    learning_rate: float
    seconds: float
    images_per_second: float


@dataclass(frozen=True)
class FitResult:
    """A trained network.

    Parameters
    ----------
    model
        The network with the weights of the best epoch, in evaluation mode.
    history
        One record per epoch, those before a kill included.
    best_epoch, best_score
        Epoch (from 1) with the best validation score, and that score.
    stopped_early
        Whether training ended before its last epoch.
    """

    model: nn.Module
    history: tuple[EpochRecord, ...]
    best_epoch: int
    best_score: float
    stopped_early: bool
