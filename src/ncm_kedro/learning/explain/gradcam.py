"""Where a network looks: Grad-CAM, coarse, and guided Grad-CAM, at the resolution of the image.

Grad-CAM weighs the last feature map by the gradient of a class's logit (Selvaraju et al. 2017,
arXiv:1610.02391, Eq. 1-2). Two weightings are offered. `mean` is the published one: a channel
weighs as much as its mean gradient. `element` lets each position weigh by its own gradient
(Draelos & Carin 2020, arXiv:2011.08891). For a network that averages its last map before a linear
layer, such as EfficientNet, both are the same. A network that reads the spread of its channels,
such as `ncm_texture_net`, has gradients of mean zero for it: there `mean` would miss that part of
the evidence altogether.

Dependence on what a network has learnt: cascading randomisation (Adebayo et al. 2018,
arXiv:1810.03292, section 4). Each tensor of weights is shuffled instead of drawn again: the random
network retains the sizes of the trained one's weights, so that deep networks neither fade nor
overflow.

captum 0.9 gives the same coarse maps to the bit at 1.0 to 1.5 times the cost, in as many lines, and
has no guided gradient for SiLU: it is no dependency.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.data.loader import choose_device
from ncm_kedro.learning.explain.maps import TRAINED, AttributionMaps, CascadeStep
from ncm_kedro.learning.models.pooled import PooledNetwork
from ncm_kedro.params.sem_explain import MapWeighting

Explain = Callable[[nn.Module], Mapping[str, NDArray[np.float32]]]
"""Returns maps (N, P, P) by kind."""

_N_MAP_DIMS = 4
_ACTIVATIONS: frozenset[Callable[..., Any]] = frozenset(
    {
        *(functional.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, functional.relu6),
        *(functional.silu, functional.gelu, functional.mish, functional.hardswish),
        *(functional.leaky_relu, functional.elu, functional.hardtanh),  # the last one is ReLU6
    }
)


def explain_crops(
    network: nn.Module,
    images_nyx: NDArray[np.float32],
    classes: NDArray[np.integer] | Sequence[int],
    *,
    weighting: MapWeighting = "element",
    device: str = "auto",
    batch_size: int = 16,
) -> AttributionMaps:
    """Map the evidence for a class in each image; the network itself is not changed.

    Parameters
    ----------
    network
        Maps images (B, 1, P, P) to logits (B, K); a copy of it is used, in evaluation mode.
    images_nyx
        (N, P, P) network input.
    classes
        (N,) number of the class to explain, 0 to K - 1.
    weighting
        `mean` or `element`, see the head of this module.
    device
        Where the network runs.
    batch_size
        Images at once; the maps do not depend on it.

    Raises
    ------
    ModelError
        The network has no feature map, or no known activation.
    """
    where = choose_device(device)
    copied = copy.deepcopy(network).to(where).eval().requires_grad_(False)
    layer = find_map_layer(copied, images_nyx.shape[-1])
    targets = torch.as_tensor(np.asarray(classes, dtype=np.int64))
    coarse, fine = [], []
    for start in range(0, len(images_nyx), batch_size):
        part = slice(start, start + batch_size)
        images = torch.from_numpy(np.array(images_nyx[part, None], np.float32)).to(where)
        wanted = targets[part].to(where)
        coarse.append(_map_features(copied, layer, images, wanted, weighting).cpu())
        fine.append(differentiate_guided(copied, images, wanted).cpu())
    size = images_nyx.shape[-2:]
    small = torch.cat(coarse)
    maps = functional.interpolate(small, size=size, mode="bilinear", align_corners=False)
    return AttributionMaps(
        grad_cam_nyx=maps[:, 0].numpy(),
        guided_nyx=(maps * torch.cat(fine))[:, 0].numpy(),
        cell_px=size[-1] / small.shape[-1],
    )


def find_map_layer(network: nn.Module, input_px: int) -> str:
    """Name the last layer that all evidence passes through and that still has positions.

    For networks that read several stages (`PooledNetwork`) this is the
    first of them: the later ones see the image through it. For any other network it is what last
    yields maps of more than one position.

    Parameters
    ----------
    network
        Maps images (B, 1, P, P) to logits, in evaluation mode.
    input_px
        Side of the images.

    Raises
    ------
    ModelError
        Its features are not maps (B, C, H, W), as in transformers.
    """
    if isinstance(network, PooledNetwork):
        return network.map_layer
    device = next(network.parameters()).device
    probe = torch.zeros(1, 1, input_px, input_px, device=device)
    seen: list[str] = []
    watchers = {name: partial(_note_map, seen, name) for name, _ in network.named_modules()}
    with torch.no_grad(), _hooked(network, watchers):
        network(probe)
        features = getattr(network, "forward_features", lambda _: probe)(probe)
    is_map = features.ndim == _N_MAP_DIMS and getattr(network, "output_fmt", "NCHW") == "NCHW"
    if not seen or not is_map:
        raise ModelError(
            type(network).__name__,
            found="a network whose last features are not maps (batch, channels, height, width)",
            expected="a convolutional network, such as tf_efficientnet_b7 or ncm_texture_net",
            action="train a convolutional network with tune_train to have it explained",
        )
    return seen[-1]


def differentiate_guided(network: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Gradient of logits by the image, let through where activation and gradient are positive.

    For ReLU this is guided backpropagation (Springenberg et al. 2015, arXiv:1412.6806). Smooth
    activations (SiLU in EfficientNet, GELU) are gated in the same way, by the sign of what they
    yield, and keep their own slope.

    Parameters
    ----------
    network
        Maps images (B, 1, P, P) to logits, in evaluation mode.
    images, classes
        (B, 1, P, P) and (B,).

    Returns
    -------
    torch.Tensor
        (B, 1, P, P), logits per unit of input.

    Raises
    ------
    ModelError
        No activation is of a known kind: nothing would be gated.
    """
    watched = images.detach().clone().requires_grad_()
    with torch.enable_grad(), _GuidedActivations() as gates:
        score = _sum_scores(network(watched * 1.0), classes)
    if not gates.count:
        raise ModelError(
            type(network).__name__,
            found="no activation that guided gradients are defined for",
            expected="ReLU, SiLU, GELU or a relative of theirs",
            action="explain a network with such activations",
        )
    return torch.autograd.grad(score, watched)[0]


