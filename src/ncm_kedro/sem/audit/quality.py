"""Quality of a frame: bare area, clipping, sharpness, texture, duplicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import blake2b

import cv2
import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ncm_kedro.params.sem_ingest import QualityParams
from ncm_kedro.sem.io.frames import Frames

QUALITY_COLUMNS = (
    "flat_fraction", "clipped_fraction", "sharpness", "texture_density", "content_hash",
    "near_duplicate_of",
)  # fmt: skip

_CLIPPED = (0, 255)
_MIN_TILE_PX, _TILES_ACROSS = 32, 8  # of a frame, at least
_TILE_SAMPLES = 16
_WHITE_NOISE = 0.6  # of the contrast of samples is left in means of 2 x 2; 0.5 if all is noise
_LARGEST_FACE = 5 / 8  # of the frame's shorter side
_SAME_SCALE = 1.1  # factor between pixel sizes
_STRONG_PERCENTILE = 90
_SHADING_SIGMA_PX = 8.0  # at half resolution
_GRADIENT_SIGMA_PX = 1.0  # at half resolution
_THUMBNAIL_YX = (24, 32)
_THUMBNAIL_SIGMA_PX = 4.0
_ROWS_AT_ONCE = 2048
_FRAME_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class FrameQuality:
    """Measures of one frame.

    Parameters
    ----------
    flat_fraction
        Fraction of tiles without texture (0-1): bare foil, out of range, empty.
    clipped_fraction
        Fraction of pixels at 0 or 255 (0-1).
    sharpness
        Variance of the Laplacian over that of the shading-free image (no unit): free of contrast
        and brightness, falls with defocus.
    texture_density
        ``mean(g)**2 / mean(g**2)`` of the gradient magnitude over unclipped pixels (0-1): 1 if
        texture is everywhere alike, low if a few edges stand on smooth faces.
    content_hash
        Digest of the grey values and their shape.
    """

    flat_fraction: float
    clipped_fraction: float
    sharpness: float
    texture_density: float
    content_hash: str


def assess_frames(
    frames: Frames,
    pixel_size_um: Mapping[str, float],
    params: QualityParams,
    *,
    workers: int = 1,
) -> pd.DataFrame:
    """Measure the quality of every frame.

    Parameters
    ----------
    pixel_size_um
        Edge length of a pixel (um) of each frame.

    Returns
    -------
    DataFrame
        A row per frame, sorted by ``frame_id``, with ``QUALITY_COLUMNS``; ``near_duplicate_of``
        names the first earlier frame that looks the same, null without one.
    """
    frame_ids = sorted(frames.keys())

    def measure(frame_id: str) -> tuple[FrameQuality, NDArray[np.float32], float]:
        image_yx = frames[frame_id]
        quality = measure_quality(image_yx, pixel_size_um[frame_id], params)
        return quality, make_signature(image_yx), image_yx.shape[1] * pixel_size_um[frame_id]

    with ThreadPoolExecutor(max_workers=workers) as pool:
        measured = list(pool.map(measure, frame_ids))
    table = pd.DataFrame([asdict(quality) for quality, _, _ in measured])
    table.insert(0, "frame_id", pd.Series(frame_ids, dtype="str"))
    signatures = np.stack([signature for _, signature, _ in measured])
    field_um = np.array([field for _, _, field in measured])
    first = find_near_duplicates(signatures, field_um, params.near_duplicate_correlation)
    names = [frame_ids[index] if index >= 0 else None for index in first]
    return table.assign(near_duplicate_of=pd.array(names, dtype="str"))


def measure_quality(
    image_yx: NDArray[np.uint8], pixel_size_um: float, params: QualityParams
) -> FrameQuality:
    """Measure one frame.

    Parameters
    ----------
    image_yx
        Grey values, ``(H, W)``, banner cut.
    """
    half_yx = halve(image_yx)
    return FrameQuality(
        flat_fraction=measure_flat_fraction(half_yx, 2 * pixel_size_um, params),
        clipped_fraction=float(sum((image_yx == end).mean() for end in _CLIPPED)),
        sharpness=measure_sharpness(half_yx),
        texture_density=measure_texture_density(half_yx),
        content_hash=blake2b(
            np.ascontiguousarray(image_yx).tobytes() + repr(image_yx.shape).encode(),
            digest_size=16,
        ).hexdigest(),
    )


def halve(image_yx: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Average 2 x 2 pixels, which halves the noise."""
    height, width = (side // 2 for side in image_yx.shape)
    half_yx = np.empty((height, width), np.float32)
    for row in range(0, height, _FRAME_ROWS_AT_ONCE):  # a frame may take a gigabyte
        part_yx = half_yx[row : row + _FRAME_ROWS_AT_ONCE]
        full_yx = image_yx[2 * row : 2 * (row + len(part_yx)), : 2 * width].astype(np.float32)
        cv2.resize(full_yx, (width, len(part_yx)), dst=part_yx, interpolation=cv2.INTER_AREA)
    return half_yx


def measure_flat_fraction(
    half_yx: NDArray[np.float32], half_um: float, params: QualityParams
) -> float:
    """Fraction of a frame in flat regions that are large enough to be foil.

    The frame is cut into tiles of ``tile_um``, at least 32 px and at most an eighth of the frame,
    each averaged to the same number of samples. A tile is flat if its contrast is far below the
    frame's own, or next to nothing beside white noise (which halves in the means of 2 x 2).
    Where the tiles are smaller than ``tile_um``, flat regions that do not hold a square of that
    size (at most 5/8 of the frame) are faces of grains. Contrast is the standard deviation
    within rows, which charging along the scan lines does not change.

    Parameters
    ----------
    half_yx
        Frame at half resolution, ``(H/2, W/2)``.
    half_um
        Edge length of its pixels (um).
    params
        Tile size and thresholds.
    """
    wanted = params.tile_um / half_um
    tile = round(max(min(wanted, min(half_yx.shape) / _TILES_ACROSS), _MIN_TILE_PX / 2))
    scale = min(_TILE_SAMPLES / tile, 1.0)
    height, width = (max(int(side * scale), 1) for side in half_yx.shape)
    small_yx = cv2.resize(half_yx, (width, height), interpolation=cv2.INTER_AREA)
    contrast_yx, coarse_yx = (_measure_contrast(small_yx, step) for step in (1, 2))
    strong = float(np.percentile(contrast_yx, _STRONG_PERCENTILE))
    is_flat_yx = contrast_yx < max(params.flat_contrast * strong, params.flat_level)
    is_flat_yx |= (coarse_yx < _WHITE_NOISE * contrast_yx) & (coarse_yx < params.flat_level)
    largest = max(int(_LARGEST_FACE * min(is_flat_yx.shape)), 1)
    return float(_keep_squares(is_flat_yx, min(round(wanted / tile), largest)).mean())


def _keep_squares(mask_yx: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Keep what is covered by squares that lie in a mask ``(R, C)`` as a whole."""
    if side <= 1:
        return mask_yx
    whole_yx = sliding_window_view(mask_yx, (side, side)).all(axis=(2, 3))
    kept_yx = np.zeros_like(mask_yx)
    for y, x in np.ndindex(side, side):
        kept_yx[y : y + whole_yx.shape[0], x : x + whole_yx.shape[1]] |= whole_yx
    return kept_yx


def _measure_contrast(small_yx: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Measure the standard deviation within the rows of each tile, in steps of some samples."""
    side = min(_TILE_SAMPLES, *small_yx.shape) // step * step
    rows, columns = (length // side for length in small_yx.shape)
    tiles = small_yx[: rows * side, : columns * side]
    if step > 1:
        size = (columns * side // step, rows * side // step)
        tiles = cv2.resize(tiles, size, interpolation=cv2.INTER_AREA)
    split = tiles.reshape(rows, side // step, columns, side // step)
    return np.asarray(np.sqrt(split.var(axis=3).mean(axis=1)))


def measure_sharpness(half_yx: NDArray[np.float32]) -> float:
    """Variance of the Laplacian over the variance of the shading-free image.

    After Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000, made
    independent of contrast by the denominator.

    Parameters
    ----------
    half_yx
        Frame at half resolution, ``(H/2, W/2)``.

    Returns
    -------
    float
        0 for an image without structure.
    """
    detail_yx = half_yx - cv2.GaussianBlur(half_yx, (0, 0), _SHADING_SIGMA_PX)
    variance = float(detail_yx.var())
    return float(cv2.Laplacian(half_yx, cv2.CV_32F).var()) / variance if variance > 0 else 0.0


def measure_texture_density(half_yx: NDArray[np.float32]) -> float:
    """Participation ratio of the gradient magnitude over unclipped pixels.

    Parameters
    ----------
    half_yx
        Frame at half resolution, ``(H/2, W/2)``.

    Returns
    -------
    float
        0 to 1; 0 for an image without structure.
    """
    smooth_yx = cv2.GaussianBlur(half_yx, (0, 0), _GRADIENT_SIGMA_PX)
    # not cv2.magnitude, whose last digit depends on where in memory the image lies
    gradient_yx = np.sqrt(
        cv2.Sobel(smooth_yx, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(smooth_yx, cv2.CV_32F, 0, 1) ** 2
    )
    usable = gradient_yx[(half_yx > _CLIPPED[0] + 2) & (half_yx < _CLIPPED[1] - 2)]
    power = float(np.square(usable, dtype=np.float64).mean()) if usable.size else 0.0
    return float(usable.mean(dtype=np.float64)) ** 2 / power if power > 0 else 0.0


def make_signature(image_yx: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Reduce a frame to a normalised thumbnail without shading.

    Parameters
    ----------
    image_yx
        Grey values, ``(H, W)``.

    Returns
    -------
    ndarray of float32, (768,)
        Unit length, or all zero for an image without structure.
    """
    height, width = _THUMBNAIL_YX
    small_yx = cv2.resize(
        image_yx.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA
    )
    detail = (small_yx - cv2.GaussianBlur(small_yx, (0, 0), _THUMBNAIL_SIGMA_PX)).ravel()
    detail -= detail.mean()
    norm = float(np.linalg.norm(detail))
    return np.asarray(detail / norm if norm > 1.0 else np.zeros_like(detail), dtype=np.float32)


def group_scales(pixel_size_um: NDArray[np.float64]) -> NDArray[np.intp]:
    """Group frames, ``(N,)``, by magnification: a group ends where a gap of 10 % is.

    Sharpness and texture in pixels can be compared within a group, not across.
    """
    order = np.argsort(pixel_size_um, kind="stable")
    is_new = np.diff(np.log(pixel_size_um[order])) > np.log(_SAME_SCALE)
    groups = np.empty(len(order), dtype=np.intp)
    groups[order] = np.concatenate([[0], np.cumsum(is_new)])[: len(order)]
    return groups


def find_near_duplicates(
    signatures: NDArray[np.float32], field_um: NDArray[np.float64], min_correlation: float
) -> Sequence[int]:
    """Find for each frame the first earlier one of the same field width that looks the same.

    Parameters
    ----------
    signatures
        Unit thumbnails, ``(N, D)``.
    field_um
        Width of each field of view (um).
    min_correlation
        Correlation from which two frames look the same.

    Returns
    -------
    sequence of int
        Index of the earlier frame, -1 without one.
    """
    found: list[int] = []
    for start in range(0, len(signatures), _ROWS_AT_ONCE):
        block = signatures[start : start + _ROWS_AT_ONCE]
        stop = start + len(block)
        alike = block @ signatures[:stop].T >= min_correlation
        ratio = field_um[start:stop, np.newaxis] / field_um[:stop]
        alike &= (ratio < _SAME_SCALE) & (ratio > 1 / _SAME_SCALE)
        for offset, row in enumerate(alike):
            earlier = np.flatnonzero(row[: start + offset])
            found.append(int(earlier[0]) if earlier.size else -1)
    return found
