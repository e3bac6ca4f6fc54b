"""Positions of crops, and their augmentation, drawn for a whole epoch at once, as arrays."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import TableError
from ncm_kedro.learning.data.frame_bank import FrameBank
from ncm_kedro.params.tune_train import AugmentParams

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class CropIndex:
    """Positions and classes of crops.

    Parameters
    ----------
    frame
        (N,) int64, row of the frame in the bank.
    x_px, y_px, size_px
        (N,) int64, top-left corner in the frame and side, in pixels.
    label
        (N,) int64, class number.
    allowed_xyxy_px
        (N, 4) int64, rectangle x0, y0, x1, y1 (ends excluded) of the frame within which a crop's
        position is jittered; without it crops do not move.
    """

    frame: NDArray[np.int64]
    x_px: NDArray[np.int64]
    y_px: NDArray[np.int64]
    size_px: NDArray[np.int64]
    label: NDArray[np.int64]
    allowed_xyxy_px: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Count crops."""
        return len(self.frame)

    def select(self, rows: NDArray[np.bool_], label: NDArray[np.int64] | None = None) -> CropIndex:
        """Return some crops; with other labels (of those, in their order) where given."""
        allowed = self.allowed_xyxy_px
        return replace(
            self,
            frame=self.frame[rows],
            x_px=self.x_px[rows],
            y_px=self.y_px[rows],
            size_px=self.size_px[rows],
            label=self.label[rows] if label is None else label,
            allowed_xyxy_px=None if allowed is None else allowed[rows],
        )

    @classmethod
    def of_whole_frames(cls, count: int, size_px: int) -> CropIndex:
        """Return the crops that are all of N square frames, of class 0."""
        zero, size = np.zeros(count, np.int64), np.full(count, size_px, np.int64)
        return cls(np.arange(count), zero, zero, size, zero)

    @property
    def checksum(self) -> int:
        """CRC-32 of the index: identifies the crops of a checkpoint."""
        arrays = [self.frame, self.x_px, self.y_px, self.size_px, self.label]
        if self.allowed_xyxy_px is not None:
            arrays.append(self.allowed_xyxy_px.reshape(-1))
        return zlib.crc32(np.concatenate(arrays).astype(np.int64).data)

    def check_inside(self, bank: FrameBank) -> None:
        """Check that every crop and every allowed rectangle lies inside its frame.

        Raises
        ------
        TableError
            One does not, or a crop leaves its allowed rectangle.
        """
        width, height = bank.widths[self.frame], bank.heights[self.frame]
        right, low = self.x_px + self.size_px, self.y_px + self.size_px
        wrong = (self.x_px < 0) | (self.y_px < 0) | (self.size_px < 1)
        wrong |= (right > width) | (low > height)
        if self.allowed_xyxy_px is not None:
            x0, y0, x1, y1 = self.allowed_xyxy_px.T
            wrong |= (x0 < 0) | (y0 < 0) | (x1 > width) | (y1 > height)
            wrong |= (self.x_px < x0) | (self.y_px < y0) | (right > x1) | (low > y1)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise TableError(
                f"crop {row} in frame {bank.frame_ids[int(self.frame[row])]}",
                found=f"x={self.x_px[row]}, y={self.y_px[row]}, size={self.size_px[row]} px",
                expected=f"a crop inside the frame of {width[row]} x {height[row]} px and inside "
                "its allowed rectangle",
                action="run crop_augment again on the present frame store",
            )


@dataclass(frozen=True)
class SearchData:
    """Frames and the crops of the two splits that a training or a search may see."""

    bank: FrameBank
    train: CropIndex
    validate: CropIndex


def choose_resampling(size_px: int, input_px: int) -> Literal["area", "bilinear"]:
    """Choose how a crop is resampled to the network's size.

    Up to a ratio of sqrt(2) each pixel still enters bilinear sampling, which is seven times as
    fast as averaging the area and preserves more of the pixel noise (at 300 to 224 px 45 % of its
    variance instead of 32 %). Above, bilinear would alias, and the area is averaged.
    """
    return "area" if size_px**2 > 2 * input_px**2 else "bilinear"


@dataclass(frozen=True)
class GreyStatistics:
    """Mean and standard deviation of grey values, as fractions of the full range."""

    mean: float
    std: float


@dataclass(frozen=True)
class Batch:
    """Network input.

    Parameters
    ----------
    images
        (B, 1, P, P) float32.
    labels, index
        (B,) int64, class number and row in the crop index.
    """

    images: torch.Tensor
    labels: torch.Tensor
    index: torch.Tensor


