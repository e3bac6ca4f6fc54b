"""Crops cut, resampled, augmented and normalised: with OpenCV on the CPU, or on any device.

On the device: index gather, resampling as a matrix product, augmentation in batches. Nothing waits
for the device: all numbers of an epoch are sent at its start.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ncm_kedro.learning.data.crop_index import CropDraws, GreyStatistics, choose_resampling
from ncm_kedro.learning.data.frame_bank import DeviceFrames, FrameBank
from ncm_kedro.params.tune_train import NormaliseParams


def cut_crop(
    bank: FrameBank, frame: int | np.int64, x_px: int, y_px: int, size_px: int
) -> NDArray[np.uint8]:
    """(S, S) view of a crop; nothing is copied."""
    return bank.view_frame(int(frame))[y_px : y_px + size_px, x_px : x_px + size_px]


def resize_crop(image_yx: NDArray[np.uint8], input_px: int) -> NDArray[np.uint8]:
    """(P, P) crop at the network's size; see `choose_resampling`."""
    import cv2

    if image_yx.shape == (input_px, input_px):
        return image_yx
    by_area = choose_resampling(image_yx.shape[0], input_px) == "area"
    method = cv2.INTER_AREA if by_area else cv2.INTER_LINEAR
    resized = cv2.resize(image_yx, (input_px, input_px), interpolation=method)
    return cast("NDArray[np.uint8]", resized)


class HostCutter:
    """Cut, resample, augment and normalise crops one by one; safe to call from several threads.

    Parameters
    ----------
    bank
        Frames in memory.
    frame
        (N,) row of each crop's frame in the bank.
    draws
        Augmentation of this epoch.
    input_px
        Side of the network input in pixels.
    normalise, statistics
        How grey values are scaled.
    """

    def __init__(
        self,
        bank: FrameBank,
        frame: NDArray[np.int64],
        draws: CropDraws,
        *,
        input_px: int,
        normalise: NormaliseParams,
        statistics: GreyStatistics | None,
    ) -> None:
        self._bank, self._frame, self._draws = bank, frame, draws
        self._input_px, self._normalise = input_px, normalise
        self._statistics = statistics

    def fill(self, rows: NDArray[np.int64], images: NDArray[np.float32]) -> None:
        """Write the crops of `rows` to `images` (B, 1, P, P)."""
        for image_nyx, row in zip(images, rows, strict=True):
            self._fill_one(int(row), image_nyx[0])

    def _fill_one(self, row: int, image_yx: NDArray[np.float32]) -> None:
        draws = self._draws
        crop_yx = cut_crop(
            self._bank, self._frame[row], draws.x_px[row], draws.y_px[row], draws.size_px[row]
        )
        if self._normalise.clahe:
            crop_yx = equalise_adaptively(crop_yx, self._normalise)
        grey_yx = resize_crop(crop_yx, self._input_px)
        if draws.transpose[row]:
            grey_yx = grey_yx.T
        if draws.mirror_x[row]:
            grey_yx = grey_yx[:, ::-1]
        if draws.mirror_y[row]:
            grey_yx = grey_yx[::-1]
        np.multiply(grey_yx, np.float32(1.0 / 255.0), out=image_yx)
        if draws.rotates:
            image_yx[:] = rotate_reflected(image_yx, float(draws.angle_deg[row]))
        if draws.regrades:
            self._regrade(image_yx, row)
        if draws.adds_noise:
            rng = np.random.default_rng(draws.noise_seed[row])
            noise = rng.standard_normal(image_yx.shape, dtype=np.float32)
            np.clip(image_yx + noise * draws.noise[row], 0.0, 1.0, out=image_yx)
        self._scale(image_yx)

    def _regrade(self, image_yx: NDArray[np.float32], row: int) -> None:
        draws = self._draws
        np.power(image_yx, draws.gamma[row], out=image_yx)
        factor, mean = draws.contrast[row], image_yx.mean()
        image_yx *= factor
        image_yx += mean * (1 - factor) + draws.brightness[row]
        np.clip(image_yx, 0.0, 1.0, out=image_yx)

    def _scale(self, image_yx: NDArray[np.float32]) -> None:
        if self._normalise.method in ("per_image", "offset"):
            image_yx -= image_yx.mean()
            if self._normalise.method == "per_image":
                image_yx /= image_yx.std() + np.float32(1e-3)
        elif self._normalise.method == "data_set" and self._statistics is not None:
            image_yx -= np.float32(self._statistics.mean)
            image_yx /= np.float32(self._statistics.std)


def rotate_reflected(image_yx: NDArray[np.float32], angle_deg: float) -> NDArray[np.float32]:
    """Rotate a square image about its centre, corners by reflection; bilinear."""
    import cv2

    size_px = image_yx.shape[0]
    centre = ((size_px - 1) / 2.0, (size_px - 1) / 2.0)
    matrix = cv2.getRotationMatrix2D(centre, angle_deg, 1.0)
    rotated = cv2.warpAffine(
        image_yx, matrix, (size_px, size_px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return cast("NDArray[np.float32]", rotated)


def equalise_adaptively(image_yx: NDArray[np.uint8], params: NormaliseParams) -> NDArray[np.uint8]:
    """Contrast-limited adaptive histogram equalisation of one crop.

    References
    ----------
    Zuiderveld (1994), Contrast limited adaptive histogram equalization, Graphics Gems IV.
    """
    import cv2

    tiles = (params.clahe_tiles, params.clahe_tiles)
    equaliser = cv2.createCLAHE(clipLimit=params.clahe_clip_limit, tileGridSize=tiles)
    return cast("NDArray[np.uint8]", equaliser.apply(np.ascontiguousarray(image_yx)))


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
    """(P, S) weights that resample S pixels to P; see `choose_resampling`.

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
    """Cut, resample, augment and normalise crops in batches on one device.

    Parameters
    ----------
    frames
        Frames on the device.
    frame, draws, input_px, normalise, statistics
        As for `HostCutter`.
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
        """(B, 1, P, P) float32 crops of `rows` (B,); the caller's autocast does not reach them."""
        with torch.autocast(self._span.device.type, enabled=False):
            return self._cut(rows)

    def _cut(self, rows: torch.Tensor) -> torch.Tensor:
        drawn = {name: values[rows] for name, values in self._table.items()}
        images = self._resample(drawn)
        images = _orient(images, drawn)
        if self._draws.rotates:
            images = rotate_reflected_batch(images, drawn["angle_deg"])
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


def rotate_reflected_batch(images: torch.Tensor, angle_deg: torch.Tensor) -> torch.Tensor:
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
