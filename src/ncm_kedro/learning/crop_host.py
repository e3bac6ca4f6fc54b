"""Crops cut on the CPU with OpenCV."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.learning.augment import CropDraws
from ncm_kedro.learning.crop_index import GreyStatistics, choose_resampling
from ncm_kedro.learning.frame_bank import FrameBank
from ncm_kedro.params.tune_train import NormaliseParams


def cut_crop(
    bank: FrameBank, frame: int | np.int64, x_px: int, y_px: int, size_px: int
) -> NDArray[np.uint8]:
    """(S, S) view of a crop; nothing is copied."""
    return bank.view_frame(int(frame))[y_px : y_px + size_px, x_px : x_px + size_px]


def resize_crop(image_yx: NDArray[np.uint8], input_px: int) -> NDArray[np.uint8]:
    """(P, P) crop at the network's size; `choose_resampling` says how."""
    import cv2  # noqa: PLC0415  optional: the torch path does without

    if image_yx.shape == (input_px, input_px):
        return image_yx
    by_area = choose_resampling(image_yx.shape[0], input_px) == "area"
    method = cv2.INTER_AREA if by_area else cv2.INTER_LINEAR
    resized = cv2.resize(image_yx, (input_px, input_px), interpolation=method)
    return cast("NDArray[np.uint8]", resized)


class HostCutter:
    """Cut, resize, change and normalise crops one by one; safe to call from several threads.

    Parameters
    ----------
    bank
        Frames in memory.
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
    """Rotate a square image about its centre, corners filled by reflection; bilinear."""
    import cv2  # noqa: PLC0415  optional: the torch path does without

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
    import cv2  # noqa: PLC0415  optional: the torch path does without

    tiles = (params.clahe_tiles, params.clahe_tiles)
    equaliser = cv2.createCLAHE(clipLimit=params.clahe_clip_limit, tileGridSize=tiles)
    return cast("NDArray[np.uint8]", equaliser.apply(np.ascontiguousarray(image_yx)))
