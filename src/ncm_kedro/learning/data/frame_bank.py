"""All frames as one flat block of bytes, in host memory and, on demand, on the device.

Frames may differ in size; a frame is found by its offset, height and width. One block can be
shared between processes without a copy and indexed on a GPU without a loop over frames.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import FrameError, TableError

if TYPE_CHECKING:
    import torch

_GROWTH = 1.25


@dataclass(frozen=True)
class DeviceFrames:
    """A frame bank as tensors on one device.

    Parameters
    ----------
    pixels
        (T,) uint8, all frames, row by row, one after the other.
    offsets, widths
        (F,) int64, first pixel of each frame in `pixels` and its width.
    """

    pixels: torch.Tensor
    offsets: torch.Tensor
    widths: torch.Tensor


@dataclass(frozen=True, eq=False)
class FrameBank:
    """All frames in host memory.

    Parameters
    ----------
    pixels
        (T,) uint8, all frames, row by row, one after the other.
    heights, widths
        (F,) int64, size of each frame in pixels.
    frame_ids
        Names of the frames, in the same order.
    """

    pixels: NDArray[np.uint8]
    heights: NDArray[np.int64]
    widths: NDArray[np.int64]
    frame_ids: tuple[str, ...]

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """(F,) first pixel of each frame in `pixels`."""
        ends = np.cumsum(self.heights * self.widths)
        return np.concatenate([[0], ends[:-1]]).astype(np.int64)

    @cached_property
    def checksum(self) -> int:
        """CRC-32 of all pixels: identifies the frames of a checkpoint."""
        return zlib.crc32(self.pixels.data)

    def __len__(self) -> int:
        """Count frames."""
        return len(self.frame_ids)

    def view_frame(self, index: int) -> NDArray[np.uint8]:
        """(H, W) view of one frame; nothing is copied."""
        start = int(self.offsets[index])
        height, width = int(self.heights[index]), int(self.widths[index])
        return self.pixels[start : start + height * width].reshape(height, width)

    def find_rows(self, frame_ids: Sequence[str]) -> NDArray[np.int64]:
        """(N,) position in the bank of each named frame.

        Raises
        ------
        TableError
            A name is not in the bank.
        """
        rows = {frame_id: row for row, frame_id in enumerate(self.frame_ids)}
        unknown = sorted(set(frame_ids) - rows.keys())
        if unknown:
            raise TableError(
                unknown[0],
                found=f"{len(unknown)} frame_id(s) of the crop table that no frame has",
                expected="crops cut from the frames of this store",
                action="run sem_ingest and crop_augment again, in this order",
            )
        return np.array([rows[frame_id] for frame_id in frame_ids], dtype=np.int64)

    def to_device(self, device: torch.device) -> DeviceFrames:
        """Copy the frames to `device` as uint8, once while the bank is in use."""
        import torch

        there = _ON_DEVICE.setdefault(self, {})
        if device not in there:
            writeable = self.pixels if self.pixels.flags.writeable else self.pixels.copy()
            with torch.inference_mode(False):  # training reads what a prediction may have sent
                there[device] = DeviceFrames(
                    pixels=torch.from_numpy(writeable).to(device),
                    offsets=torch.from_numpy(self.offsets.copy()).to(device),
                    widths=torch.from_numpy(self.widths.copy()).to(device),
                )
        return there[device]


_ON_DEVICE: WeakKeyDictionary[FrameBank, dict[torch.device, DeviceFrames]] = WeakKeyDictionary()


def build_frame_bank(
    frames: Mapping[str, NDArray[np.uint8]], frame_ids: Sequence[str] | None = None
) -> FrameBank:
    """Read frames into one block, each once.

    The block grows in place, so that the peak stays below twice the size of the frames.

    Parameters
    ----------
    frames
        Grey frames (H, W) uint8 by name.
    frame_ids
        Frames to read; all of them, sorted by name, if not given.

    Raises
    ------
    FrameError
        There is no frame, or one is not a two-dimensional uint8 array.
    """
    names = tuple(sorted(frames.keys()) if frame_ids is None else frame_ids)
    if not names:
        raise FrameError(
            "frame bank", found="no frame", expected="at least one", action="check sem_ingest"
        )
    block = np.empty(0, dtype=np.uint8)
    heights, widths = np.zeros((2, len(names)), dtype=np.int64)
    used = 0
    for row, name in enumerate(names):
        image_yx = _check_frame(name, frames[name])
        heights[row], widths[row] = image_yx.shape
        needed = used + image_yx.size
        if needed > block.size:
            guess = image_yx.size * len(names) if row == 0 else int(needed * _GROWTH)
            block.resize(max(needed, guess), refcheck=False)
        block[used:needed] = image_yx.reshape(-1)
        used = needed
    block.resize(used, refcheck=False)
    return FrameBank(pixels=block, heights=heights, widths=widths, frame_ids=names)


def _check_frame(name: str, image_yx: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if image_yx.ndim != 2 or image_yx.dtype != np.uint8:
        raise FrameError(
            name,
            found=f"an array of shape {image_yx.shape} and type {image_yx.dtype}",
            expected="a grey frame (H, W) of uint8",
            action="run sem_ingest again to rebuild the frame store",
        )
    return image_yx
