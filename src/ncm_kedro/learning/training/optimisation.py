"""Optimiser, learning rate over time, and the average of weights.

Blends of crops and labels: mixup and CutMix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn import functional

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


def blend_batch(
    images: torch.Tensor, params: TrainParams, rng: np.random.Generator
) -> tuple[torch.Tensor, float]:
    """Blend each crop with the one at the mirrored place of the batch.

    Parameters
    ----------
    images
        (B, 1, P, P).
    params
        `mixup_alpha`, `cutmix_alpha`; with both on, one of the two is picked for each batch.
    rng
        Source of the blend; drawn on the host, so that nothing waits for the device.

    Returns
    -------
    images
        (B, 1, P, P) blended.
    share
        Share of the own label; 1 without blending.

    References
    ----------
    Mixup: Zhang et al. (2018), arXiv:1710.09412. CutMix: Yun et al. (2019), arXiv:1905.04899.
    """
    cuts = params.cutmix_alpha > 0.0 and (params.mixup_alpha == 0.0 or rng.random() < 0.5)
    alpha = params.cutmix_alpha if cuts else params.mixup_alpha
    if alpha == 0.0:
        return images, 1.0
    share = float(rng.beta(alpha, alpha))
    if not cuts:
        return images * share + images.flip(0) * (1.0 - share), share
    height, width = images.shape[-2:]
    side = math.sqrt(1.0 - share)
    row, column = rng.integers(height), rng.integers(width)
    top, bottom = _cut_span(int(row), side * height, height)
    left, right = _cut_span(int(column), side * width, width)
    blended = images.clone()
    blended[..., top:bottom, left:right] = images.flip(0)[..., top:bottom, left:right]
    return blended, 1.0 - (bottom - top) * (right - left) / (height * width)


def blended_loss(
    logits: torch.Tensor, labels: torch.Tensor, share: float, label_smoothing: float
) -> torch.Tensor:
    """Mean cross entropy against the two labels of blended crops, in nats."""
    own = functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    if share == 1.0:
        return own
    other = functional.cross_entropy(logits, labels.flip(0), label_smoothing=label_smoothing)
    return share * own + (1.0 - share) * other


def _cut_span(centre: int, length: float, size: int) -> tuple[int, int]:
    half = round(length / 2.0)
    return max(0, centre - half), min(size, centre + half)
