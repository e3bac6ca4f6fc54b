"""Many small auto-encoders trained at once, one batched product per layer.

Every network has the shape K -> hidden (tanh) -> d latent (sigmoid) -> hidden (tanh) -> K
(linear). Networks of fewer latent dimensions than the widest have the rest masked to 0.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ncm_kedro.learning.data.loader import use_one_thread
from ncm_kedro.params.damage_attribution import AutoencoderParams

Weights = dict[str, Tensor]
"""By layer (``encoder_in``, ``encoder_out``, ``decoder_in``, ``decoder_out``): weights
``<layer>_weight`` (M, in, out) and biases ``<layer>_bias`` (M, 1, out) of M networks."""

LAYERS = ("encoder_in", "encoder_out", "decoder_in", "decoder_out")

_LOGGER = logging.getLogger(__name__)
_CHECK_EVERY = 20
_CHUNK_ROWS = 1024
_FLOOR = 1e-6
_WIDENING = {"encoder_in": 1.0, "encoder_out": 4.0, "decoder_in": 4.0, "decoder_out": 1.0}


@dataclass(frozen=True)
class NetworkPlan:
    """One network of a batch.

    Attributes
    ----------
    dimensions
        Latent dimensions.
    split
        Which of the splits it is trained on.
    regularised
        Whether the L2 and the sparsity term count.
    start
        Number of its first weights; equal numbers and dimensions give equal weights.
    """

    dimensions: int
    split: int
    regularised: bool
    start: int


def start_weights(plans: Sequence[NetworkPlan], inputs: int, hidden: int, seed: int) -> Weights:
    """Draw first weights after Glorot and Bengio (2010).

    Those on either side of the latent dimensions are four times as wide, for a sigmoid's slope is
    1/4 at most, and what follows them is centred on the sigmoid's middle; other biases are 0. With
    plain weights the networks stay near the principal components for thousands of steps.

    Parameters
    ----------
    inputs, hidden
        Attributes and units of the hidden layers.
    seed
        Of the draws, with each network's start and dimensions.
    """
    width = max(plan.dimensions for plan in plans)
    drawn = [_draw_network(plan, inputs, hidden, width, seed) for plan in plans]
    return {
        name: torch.from_numpy(np.stack([network[name] for network in drawn])) for name in drawn[0]
    }


def encode_rows(weights: Weights, x_mnk: Tensor, mask_m1d: Tensor) -> Tensor:
    """Return the latent values (M, N, D) of rows, those beyond a network's dimensions 0.

    Parameters
    ----------
    x_mnk
        Standardised rows of each network.
    mask_m1d
        1 for a network's own dimensions, 0 beyond.
    """
    hidden = torch.tanh(_apply(weights, "encoder_in", x_mnk))
    return torch.sigmoid(_apply(weights, "encoder_out", hidden)) * mask_m1d


def decode_rows(weights: Weights, z_mnd: Tensor) -> Tensor:
    """Return standardised rows (M, N, K) from latent values."""
    return _apply(weights, "decoder_out", torch.tanh(_apply(weights, "decoder_in", z_mnd)))


def sum_squared_weights(weights: Weights) -> Tensor:
    """Return half the sum of a network's squared weights, biases excluded, (M,).

    The regulariser of MATLAB's ``trainAutoencoder``, which defines the three terms of the loss
    of Li et al. (2022). The sum is not divided by the number of weights.
    """
    return 0.5 * torch.stack(
        [weights[f"{layer}_weight"].square().sum(dim=(1, 2)) for layer in LAYERS]
    ).sum(dim=0)


def measure_sparsity(z_mnd: Tensor, mask_m1d: Tensor, target: float) -> Tensor:
    """Return the divergence of the mean activations from their target, summed, (M,).

    Kullback-Leibler divergence between coins of probability ``target`` and of the mean over the
    rows, for each latent dimension (Ng 2011, CS294A lecture notes, Sparse autoencoder; the idea
    of a sparse code: Olshausen and Field 1997).

    Parameters
    ----------
    z_mnd
        Latent values in [0, 1].
    mask_m1d
        1 for a network's own dimensions, 0 beyond.
    target
        In (0, 1).
    """
    mean = z_mnd.mean(dim=1).clamp(_FLOOR, 1.0 - _FLOOR)
    divergence = target * torch.log(target / mean) + (1.0 - target) * torch.log(
        (1.0 - target) / (1.0 - mean)
    )
    return (divergence * mask_m1d[:, 0]).sum(dim=1)


def mask_dimensions(plans: Sequence[NetworkPlan], device: str) -> Tensor:
    """Return which latent dimensions each network has, (M, 1, D) of 0 and 1.

    Parameters
    ----------
    device
        Where the mask is stored.
    """
    counts = torch.tensor([plan.dimensions for plan in plans], device=device)
    places = torch.arange(int(counts.max()), device=device)
    return (places[None, :] < counts[:, None]).to(torch.float32)[:, None, :]


def measure_errors(weights: Weights, rows_snk: Tensor, splits: Tensor, mask_m1d: Tensor) -> Tensor:
    """Return each network's squared error per value of its rows, (M,).

    Parameters
    ----------
    rows_snk
        Standardised rows of each split.
    splits
        (M,), the split of each network.
    mask_m1d
        1 for a network's own dimensions, 0 beyond.
    """
    total = torch.zeros(len(splits), device=rows_snk.device)
    with torch.no_grad():
        for chunk in torch.split(rows_snk, _CHUNK_ROWS, dim=1):
            x = chunk[splits]
            back = decode_rows(weights, encode_rows(weights, x, mask_m1d))
            total += (back - x).square().sum(dim=(1, 2))
    return total / (rows_snk.shape[1] * rows_snk.shape[2])


@use_one_thread()
def train_networks(
    plans: Sequence[NetworkPlan],
    train_snk: Tensor,
    stop_snk: Tensor,
    params: AutoencoderParams,
) -> Weights:
    """Train all networks with Adam and keep each one's weights of its best step.

    The loss is that of Li et al. (2022): squared error of a row, summed over the attributes and
    averaged over the rows, plus the L2 and the sparsity term with their weights. The best step is
    that of the smallest error of the rows held out for stopping, checked every 20 steps. One
    processor core computes: threads would wait for each other more than they help, and their
    number would change the rounding.

    Parameters
    ----------
    train_snk, stop_snk
        Standardised rows of each split, on the device that is to compute.
    params
        Shape of the networks, weights of the loss, steps, seed.
    """
    device = str(train_snk.device)
    splits = torch.tensor([plan.split for plan in plans], device=device)
    mask = mask_dimensions(plans, device)
    first = start_weights(plans, train_snk.shape[2], params.hidden, params.seed)
    weights = {name: w.to(device).requires_grad_() for name, w in first.items()}
    regularised = torch.tensor([float(plan.regularised) for plan in plans], device=device)
    optimiser = torch.optim.Adam(list(weights.values()), lr=params.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, params.steps)
    draw = _RowDraws(train_snk, params)
    best = {name: w.detach().clone() for name, w in weights.items()}
    lowest = measure_errors(best, stop_snk, splits, mask)
    for step in range(1, params.steps + 1):
        optimiser.zero_grad()
        loss = _compute_loss(weights, draw.next_rows()[splits], mask, regularised, params)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % _CHECK_EVERY == 0 or step == params.steps:
            error = measure_errors(weights, stop_snk, splits, mask)
            _keep_better(best, weights, error < lowest)
            lowest = torch.minimum(lowest, error)
        if step % max(params.steps // 10, 1) == 0:
            _LOGGER.info("%d auto-encoders: step %d of %d", len(plans), step, params.steps)
    return best


class _RowDraws:
    """Rows of the next step, drawn for each split from its own generator."""

    def __init__(self, train_snk: Tensor, params: AutoencoderParams) -> None:
        self._train = train_snk
        self._size = params.batch_rows
        self._rngs = [np.random.default_rng([params.seed, n]) for n in range(len(train_snk))]

    def next_rows(self) -> Tensor:
        count = self._train.shape[1]
        if count <= self._size:
            return self._train
        drawn = np.stack([rng.integers(0, count, self._size) for rng in self._rngs])
        places = torch.from_numpy(drawn).to(self._train.device)
        return self._train[torch.arange(len(places), device=places.device)[:, None], places]


def _compute_loss(
    weights: Weights, x_mnk: Tensor, mask: Tensor, regularised: Tensor, params: AutoencoderParams
) -> Tensor:
    """Sum over independent networks, so that each one's gradient is its own."""
    z = encode_rows(weights, x_mnk, mask)
    error = (decode_rows(weights, z) - x_mnk).square().sum(dim=2).mean(dim=1)
    penalty = params.l2_weight * sum_squared_weights(weights)
    penalty = penalty + params.sparsity_weight * measure_sparsity(z, mask, params.sparsity_target)
    return (error + regularised * penalty).sum()


