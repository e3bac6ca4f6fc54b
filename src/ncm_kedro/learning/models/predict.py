"""Logits, energies and features of crops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.training.train import BatchSource, choose_device, choose_precision
from ncm_kedro.params.tune_train import TestTimeAugmentation

N_QUARTER_ROTATIONS = 4


@dataclass(frozen=True)
class CropOutputs:
    """What a network says of crops, in the order of the crop index.

    Attributes
    ----------
    logits
        (N, K).
    labels
        (N,) class numbers.
    energy
        (N,) minus the log of the summed exponentials of the logits, averaged over views; high
        where no class speaks up (Liu et al. 2020, arXiv:2010.03759, eq. 4, temperature 1).
    features
        (N, D) input of the last layer, averaged over views.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    energy: NDArray[np.float32]
    features: NDArray[np.float32]


def predict_outputs(
    model: nn.Module,
    batches: BatchSource,
    *,
    device: str = "auto",
    precision: str = "auto",
    test_time_augmentation: TestTimeAugmentation = "none",
) -> CropOutputs:
    """Run a network over all crops.

    Parameters
    ----------
    model
        Network (B, 1, P, P) -> (B, K) with a last layer that timm's settings name; moved to the
        device, put in evaluation mode.
    batches
        Source of batches that hold each crop once.
    device, precision
        As in training.
    test_time_augmentation
        `dihedral`: the log of the mean probability over the eight flips and quarter turns.

    Raises
    ------
    ModelError
        The source is empty, or the network's last layer is not named.
    """
    where = choose_device(device)
    dtype = choose_precision(precision, where)
    model.to(where).eval()
    parts: list[tuple[torch.Tensor, ...]] = []
    with (
        torch.inference_mode(),
        torch.autocast(where.type, dtype, dtype is not torch.float32),
        _catch_features(_find_last_layer(model)) as caught,
    ):
        for batch in batches.iterate_epoch(0):
            logits, energy = _predict_batch(model, batch.images.to(where), test_time_augmentation)
            features = torch.stack(caught).mean(0)
            caught.clear()
            parts.append((logits, batch.labels.to(where), energy, features, batch.index.to(where)))
    if not parts:
        raise ModelError(
            "prediction",
            found="no crop",
            expected="at least one",
            action="check that the split holds crops",
        )
    *joined, index = (torch.cat(part) for part in zip(*parts, strict=True))
    order = torch.argsort(index)
    return CropOutputs(*(part[order].cpu().numpy() for part in joined))


def iterate_dihedral(images: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the eight flips and quarter turns of square images (B, 1, P, P)."""
    for quarter in range(N_QUARTER_ROTATIONS):
        turned = torch.rot90(images, quarter, dims=(2, 3))
        yield turned
        yield turned.flip(3)


def _predict_batch(
    model: nn.Module, images: torch.Tensor, tta: TestTimeAugmentation
) -> tuple[torch.Tensor, torch.Tensor]:
    views = iterate_dihedral(images) if tta == "dihedral" else iter([images])
    logits = [torch.as_tensor(model(view)).float() for view in views]
    energy = torch.stack([-view.logsumexp(1) for view in logits]).mean(0)
    if tta == "none":
        return logits[0], energy
    mean = torch.stack([view.softmax(1) for view in logits]).mean(0)
    return mean.clamp_min(torch.finfo(torch.float32).tiny).log(), energy


def _find_last_layer(model: nn.Module) -> nn.Module:
    """Return the layer that makes logits of features, by the name that timm's settings give it."""
    settings = getattr(model, "pretrained_cfg", None)
    name = settings.get("classifier") if settings else None
    name = name if isinstance(name, str) or not name else name[0]
    layers: dict[str, nn.Module] = dict(model.named_modules())
    if not name or name not in layers:
        raise ModelError(
            type(model).__name__,
            found=f"last layer {name!r}",
            expected="a network whose last layer timm's settings name",
            action="choose another `model`",
        )
    return layers[name]


@contextmanager
def _catch_features(layer: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collect the inputs of a layer, (B, D) each, while the network runs."""
    caught: list[torch.Tensor] = []

    def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        caught.append(inputs[0].detach().flatten(1).float())

    handle = layer.register_forward_pre_hook(keep)
    try:
        yield caught
    finally:
        handle.remove()
