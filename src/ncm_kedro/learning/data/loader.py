"""Batches of crops, cut by index from frames in memory; choice of device and arithmetic.

Two paths give the same image within rounding: OpenCV in threads (CPU), and index gather plus
area resampling as a matrix product (any device; nothing waits for the GPU within an epoch).
Augmentation is drawn for a whole epoch at once from (seed, epoch), one row per crop, so that it
does not depend on batch size, order or the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ncm_kedro.errors import SettingsError
from ncm_kedro.learning.data.crop_index import (
    Batch,
    CropDraws,
    CropIndex,
    GreyStatistics,
    draw_changes,
)
from ncm_kedro.learning.data.cutters import DeviceCutter, HostCutter, cut_crop
from ncm_kedro.learning.data.frame_bank import FrameBank
from ncm_kedro.params.tune_train import AugmentParams, NormaliseParams, TrainParams

_ORDER_STREAM = 1
_STATISTICS_CROPS = 2000


class BatchSource(Protocol):
    """Batches, an epoch at a time; `CropLoader` is one."""

    def __len__(self) -> int:
        """Count batches in an epoch."""
        ...

    def iterate_epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        ...


@contextmanager
def use_one_thread() -> Iterator[None]:
    """Let torch compute on one core within the block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def choose_device(device: str) -> torch.device:
    """Resolve `auto`, `cpu` or `cuda`.

    Raises
    ------
    SettingsError
        CUDA is requested and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            "device",
            found="cuda on a machine without a usable GPU",
            expected="auto, or cpu here",
            action="set `device: auto`, or install a driver that this torch build supports",
        )
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """Resolve `auto`: bfloat16 where the device computes it natively, else float32."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        capability = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        native = bool(capability.get("amx_bf16") or capability.get("avx512_bf16"))
    return torch.bfloat16 if native else torch.float32


def measure_statistics(
    bank: FrameBank, crops: CropIndex, max_crops: int = _STATISTICS_CROPS
) -> GreyStatistics:
    """Mean and standard deviation over the pixels of crops (evenly picked, at most `max_crops`)."""
    picked = np.unique(np.linspace(0, len(crops) - 1, min(len(crops), max_crops)).astype(int))
    histogram = np.zeros(256, dtype=np.int64)
    for row in picked:
        image_yx = cut_crop(
            bank, crops.frame[row], crops.x_px[row], crops.y_px[row], crops.size_px[row]
        )
        histogram += np.bincount(image_yx.reshape(-1), minlength=256)
    grey = np.arange(256) / 255.0
    mean = float((histogram * grey).sum() / histogram.sum())
    variance = float((histogram * (grey - mean) ** 2).sum() / histogram.sum())
    return GreyStatistics(mean=mean, std=max(variance**0.5, 1e-6))


