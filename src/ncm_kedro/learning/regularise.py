"""Blends of crops and labels: mixup and CutMix."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional

from ncm_kedro.params.tune_train import TrainParams


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
