"""Whether maps depend on what a network has learnt: weights are shuffled layer by layer.

The cascading randomisation of Adebayo et al. (2018, arXiv:1810.03292, section 4). Each tensor of
weights is shuffled instead of drawn anew: the random network keeps the sizes of the trained one's
weights, so that deep networks neither fade nor overflow.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import nn

TRAINED = "(as trained)"

Explain = Callable[[nn.Module], Mapping[str, NDArray[np.float32]]]
"""Returns maps (N, P, P) by kind."""


@dataclass(frozen=True)
class CascadeStep:
    """Maps after the weights of one layer more were shuffled.

    Attributes
    ----------
    layer
        Layer that was shuffled last; `TRAINED` before the first.
    correlations
        (N,) rank correlation with the maps of the trained network, by kind; NaN for empty maps.
    first_yx
        (P, P) map of the first crop, by kind.
    """

    layer: str
    correlations: Mapping[str, NDArray[np.float64]]
    first_yx: Mapping[str, NDArray[np.float32]]


def compare_cascade(network: nn.Module, explain: Explain, *, seed: int) -> list[CascadeStep]:
    """Compare maps of a trained network with those after shuffling from the last layer down.

    The first step is the trained network itself.

    Parameters
    ----------
    network
        Trained network; it is left as it is.
    explain
        Makes maps with a network.
    seed
        Seed of the shuffling.
    """
    trained = explain(network)
    steps = [_compare(TRAINED, trained, trained)]
    for layer, shuffled in iterate_shuffled(network, seed=seed):
        steps.append(_compare(layer, trained, explain(shuffled)))
    return steps


def iterate_shuffled(network: nn.Module, *, seed: int) -> Iterator[tuple[str, nn.Module]]:
    """Yield a copy of the network again and again, with one layer more shuffled each time.

    Layers are the parts that the network is made of, and the members of those that are mere lists
    (stages, blocks). They come in reverse order; the last copy has no learnt weight left.

    Parameters
    ----------
    network
        Any network.
    seed
        Seed of the shuffling.
    """
    generator = torch.Generator().manual_seed(seed)
    copied = copy.deepcopy(network)
    for name, layer in reversed(_list_layers(copied)):
        with torch.no_grad():
            for values in layer.parameters():
                order = torch.randperm(values.numel(), generator=generator).to(values.device)
                values.copy_(values.flatten()[order].view_as(values))
        yield name, copied


def shuffle_all(network: nn.Module, *, seed: int) -> nn.Module:
    """Return a copy of a network without anything learnt left in its weights."""
    *_, (_, shuffled) = iterate_shuffled(network, seed=seed)
    return shuffled


def correlate_ranks(one_yx: NDArray[np.floating], other_yx: NDArray[np.floating]) -> float:
    """Spearman's rank correlation of two maps; NaN where one of them is constant."""
    ranks = np.stack([rankdata(one_yx, axis=None), rankdata(other_yx, axis=None)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    norm = float(np.sqrt(np.prod((ranks**2).sum(axis=1))))
    return float(ranks[0] @ ranks[1]) / norm if norm > 0 else float("nan")


def _compare(
    layer: str,
    trained: Mapping[str, NDArray[np.float32]],
    maps: Mapping[str, NDArray[np.float32]],
) -> CascadeStep:
    correlations = {
        kind: np.array(
            [correlate_ranks(*pair) for pair in zip(trained[kind], maps[kind], strict=True)]
        )
        for kind in trained
    }
    return CascadeStep(layer, correlations, {kind: maps[kind][0] for kind in maps})


def _list_layers(network: nn.Module) -> list[tuple[str, nn.Module]]:
    layers: list[tuple[str, nn.Module]] = []
    for name, child in network.named_children():
        is_list = isinstance(child, nn.Sequential | nn.ModuleList)
        inner = [(f"{name}.{n}", m) for n, m in child.named_children()] if is_list else []
        layers += inner or [(name, child)]
    return [(name, layer) for name, layer in layers if any(True for _ in layer.parameters())]