def _keep_better(best: Weights, weights: Weights, better: Tensor) -> None:
    for name, kept in best.items():
        kept[better] = weights[name].detach()[better]


def _apply(weights: Weights, layer: str, x: Tensor) -> Tensor:
    return torch.baddbmm(weights[f"{layer}_bias"], x, weights[f"{layer}_weight"])


def _draw_network(
    plan: NetworkPlan, inputs: int, hidden: int, width: int, seed: int
) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng([seed, plan.start, plan.dimensions])
    d = plan.dimensions
    shapes = ((inputs, hidden), (hidden, d), (d, hidden), (hidden, inputs))
    widths = ((inputs, hidden), (hidden, width), (width, hidden), (hidden, inputs))
    network: dict[str, NDArray[np.float32]] = {}
    for layer, shape, full in zip(LAYERS, shapes, widths, strict=True):
        weight = np.zeros(full, dtype=np.float32)
        reach = _WIDENING[layer] * math.sqrt(6.0 / sum(shape))
        weight[: shape[0], : shape[1]] = rng.uniform(-reach, reach, shape)
        network[f"{layer}_weight"] = weight
        network[f"{layer}_bias"] = np.zeros((1, full[1]), dtype=np.float32)
    network["decoder_in_bias"] -= 0.5 * network["decoder_in_weight"].sum(axis=0, keepdims=True)
    return network