_CHANGE_STREAM = 2


@dataclass(frozen=True)
class CropDraws:
    """Augmentation of each crop in one epoch; a row per crop.

    Order: cut, resize, transpose, mirror, rotate, gamma, contrast, brightness, noise.

    Parameters
    ----------
    x_px, y_px, size_px
        (N,) int64, position and side of the crop.
    transpose, mirror_x, mirror_y
        (N,) bool; together they give the eight symmetries of a square.
    angle_deg
        (N,) float32, free rotation, counter-clockwise as seen.
    gamma, contrast, brightness, noise
        (N,) float32: exponent; factor about the crop's mean; offset and standard deviation as
        fractions of the full range.
    noise_seed
        (N,) int64, seed of the noise.
    rotates, regrades, adds_noise
        Whether any crop is rotated freely, changed in grey level, made noisy.
    """

    x_px: NDArray[np.int64]
    y_px: NDArray[np.int64]
    size_px: NDArray[np.int64]
    transpose: NDArray[np.bool_]
    mirror_x: NDArray[np.bool_]
    mirror_y: NDArray[np.bool_]
    angle_deg: NDArray[np.float32]
    gamma: NDArray[np.float32]
    contrast: NDArray[np.float32]
    brightness: NDArray[np.float32]
    noise: NDArray[np.float32]
    noise_seed: NDArray[np.int64]
    rotates: bool
    regrades: bool
    adds_noise: bool


def draw_changes(
    crops: CropIndex, params: AugmentParams | None, *, seed: int, epoch: int
) -> CropDraws:
    """Draw the augmentation of one epoch; it depends on seed, epoch and row alone."""
    params = AugmentParams() if params is None else params
    uniform = np.random.default_rng([seed, epoch, _CHANGE_STREAM]).random((len(crops), 13))
    signed = 2.0 * uniform - 1.0
    x_px, y_px, size_px = _draw_positions(crops, params, uniform)
    quarter = np.floor(uniform[:, 3] * 4.0).astype(int) * int(params.rotate90)
    transpose = quarter % 2 == 1
    mirror_x = (uniform[:, 4] < 0.5) & params.flip
    mirror_y = (uniform[:, 5] < 0.5) & params.flip
    return CropDraws(
        x_px=x_px,
        y_px=y_px,
        size_px=size_px,
        transpose=transpose,
        mirror_x=mirror_x ^ ((quarter == 2) | (quarter == 3)),
        mirror_y=mirror_y ^ ((quarter == 1) | (quarter == 2)),
        angle_deg=(signed[:, 6] * params.rotation_deg).astype(np.float32),
        gamma=np.exp(-signed[:, 7] * np.log1p(-params.gamma)).astype(np.float32),
        contrast=(1.0 + signed[:, 8] * params.contrast).astype(np.float32),
        brightness=(signed[:, 9] * params.brightness).astype(np.float32),
        noise=(uniform[:, 10] * params.noise).astype(np.float32),
        noise_seed=(uniform[:, 11] * 2**53).astype(np.int64),
        rotates=params.rotation_deg > 0.0,
        regrades=max(params.gamma, params.contrast, params.brightness) > 0.0,
        adds_noise=params.noise > 0.0,
    )


def _draw_positions(
    crops: CropIndex, params: AugmentParams, uniform: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    if crops.allowed_xyxy_px is None or (
        params.position_jitter_px == 0 and params.scale_jitter == 0.0
    ):
        return crops.x_px.copy(), crops.y_px.copy(), crops.size_px.copy()
    x0, y0, x1, y1 = crops.allowed_xyxy_px.T
    scale = 1.0 + (2.0 * uniform[:, 2] - 1.0) * params.scale_jitter
    size = np.minimum(np.rint(crops.size_px * scale).astype(np.int64), np.minimum(x1 - x0, y1 - y0))
    shift = (crops.size_px - size) // 2
    corners = []
    for column, (corner, low, high) in enumerate(((crops.x_px, x0, x1), (crops.y_px, y0, y1))):
        centred = np.clip(corner + shift, low, high - size)
        first = np.maximum(centred - params.position_jitter_px, low)
        last = np.minimum(centred + params.position_jitter_px, high - size)
        corners.append(first + np.floor(uniform[:, column] * (last - first + 1)).astype(np.int64))
    return corners[0], corners[1], size
