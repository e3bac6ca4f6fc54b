"""Optimiser, learning rate over time, and the average of weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ncm_kedro.params.tune_train import TrainParams

_ONE_CYCLE_FLOOR = 1e-4
_ONE_CYCLE_RISE = 0.3


def build_optimiser(
    model: nn.Module, params: TrainParams, device: torch.device
) -> torch.optim.Optimizer:
    """Adam or AdamW (Kingma & Ba 2015; Loshchilov & Hutter 2019), fused on CUDA.

    Biases and one-dimensional weights (normalisation) are not decayed.
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [w for w in trained if w.ndim > 1], "weight_decay": params.weight_decay},
        {"params": [w for w in trained if w.ndim <= 1], "weight_decay": 0.0},
    ]
    kind = torch.optim.AdamW if params.optimiser == "adamw" else torch.optim.Adam
    return kind(
        [group for group in groups if group["params"]],
        lr=params.learning_rate,
        fused=device.type == "cuda",
    )


def rate_at(step: int, n_steps: int, params: TrainParams) -> float:
    """Learning rate of a step (from 0) of `n_steps`.

    Linear warm-up, then constant, or half a cosine (Loshchilov & Hutter 2017, arXiv:1608.03983);
    `one_cycle` rises over 30 % of the steps if no `warmup_fraction` is given (Smith & Topin 2019,
    arXiv:1708.07120).
    """
    fraction = params.warmup_fraction
    if params.schedule == "one_cycle" and fraction == 0.0:
        fraction = _ONE_CYCLE_RISE
    n_warmup = round(fraction * n_steps)
    if step < n_warmup:
        return params.learning_rate * (step + 1) / n_warmup
    if params.schedule == "none":
        return params.learning_rate
    floor = _ONE_CYCLE_FLOOR if params.schedule == "one_cycle" else 0.0
    progress = (step - n_warmup) / max(1, n_steps - n_warmup)
    return params.learning_rate * (
        floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))
    )


class WeightAverage:
    """Exponential moving average of weights (Polyak & Juditsky 1992).

    Buffers are not averaged but copied: running statistics of batch normalisation that lag behind
    cost more than the average gains.

    Parameters
    ----------
    model
        Network whose weights start the average.
    decay
        Decay per step; warms up as min(decay, (1 + step) / (10 + step)).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._trained = [name for name, _ in model.named_parameters()]
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def update(self, model: nn.Module, step: int) -> None:
        """Move the average towards the present weights; copy the buffers."""
        decay = min(self._decay, (1.0 + step) / (10.0 + step))
        present = model.state_dict()
        torch._foreach_lerp_(
            [self.weights[name] for name in self._trained],
            [present[name].detach() for name in self._trained],
            1.0 - decay,
        )
        for name in self.weights.keys() - set(self._trained):
            self.weights[name].copy_(present[name])

    def load(self, weights: dict[str, torch.Tensor]) -> None:
        """Take over saved averages."""
        for name, value in weights.items():
            self.weights[name].copy_(value)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Within the context the network carries the averaged weights."""
        present = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.weights)
        try:
            yield
        finally:
            model.load_state_dict(present)
