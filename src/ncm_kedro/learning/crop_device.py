"""Crops cut on the device: index gather, resampling as a matrix product, changes in batches.

Nothing here waits for the device: all numbers of an epoch are sent at its start.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ncm_kedro.learning.augment import CropDraws
from ncm_kedro.learning.crop_index import GreyStatistics, choose_resampling
from ncm_kedro.learning.frame_bank import DeviceFrames
from ncm_kedro.params.tune_train import NormaliseParams

_NOISE_MODULUS = 2**63 - 1
_SENT = (
    "x_px",
    "y_px",
    "size_px",
    "transpose",
    "mirror_x",
    "mirror_y",
    "angle_deg",
    "gamma",
    "contrast",
    "brightness",
    "noise",
)


def build_resampling_matrix(size_px: int, input_px: int) -> NDArray[np.float32]:
    """(P, S) weights that resample S pixels to P; `choose_resampling` says how.

    A crop is resampled as ``weights @ crop @ weights.T``, which is what OpenCV's INTER_AREA and
    INTER_LINEAR compute.
    """
    scale = size_px / input_px
    pixel = np.arange(size_px, dtype=np.float64)
    if choose_resampling(size_px, input_px) == "area":
        start = np.arange(input_px)[:, None] * scale
        overlap = np.minimum(pixel + 1.0, start + scale) - np.maximum(pixel, start)
        return np.asarray(np.clip(overlap, 0.0, 1.0) / scale, dtype=np.float32)
    centre = np.clip((np.arange(input_px) + 0.5) * scale - 0.5, 0.0, size_px - 1.0)
    weights = np.clip(1.0 - np.abs(pixel - centre[:, None]), 0.0, 1.0)
    return np.asarray(weights, dtype=np.float32)


class DeviceCutter:
    """Cut, resize, change and normalise crops in batches on one device.

    Parameters
    ----------
    frames
        Frames on the device.
    frame
        (N,) row of each crop's frame in the bank.
    draws
        What happens to each crop in this epoch.
    input_px
        Side of the network input in pixels.
    normalise, statistics
        How grey values are scaled.
    """

    def __init__(
        self,
        frames: DeviceFrames,
        frame: NDArray[np.int64],
        draws: CropDraws,
        *,
        input_px: int,
        normalise: NormaliseParams,
        statistics: GreyStatistics | None,
    ) -> None:
        device = frames.pixels.device
        self._frames, self._draws = frames, draws
        self._normalise, self._statistics = normalise, statistics
        self._dtype = torch.float16 if device.type == "cuda" else torch.float32
        sizes, size_row = np.unique(draws.size_px, return_inverse=True)
        self._largest_px = int(sizes[-1])
        weights = np.zeros((len(sizes), input_px, self._largest_px), dtype=np.float32)
        for matrix, size_px in zip(weights, sizes, strict=True):
            matrix[:, :size_px] = build_resampling_matrix(int(size_px), input_px)
        self._weights = torch.from_numpy(weights).to(device, self._dtype)
        self._span = torch.arange(self._largest_px, device=device)
        table = {"frame": frame, "size_row": size_row}
        table |= {name: getattr(draws, name) for name in _SENT}
        self._table = {
            name: torch.from_numpy(np.array(values)).to(device) for name, values in table.items()
        }
        self._generator = torch.Generator(device).manual_seed(
            int(np.bitwise_xor.reduce(draws.noise_seed)) % _NOISE_MODULUS
        )

    def cut(self, rows: torch.Tensor) -> torch.Tensor:
        """(B, 1, P, P) float32 crops of `rows` (B,)."""
        drawn = {name: values[rows] for name, values in self._table.items()}
        images = self._resample(drawn)
        images = _orient(images, drawn)
        if self._draws.rotates:
            images = rotate_reflected(images, drawn["angle_deg"])
        if self._draws.regrades:
            images = _regrade(images, drawn)
        if self._draws.adds_noise:
            noise = torch.empty_like(images).normal_(generator=self._generator)
            images = (images + noise * (255.0 * _per_crop(drawn["noise"]))).clamp(0.0, 255.0)
        return self._scale(images)

    def _resample(self, drawn: dict[str, torch.Tensor]) -> torch.Tensor:
        """(B, 1, P, P) grey values 0 to 255, cut and resized."""
        inside = torch.minimum(self._span, drawn["size_px"][:, None] - 1)
        row_start = (
            self._frames.offsets[drawn["frame"]][:, None]
            + (drawn["y_px"][:, None] + inside) * self._frames.widths[drawn["frame"]][:, None]
        )
        index = row_start[:, :, None] + (drawn["x_px"][:, None] + inside)[:, None, :]
        crops = self._frames.pixels[index].to(self._dtype)
        weights = self._weights[drawn["size_row"]]
        resized = torch.bmm(torch.bmm(weights, crops), weights.transpose(1, 2))
        return resized.float()[:, None]

    def _scale(self, images: torch.Tensor) -> torch.Tensor:
        scaled = images / 255.0
        if self._normalise.method in ("per_image", "offset"):
            centred = scaled - scaled.mean(dim=(2, 3), keepdim=True)
            if self._normalise.method == "offset":
                return centred
            return centred / (scaled.std(dim=(2, 3), keepdim=True, correction=0) + 1e-3)
        if self._normalise.method == "data_set" and self._statistics is not None:
            return (scaled - self._statistics.mean) / self._statistics.std
        return scaled


def rotate_reflected(images: torch.Tensor, angle_deg: torch.Tensor) -> torch.Tensor:
    """Rotate square images (B, 1, P, P) about their centres, corners filled by reflection."""
    angle = torch.deg2rad(angle_deg)
    cosine, sine, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    theta = torch.stack(
        [torch.stack([cosine, -sine, zero], 1), torch.stack([sine, cosine, zero], 1)], 1
    )
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def _per_crop(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None]


def _orient(images: torch.Tensor, drawn: dict[str, torch.Tensor]) -> torch.Tensor:
    images = torch.where(_per_crop(drawn["transpose"]), images.transpose(2, 3), images)
    images = torch.where(_per_crop(drawn["mirror_x"]), images.flip(3), images)
    return torch.where(_per_crop(drawn["mirror_y"]), images.flip(2), images)


def _regrade(images: torch.Tensor, drawn: dict[str, torch.Tensor]) -> torch.Tensor:
    changed = 255.0 * (images / 255.0) ** _per_crop(drawn["gamma"])
    mean = changed.mean(dim=(2, 3), keepdim=True)
    changed = (changed - mean) * _per_crop(drawn["contrast"]) + mean
    return (changed + 255.0 * _per_crop(drawn["brightness"])).clamp(0.0, 255.0)
