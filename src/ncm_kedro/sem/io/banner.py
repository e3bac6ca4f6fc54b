"""The text band that microscopes burn into the bottom of a frame.

From the bytes of an image file to 8-bit grey.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ncm_kedro.errors import FrameError
from ncm_kedro.params.sem_ingest import BannerParams

_INK_DISTANCE = 100  # grey levels between text and background
_FULL_INK = 200  # a scale bar may fill most of a row
_DARK, _BRIGHT = 0, 255


def measure_banner(image_yx: NDArray[np.uint8], params: BannerParams) -> int:
    """Measure the height of the banner.

    A banner is a run of rows at the bottom that consists mostly of one pure background (black or
    white) and print, begins and ends with rows of next to nothing else, and carries text.

    Parameters
    ----------
    image_yx
        Whole frame, ``(H, W)``.
    params
        What counts as a banner.

    Returns
    -------
    int
        Height of the banner (px), 0 without one.
    """
    height = image_yx.shape[0]
    lowest = image_yx[height - max(1, round(height * params.max_fraction)) :]
    for background in (_DARK, _BRIGHT):
        rows = measure_band(lowest, background, params)
        if rows >= params.min_height_px and _has_ink(lowest[-rows:], background):
            return rows
    return 0


def measure_band(lowest_yx: NDArray[np.uint8], background: int, params: BannerParams) -> int:
    """Count the rows, from the bottom up, of a band of one background.

    Parameters
    ----------
    lowest_yx
        Lowest rows of a frame, ``(H, W)``.
    background
        Grey value of the band, 0 or 255.
    params
        What counts as a banner.

    Returns
    -------
    int
        Rows of the band; 0 if the band does not end within the rows given.
    """
    distance_yx = np.abs(lowest_yx.astype(np.int16) - background)
    share_y = (distance_yx <= params.tolerance).mean(axis=1)
    print_y = (distance_yx >= _FULL_INK).mean(axis=1)
    below = np.flatnonzero(share_y + print_y < params.row_fraction)
    first = int(below[-1]) + 1 if below.size else 0
    clean = np.flatnonzero(share_y[first:] >= params.margin_fraction)
    if not clean.size or share_y[-1] < params.margin_fraction:
        return 0
    top = first + int(clean[0])
    return lowest_yx.shape[0] - top if top > 0 else 0


def find_background(banner_yx: NDArray[np.uint8]) -> int:
    """Tell a black banner (0) from a white one (255)."""
    return _DARK if float(np.median(banner_yx)) < _BRIGHT / 2 else _BRIGHT


def _has_ink(band_yx: NDArray[np.uint8], background: int) -> bool:
    distance = np.abs(band_yx.astype(np.int16) - background)
    return bool((distance > _INK_DISTANCE).sum(axis=1).max() > 1)


_BIT_DEPTHS = (8, 10, 12, 14, 16)
_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_WHAT_TO_DO = "copy the file again from the microscope, or remove it"


def decode_image(data: bytes, where: str) -> NDArray[np.uint8]:
    """Decode an image file to 8-bit grey.

    JPEG is decoded straight to its luminance. Colour is weighted to luminance (ITU-R BT.601),
    transparency is dropped. Deeper images are scaled by the bit depth that they use: the smallest
    of 8, 10, 12, 14 and 16 bits that holds the largest value maps to 0-255, so that frames of one
    detector keep their exposure relative to each other instead of being stretched one by one.

    Parameters
    ----------
    data
        Content of the file.
    where
        Name of the file for messages.

    Returns
    -------
    ndarray of uint8, (H, W)
        Grey values.

    Raises
    ------
    FrameError
        If the content is empty, no image, truncated, or of a kind that is not understood.
    """
    if not data:
        raise FrameError(
            where, found="an empty file (0 bytes)", expected="an image", action=_WHAT_TO_DO
        )
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format == "JPEG":
                image.draft("L", None)
            image.load()
            return _to_grey(image, where)
    except Image.UnidentifiedImageError as error:
        raise FrameError(
            where,
            found=f"{len(data)} bytes that are no image (they begin with {data[:12]!r})",
            expected="a JPEG, PNG or TIFF image",
            action=_WHAT_TO_DO,
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise FrameError(
            where,
            found=f"an image that is truncated or damaged ({error})",
            expected="a complete image",
            action=_WHAT_TO_DO,
        ) from error
    except Image.DecompressionBombError as error:
        raise FrameError(
            where,
            found=f"an implausibly large image ({error})",
            expected="a single SEM frame",
            action=_WHAT_TO_DO,
        ) from error


def scale_depth(deep_yx: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """Scale a deep grey image to 8 bit by the bit depth that it uses.

    Parameters
    ----------
    deep_yx
        Grey values, ``(H, W)``, 0 to 65535.

    Returns
    -------
    ndarray of uint8, (H, W)
        ``round(255 * value / (2**depth - 1))`` with the smallest fitting depth.
    """
    largest = int(deep_yx.max())
    depth = next(bits for bits in _BIT_DEPTHS if largest < 2**bits)
    scaled = deep_yx.astype(np.float32) * np.float32(255 / (2**depth - 1))
    return np.asarray(np.rint(scaled), dtype=np.uint8)


def _to_grey(image: Image.Image, where: str) -> NDArray[np.uint8]:
    if image.mode in _DEEP_MODES:
        deep_yx = np.asarray(image)
        if deep_yx.min() >= 0 and deep_yx.max() < 2**16:
            return scale_depth(deep_yx)
    elif image.mode != "F":
        grey_yx: NDArray[np.uint8] = np.array(image.convert("L"), dtype=np.uint8)
        return grey_yx
    raise FrameError(
        where,
        found=f"an image of mode '{image.mode}' with values that are not 8 or 16 bit",
        expected="8- or 16-bit grey or colour",
        action="export the frame as 8- or 16-bit TIFF or PNG",
    )