class CropLoader:
    """Iterate over batches of crops, an epoch at a time.

    Parameters
    ----------
    bank, crops
        Frames in memory and the crops to cut from them.
    batch_size, input_px
        Crops in a batch; side of the network input in pixels.
    augment
        Random augmentation; none if not given (validation, test).
    normalise, statistics
        How grey values are scaled; `data_set` needs the statistics of the training crops.
    shuffle, drop_last
        Draw a new order in each epoch; omit an incomplete last batch, but not in epoch 0, in which
        nothing is trained.
    seed
        Seed of order and augmentation.
    device
        Where batches are wanted.
    path
        `opencv`: threads on the CPU; `torch`: on the device; `auto`: `torch` on CUDA and where
        OpenCV is not installed.
    threads
        Threads of the `opencv` path.

    Raises
    ------
    TableError
        A crop leaves its frame or its allowed rectangle.
    SettingsError
        CLAHE on the torch path, or `data_set` normalisation without statistics.
    """

    def __init__(
        self,
        bank: FrameBank,
        crops: CropIndex,
        *,
        batch_size: int,
        input_px: int = 224,
        augment: AugmentParams | None = None,
        normalise: NormaliseParams | None = None,
        statistics: GreyStatistics | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
        path: Literal["auto", "opencv", "torch"] = "auto",
        threads: int = 2,
    ) -> None:
        crops.check_inside(bank)
        self.bank, self.crops = bank, crops
        self.batch_size, self.input_px = batch_size, input_px
        self.augment = augment
        self.normalise = NormaliseParams() if normalise is None else normalise
        self.statistics = statistics
        self.shuffle, self.seed, self.threads = shuffle, seed, threads
        self.drop_last = drop_last and len(crops) >= batch_size
        self.device = torch.device(device)
        self.path = _choose_path(path, self.device, self.normalise)
        if self.normalise.method == "data_set" and statistics is None:
            raise SettingsError(
                "normalise.method",
                found="data_set without statistics",
                expected="mean and standard deviation of the training crops",
                action="pass the result of measure_statistics on the training crops",
            )

    def __len__(self) -> int:
        """Count batches in an epoch."""
        count = len(self.crops)
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    @property
    def fingerprint(self) -> str:
        """Text that changes with the frames, the crops and their preparation."""
        settings = (self.batch_size, self.input_px, self.augment, self.normalise, self.statistics)
        return f"{self.bank.checksum}-{self.crops.checksum}-{settings}-{self.shuffle}-{self.seed}"

    @property
    def _preparation(self) -> dict[str, Any]:
        names = ("input_px", "normalise", "statistics")
        return {name: getattr(self, name) for name in names}

    def iterate_epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of one epoch; the same epoch gives the same batches again."""
        count = len(self.crops)
        order = np.arange(count)
        if self.shuffle:
            rng = np.random.default_rng([self.seed, epoch, _ORDER_STREAM])
            order = rng.permutation(count)
        draws = draw_changes(self.crops, self.augment, seed=self.seed, epoch=epoch)
        if epoch:
            order = order[: len(self) * self.batch_size]
        if self.path == "torch":
            yield from self._iterate_device(order, draws)
        else:
            yield from self._iterate_host(order, draws)

    def _iterate_host(self, order: NDArray[np.int64], draws: CropDraws) -> Iterator[Batch]:
        cutter = HostCutter(self.bank, self.crops.frame, draws, **self._preparation)
        with ThreadPoolExecutor(self.threads) as pool:
            for start in range(0, len(order), self.batch_size):
                rows = order[start : start + self.batch_size]
                images = np.empty((len(rows), 1, self.input_px, self.input_px), np.float32)
                size = -(-len(rows) // self.threads)
                parts = [slice(at, at + size) for at in range(0, len(rows), size)]
                jobs = [pool.submit(cutter.fill, rows[part], images[part]) for part in parts]
                for job in jobs:
                    job.result()
                yield Batch(
                    images=torch.from_numpy(images).to(self.device),
                    labels=torch.from_numpy(self.crops.label[rows]).to(self.device),
                    index=torch.from_numpy(rows).to(self.device),
                )

    def _iterate_device(self, order: NDArray[np.int64], draws: CropDraws) -> Iterator[Batch]:
        frames = self.bank.to_device(self.device)
        cutter = DeviceCutter(frames, self.crops.frame, draws, **self._preparation)
        labels = torch.from_numpy(self.crops.label.copy()).to(self.device)
        order_on_device = torch.from_numpy(order).to(self.device)
        for start in range(0, len(order), self.batch_size):
            rows = order_on_device[start : start + self.batch_size]
            yield Batch(images=cutter.cut(rows), labels=labels[rows], index=rows)


def open_split_loaders(
    bank: FrameBank, train: CropIndex, validate: CropIndex, params: TrainParams
) -> tuple[CropLoader, CropLoader]:
    """Loaders of the training split (shuffled, augmented) and of the validation split.

    Grey statistics, where the normalisation needs them, come from the training split alone.

    Raises
    ------
    SettingsError
        The batch size is still to be found.
    """
    if params.batch_size == "auto":
        raise SettingsError(
            "batch_size",
            found="auto, before a network was there to find it for",
            expected="a number of crops",
            action="call fitting.choose_batch_size first",
        )
    device = choose_device(params.device)
    by_data_set = params.normalise.method == "data_set"
    statistics = measure_statistics(bank, train) if by_data_set else None
    common: dict[str, Any] = {
        "batch_size": params.batch_size,
        "input_px": params.input_px,
        "normalise": params.normalise,
        "statistics": statistics,
        "seed": params.seed,
        "device": device,
        "threads": params.loader_threads,
    }
    return (
        CropLoader(
            bank,
            train,
            augment=params.augment,
            shuffle=True,
            drop_last=params.trainable == "all",  # batch norm cannot learn from a small batch
            **common,
        ),
        CropLoader(bank, validate, **common),
    )


def _choose_path(
    path: Literal["auto", "opencv", "torch"], device: torch.device, normalise: NormaliseParams
) -> Literal["opencv", "torch"]:
    if path == "torch" and normalise.clahe:
        raise SettingsError(
            "normalise.clahe",
            found="true on the torch path",
            expected="CLAHE on the OpenCV path alone",
            action="choose path 'auto' or 'opencv', or switch CLAHE off",
        )
    if path != "auto":
        return path
    if normalise.clahe:
        return "opencv"
    return "torch" if device.type == "cuda" or find_spec("cv2") is None else "opencv"
