"""Networks that read the statistics of their feature maps: `ncm_texture_net`, `ncm_pooled_lite0`.

`ncm_texture_net` is for few frames and machines without a GPU. A frame of a cathode is a texture:
classes differ in the statistics of local structure (grain size, roughness, cracks, fines), not in
where it lies. So the network reads the mean and the standard deviation of every channel over the
whole crop, at two scales, into a linear layer: orderless pooling of texture (Cimpoi et al. 2015,
arXiv:1411.6836; Andrearczyk & Whelan 2016, arXiv:1601.02919), with the second moment that average
pooling discards. Its blocks are the plain residual blocks of He et al. (2016, arXiv:1512.03385):
dense 3x3 convolutions, which bfloat16 units are fastest at.

`ncm_pooled_lite0` reads EfficientNet-lite0 (timm's `tf_efficientnet_lite0`) in the same way as the
texture network: mean and log standard deviation of every channel, of the stem and the first three
of its seven stages. Later stages see objects, and tell regions apart rather than classes
(docs/tune_train.md). Its ImageNet weights come as a Python package, so that no machine is without
pretrained weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import timm
import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional

LITE0 = "tf_efficientnet_lite0"
_STD_FLOOR = 1e-4
_STAGES = 3  # stages of EfficientNet-lite that are read, after its stem


class PooledNetwork(nn.Module, ABC):
    """Reads pooled statistics of its feature maps into a linear layer."""

    map_layer: str
    """Name of the first layer that is read, which all evidence passes through."""

    def add_last_layer(
        self, num_classes: int, num_features: int, *, drop_rate: float, affine: bool
    ) -> None:
        """Add what reads the statistics; a norm that is not affine only standardises them."""
        self.num_classes, self.num_features = num_classes, num_features
        self.norm = nn.BatchNorm1d(num_features, affine=affine)
        self.drop = nn.Dropout(drop_rate)
        self.classifier = nn.Linear(num_features, num_classes)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Name layers by depth for timm, whole stages if coarse; what no name fits comes last."""
        stage = r"(?:backbone\.blocks|stages)\.(\d+)"
        stem = r"stem|backbone\.(?:conv_stem|bn1)"
        return {"stem": stem, "blocks": stage if coarse else rf"{stage}\.(\d+)"}

    @abstractmethod
    def forward_features(self, image: Tensor) -> Tensor:
        """Map images (B, C, H, W), grey / 255, to pooled statistics (B, num_features)."""

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        statistics = self.forward_features(image)
        with torch.autocast(statistics.device.type, enabled=False):
            logits: Tensor = self.classifier(self.drop(self.norm(statistics)))
        return logits


class TextureNet(PooledNetwork):
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
        self.pooled_stages = pooled_stages
        self.map_layer = f"stages.{len(depths) - pooled_stages}"
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
        n_statistics = 2 * sum(widths[-pooled_stages:])
        self.add_last_layer(num_classes, n_statistics, drop_rate=drop_rate, affine=True)

    def forward_features(self, image: Tensor) -> Tensor:
        """Map images (B, C, H, W) to pooled statistics (B, num_features)."""
        feature = self.stem(image)
        scales = []
        for stage in self.stages:
            feature = stage(feature)
            scales.append(feature)
        return torch.cat([pool_statistics(f) for f in scales[-self.pooled_stages :]], dim=1)


class PooledLite(PooledNetwork):
    """EfficientNet-lite0, read by mean and log standard deviation of its stem and first stages.

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

    map_layer = "backbone.bn1"

    def __init__(self, num_classes: int = 12, *, in_chans: int = 1, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.backbone = timm.create_model(LITE0, in_chans=in_chans, num_classes=0)
        del self.backbone.conv_head, self.backbone.bn2, self.backbone.blocks[_STAGES:]
        widths = [block[-1].bn3.num_features for block in self.backbone.blocks[1:]]
        widths += [self.backbone.bn1.num_features, self.backbone.blocks[0][-1].bn2.num_features]
        self.add_last_layer(num_classes, 2 * sum(widths), drop_rate=drop_rate, affine=False)

    def forward_features(self, image: Tensor) -> Tensor:
        """Map images (B, C, H, W), grey / 255, to pooled statistics (B, num_features)."""
        centred = 2.0 * (image - image.mean(dim=(1, 2, 3), keepdim=True))
        feature = self.backbone.bn1(self.backbone.conv_stem(centred))
        statistics = []
        for layer in (nn.Identity(), *self.backbone.blocks):
            feature = layer(feature)
            mean, std = pool_statistics(feature).chunk(2, dim=1)
            statistics += [mean, std.log()]
        return torch.cat(statistics, dim=1)


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
