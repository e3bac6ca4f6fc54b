"""The star-convex network in torch: the way onto a GPU where onnxruntime has none."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ncm_kedro.tomo.network_files import NetworkShape, Weights


class StarNetwork(nn.Module):
    """U-Net with a probability and a distance output, weights as in the StarDist2D folder.

    Parameters
    ----------
    shape
        What the network looks like.
    weights
        Kernel and bias of each layer, kernels as (height, width, channels in, channels out).
    """

    def __init__(self, shape: NetworkShape, weights: Weights) -> None:
        super().__init__()
        self._shape = shape
        self._layers = nn.ModuleDict()
        for name, edge, channels, out in shape.list_layers():
            layer = nn.Conv2d(channels, out, edge, padding=edge // 2)
            kernel, bias = weights[name]
            kernel_oihw = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
            layer.weight = nn.Parameter(torch.from_numpy(kernel_oihw))
            layer.bias = nn.Parameter(torch.from_numpy(bias.copy()))
            self._layers[name] = layer
        self.requires_grad_(requires_grad=False)
        self.eval()

    def forward(self, sections_nchw: Tensor) -> tuple[Tensor, Tensor]:
        """Predict probability (N, 1, H/g, W/g) and distances (N, n_rays, H/g, W/g)."""
        shape, top = self._shape, sections_nchw
        for level in range(shape.grid_px.bit_length() - 1):
            for number in range(shape.convolutions):
                top = self._convolve(f"grid_level_{level}_no_{number}", top)
            top = nn.functional.max_pool2d(top, 2)
        skipped = []
        for level in range(shape.depth):
            for number in range(shape.convolutions):
                top = self._convolve(f"down_level_{level}_no_{number}", top)
            skipped.append(top)
            top = nn.functional.max_pool2d(top, 2)
        numbers = (*range(shape.convolutions - 1), shape.convolutions)
        for number in numbers:
            top = self._convolve(f"middle_{number}", top)
        for level in reversed(range(shape.depth)):
            top = torch.cat([nn.functional.interpolate(top, scale_factor=2), skipped[level]], 1)
            for number in numbers:
                top = self._convolve(f"up_level_{level}_no_{number}", top)
        if shape.features:
            top = self._convolve("features", top)
        return torch.sigmoid(self._layers["prob"](top)), self._layers["dist"](top)

    def _convolve(self, name: str, top: Tensor) -> Tensor:
        result: Tensor = nn.functional.relu(self._layers[name](top), inplace=True)
        return result
