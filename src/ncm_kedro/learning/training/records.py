"""What training takes and what it gives.

Checkpoints that are either whole or absent.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import torch
from torch import nn

from ncm_kedro.atomic_write import open_atomic
from ncm_kedro.errors import ModelError
from ncm_kedro.learning.data.crop_index import Batch


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


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write `state` (tensors, numbers, texts, lists and dicts of these) atomically.

    Raises
    ------
    ModelError
        The folder cannot be written to, or the disk is full.
    """
    try:
        with open_atomic(path) as stream:
            torch.save(state, stream)
    except (OSError, RuntimeError) as error:
        raise ModelError(
            path,
            found=f"the checkpoint cannot be written ({error})",
            expected="a folder that can be written to, with room for the checkpoint",
            action="free disk space or choose another folder, then run again: it resumes",
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint to the CPU; None where there is none.

    Only tensors and plain values are read, so that a file cannot run code.

    Raises
    ------
    ModelError
        The file is not a checkpoint of this product.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, BadZipFile) as err:
        raise ModelError(
            path,
            found=f"a file that cannot be read as a checkpoint ({type(err).__name__})",
            expected="a checkpoint written by this product",
            action="delete the file; training then starts over",
        ) from err
    if not isinstance(state, dict):
        raise ModelError(
            path,
            found=f"a {type(state).__name__}",
            expected="a checkpoint written by this product",
            action="delete the file; training then starts over",
        )
    return state
