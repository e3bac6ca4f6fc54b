"""State of a training: optimiser, schedule, average of weights, curve; checkpoints of it."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np
import torch
from timm.data import Mixup
from timm.models import group_parameters
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch import nn

from ncm_kedro.atomic_write import open_atomic
from ncm_kedro.errors import ModelError
from ncm_kedro.learning.models.predict import find_last_layer
from ncm_kedro.params.tune_train import TrainParams

_ONE_CYCLE_RISE = 0.3
_FLOORS = {"none": 1.0, "cosine": 0.0, "one_cycle": 1e-4}
_SEED_RANGE = 2**32
_LAST_STAGES = 2


@dataclass(frozen=True)
class EpochRecord:
    """Scores of one epoch; rates are fractions, losses are nats per crop."""

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
        One record per epoch, those of an interrupted run included.
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


def freeze_layers(model: nn.Module, params: TrainParams) -> None:
    """Switch gradients off for everything that is not to be trained.

    Raises
    ------
    ModelError
        The last stages are to be trained, and the network has no others.
    """
    if params.trainable == "all":
        return
    trained = {id(weight) for weight in find_last_layer(model).parameters()}
    if params.trainable == "last_stages":
        by_depth = hasattr(model, "group_matcher")
        matcher = cast("Any", model).group_matcher(coarse=True) if by_depth else {}
        stages = group_parameters(model, matcher, reverse=True)
        first = max(stages.values()) - _LAST_STAGES
        if first <= 0:
            raise ModelError(
                f"training of {params.model}",
                found=f"{max(stages.values())} stages below the last layer",
                expected=f"more than {_LAST_STAGES}, of which the last {_LAST_STAGES} are trained",
                action="set `trainable: all`, or choose another `model`",
            )
        trained |= {id(w) for name, w in model.named_parameters() if stages[name] >= first}
    for weight in model.parameters():
        weight.requires_grad_(id(weight) in trained)


def set_training_mode(model: nn.Module, params: TrainParams) -> None:
    """Put a network into training mode, its batch norms only where their statistics may move."""
    model.train()
    if params.frozen_norms or params.trainable != "all":
        for layer in model.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()


def copy_start(model: nn.Module, params: TrainParams) -> dict[nn.Parameter, torch.Tensor]:
    """Copy the weights that are pulled back to where they start; none without `l2_sp`."""
    if not params.l2_sp:
        return {}
    exempt = {id(weight) for weight in find_last_layer(model).parameters()}
    return {
        weight: weight.detach().clone()
        for weight in model.parameters()
        if weight.requires_grad and id(weight) not in exempt
    }


@torch.no_grad()
def pull_to_start(
    optimiser: torch.optim.Optimizer, start: dict[nn.Parameter, torch.Tensor], strength: float
) -> None:
    """Shrink the distance to the starting weights by 1 + rate * `strength`, after a step.

    The penalty strength / 2 * distance**2 of L2-SP (Li et al. 2018, arXiv:1802.01483)
    as an implicit step beside the optimiser's, as AdamW does with weight decay: in the gradient,
    Adam would scale it away (Loshchilov & Hutter 2019, arXiv:1711.05101). No strength is too large.
    """
    for group in optimiser.param_groups if start else ():
        pull = group["lr"] * strength
        for weight in group["params"]:
            if weight in start:
                weight.lerp_(start[weight], pull / (1.0 + pull))


def build_optimiser(
    model: nn.Module, params: TrainParams, device: torch.device
) -> torch.optim.Optimizer:
    """Adam or AdamW, fused on CUDA; biases and one-dimensional weights are not decayed.

    With `layer_decay` each group of weights has its fraction of the learning rate as `lr_scale`.
    """
    optimiser = create_optimizer_v2(
        model,
        params.optimiser,
        lr=params.learning_rate,
        weight_decay=params.weight_decay,
        layer_decay=params.layer_decay if params.layer_decay < 1.0 else None,
        fused=device.type == "cuda",
    )
    return cast("torch.optim.Optimizer", optimiser)


def rate_at(step: int, n_steps: int, params: TrainParams) -> float:
    """Learning rate of a step (from 0) of `n_steps`.

    Linear warm-up, then constant, or half a cosine (Loshchilov & Hutter 2017, arXiv:1608.03983);
    `one_cycle` rises over 30 % of the steps if no `warmup_fraction` is given (Smith & Topin 2019,
    arXiv:1708.07120). By hand: timm's scheduler takes as many lines and another warm-up.
    """
    fraction = params.warmup_fraction
    if params.schedule == "one_cycle" and fraction == 0.0:
        fraction = _ONE_CYCLE_RISE
    n_warmup = round(fraction * n_steps)
    if step < n_warmup:
        return params.learning_rate * (step + 1) / n_warmup
    progress = (step - n_warmup) / max(1, n_steps - n_warmup)
    floor = _FLOORS[params.schedule]
    return params.learning_rate * (
        floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))
    )


def build_average(model: nn.Module, params: TrainParams) -> ModelEmaV3 | None:
    """Average weights exponentially, with the decay min(`ema_decay`, (1 + step) / (10 + step)).

    Buffers are copied: running statistics of batch normalisation that lag behind cost more than
    the average gains. `update` wants step + 2, with steps counted from 0.
    """
    if not params.ema_decay:
        return None
    return ModelEmaV3(
        model,
        params.ema_decay,
        use_warmup=True,
        warmup_gamma=9.0,
        warmup_power=1.0,
        exclude_buffers=True,
    )


def build_mixup(model: nn.Module, params: TrainParams) -> Mixup | None:
    """Mixup and CutMix, one drawn for each batch if both are on; needs even batches."""
    if not params.mixup_alpha and not params.cutmix_alpha:
        return None
    return Mixup(
        params.mixup_alpha,
        params.cutmix_alpha,
        label_smoothing=params.label_smoothing,
        num_classes=cast("Any", model).num_classes,
    )


@contextmanager
def fork_generators(device: torch.device) -> Iterator[None]:
    """Restore the random state of torch and NumPy on exit."""
    state = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng([torch.cuda.current_device()] if device.type == "cuda" else []):
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


def seed_generators(seed: list[int]) -> None:
    """Seed torch, and NumPy's global generator, which timm's Mixup draws from."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(int(rng.integers(2**62)))
    np.random.seed(int(rng.integers(_SEED_RANGE)))  # noqa: NPY002


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
            found=f"a checkpoint that cannot be written ({error})",
            expected="a writable folder with room for it",
            action="free disk space or choose another folder, then run again: it resumes",
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint to the CPU; None where there is none.

    Only tensors and plain values are read, so that a file cannot run code.

    Raises
    ------
    ModelError
        The file is not a checkpoint.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, BadZipFile) as err:
        raise ModelError(
            path,
            found=f"a file that cannot be read as a checkpoint ({type(err).__name__})",
            expected="a checkpoint written by a training of this project",
            action="delete the file; training then starts from scratch",
        ) from err
    return state