class _GuidedActivations(TorchFunctionMode):
    """Puts a gate behind every activation, whether a module or a function call; counts them."""

    count = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func not in _ACTIVATIONS:
            return result
        self.count += 1
        return _PositiveGate.apply(result)


class _PositiveGate(torch.autograd.Function):
    """Passes values on; passes gradients back where value and gradient are positive."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.save_for_backward(value > 0)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (is_open,) = ctx.saved_tensors
        gated: Tensor = gradients[0].clamp_min(0.0) * is_open
        return gated


def _map_features(
    network: nn.Module, layer: str, images: Tensor, classes: Tensor, weighting: MapWeighting
) -> Tensor:
    """Grad-CAM (B, 1, h, w) at the resolution of the layer."""
    caught: list[Tensor] = []
    with torch.enable_grad(), _hooked(network, {layer: partial(_catch_feature, caught)}):
        score = _sum_scores(network(images), classes)
    (gradient,) = torch.autograd.grad(score, caught[0])
    weight = gradient.mean(dim=(2, 3), keepdim=True) if weighting == "mean" else gradient
    return (weight * caught[0].detach()).sum(dim=1, keepdim=True).relu()


def _sum_scores(logits: Tensor, classes: Tensor) -> Tensor:
    """Sum of the wanted logits: images do not mix, so its gradient is each image's own."""
    return logits.gather(1, classes[:, None]).sum()


@contextmanager
def _hooked(network: nn.Module, hooks: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """Hold forward hooks on named layers, and remove them on exit."""
    handles = [network.get_submodule(n).register_forward_hook(h) for n, h in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _note_map(seen: list[str], name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
    if isinstance(output, Tensor) and output.ndim == _N_MAP_DIMS and min(output.shape[2:]) > 1:
        seen.append(name)


def _catch_feature(
    caught: list[Tensor], _module: nn.Module, _inputs: Any, output: Tensor
) -> Tensor:
    """Cut the graph at the layer; what follows gets a copy, which it may change in place."""
    caught.append(output.detach().requires_grad_())
    return caught[-1].clone()


def compare_cascade(network: nn.Module, explain: Explain, *, seed: int) -> list[CascadeStep]:
    """Compare maps of a trained network with those after shuffling from the last layer down.

    The first step is the trained network itself.

    Parameters
    ----------
    network
        Trained network; it is not changed.
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
    """Yield a copy of the network for each layer, with one layer more shuffled each time.

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
    """Return a copy of a network with all its weights shuffled."""
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
