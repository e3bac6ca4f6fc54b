"""Logits and probabilities of crops."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.calibration import apply_temperature
from ncm_kedro.learning.train import BatchSource, choose_device, choose_precision
from ncm_kedro.params.tune_train import TestTimeAugmentation

N_QUARTER_TURNS = 4


def predict_logits(
    model: nn.Module,
    batches: BatchSource,
    *,
    device: str = "auto",
    precision: str = "auto",
    test_time_augmentation: TestTimeAugmentation = "none",
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits of all crops, in the order of the crop index.

    Parameters
    ----------
    model
        Network (B, 1, P, P) -> (B, K); moved to the device, put in evaluation mode.
    batches
        Source of batches that hold each crop once.
    device, precision
        As in training.
    test_time_augmentation
        `dihedral`: the log of the mean probability over the eight flips and quarter turns.

    Returns
    -------
    logits
        (N, K).
    labels
        (N,) class numbers.

    Raises
    ------
    ModelError
        The source is empty.
    """
    where = choose_device(device)
    dtype = choose_precision(precision, where)
    model.to(where).eval()
    logits, labels, index = [], [], []
    with torch.inference_mode(), torch.autocast(where.type, dtype, dtype is not torch.float32):
        for batch in batches.iterate_epoch(0):
            logits.append(_predict_batch(model, batch.images.to(where), test_time_augmentation))
            labels.append(batch.labels.to(where))
            index.append(batch.index.to(where))
    if not logits:
        raise ModelError(
            "prediction",
            found="no crop",
            expected="at least one",
            action="check that the split holds crops",
        )
    order = torch.argsort(torch.cat(index))
    return (
        torch.cat(logits)[order].cpu().numpy(),
        torch.cat(labels)[order].cpu().numpy(),
    )


def predict_probabilities(
    model: nn.Module,
    batches: BatchSource,
    *,
    temperature: float = 1.0,
    device: str = "auto",
    precision: str = "auto",
    test_time_augmentation: TestTimeAugmentation = "none",
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Calibrated probabilities (N, K) and labels (N,) of all crops; see `predict_logits`.

    Fit the temperature on logits made with the same `test_time_augmentation`.
    """
    logits, labels = predict_logits(
        model,
        batches,
        device=device,
        precision=precision,
        test_time_augmentation=test_time_augmentation,
    )
    return apply_temperature(logits, temperature), labels


def iterate_dihedral(images: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the eight flips and quarter turns of square images (B, 1, P, P)."""
    for quarter in range(N_QUARTER_TURNS):
        turned = torch.rot90(images, quarter, dims=(2, 3))
        yield turned
        yield turned.flip(3)


def _predict_batch(
    model: nn.Module, images: torch.Tensor, tta: TestTimeAugmentation
) -> torch.Tensor:
    if tta == "none":
        return torch.as_tensor(model(images)).float()
    views = [model(view).float().softmax(1) for view in iterate_dihedral(images)]
    return torch.stack(views).mean(0).clamp_min(torch.finfo(torch.float32).tiny).log()
