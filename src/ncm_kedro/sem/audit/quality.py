"""Quality of a frame: bare area, clipping, sharpness, texture, duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import blake2b

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.params.sem_ingest import QualityParams
from ncm_kedro.sem.io.frames import Frames

QUALITY_COLUMNS = (
    "flat_fraction", "clipped_fraction", "sharpness", "texture_density", "content_hash",
    "near_duplicate_of",
)  # fmt: skip

_CLIPPED = (0, 255)
_STRONG_PERCENTILE = 90
_SHADING_SIGMA_PX = 8.0  # at half resolution
_GRADIENT_SIGMA_PX = 1.0  # at half resolution
_THUMBNAIL_YX = (24, 32)
_THUMBNAIL_SIGMA_PX = 4.0
_ROWS_AT_ONCE = 2048


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


def assess_frames(frames: Frames, params: QualityParams, *, workers: int = 1) -> pd.DataFrame:
    """Measure the quality of every frame.

    Returns
    -------
    DataFrame
        A row per frame, sorted by ``frame_id``, with ``QUALITY_COLUMNS``; ``near_duplicate_of``
        names the first earlier frame that looks the same, null without one.
    """
    frame_ids = sorted(frames.keys())

    def measure(frame_id: str) -> tuple[FrameQuality, NDArray[np.float32]]:
        image_yx = frames[frame_id]
        return measure_quality(image_yx, params), make_signature(image_yx)

    with ThreadPoolExecutor(max_workers=workers) as pool:
        measured = list(pool.map(measure, frame_ids))
    table = pd.DataFrame([asdict(quality) for quality, _ in measured])
    table.insert(0, "frame_id", pd.Series(frame_ids, dtype="str"))
    signatures = np.stack([signature for _, signature in measured])
    first = find_near_duplicates(signatures, params.near_duplicate_correlation)
    names = [frame_ids[index] if index >= 0 else None for index in first]
    return table.assign(near_duplicate_of=pd.array(names, dtype="str"))


def measure_quality(image_yx: NDArray[np.uint8], params: QualityParams) -> FrameQuality:
    """Measure one frame.

    Parameters
    ----------
    image_yx
        Grey values, ``(H, W)``.
    """
    half_yx = halve(image_yx)
    return FrameQuality(
        flat_fraction=measure_flat_fraction(half_yx, params),
        clipped_fraction=float(np.isin(image_yx, _CLIPPED).mean()),
        sharpness=measure_sharpness(half_yx),
        texture_density=measure_texture_density(half_yx),
        content_hash=blake2b(
            np.ascontiguousarray(image_yx).tobytes() + repr(image_yx.shape).encode(),
            digest_size=16,
        ).hexdigest(),
    )


def halve(image_yx: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Average 2 x 2 pixels, which halves the noise."""
    height, width = image_yx.shape
    return np.asarray(
        cv2.resize(
            image_yx.astype(np.float32), (width // 2, height // 2), interpolation=cv2.INTER_AREA
        )
    )


def measure_flat_fraction(half_yx: NDArray[np.float32], params: QualityParams) -> float:
    """Fraction of tiles whose contrast is far below the frame's own, or next to nothing.

    Parameters
    ----------
    half_yx
        Frame at half resolution, ``(H/2, W/2)``.
    params
        Tile size (px of the full frame) and thresholds.
    """
    side = min(max(params.tile_px // 2, 2), *half_yx.shape)
    rows, columns = half_yx.shape[0] // side, half_yx.shape[1] // side
    tiles = half_yx[: rows * side, : columns * side].reshape(rows, side, columns, side)
    contrast = tiles.std(axis=(1, 3))
    strong = float(np.percentile(contrast, _STRONG_PERCENTILE))
    return float((contrast < max(params.flat_contrast * strong, params.flat_level)).mean())


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


def find_near_duplicates(signatures: NDArray[np.float32], min_correlation: float) -> Sequence[int]:
    """Find for each frame the first earlier one that looks the same.

    Parameters
    ----------
    signatures
        Unit thumbnails, ``(N, D)``.
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
        alike = block @ signatures[: start + len(block)].T >= min_correlation
        for offset, row in enumerate(alike):
            earlier = np.flatnonzero(row[: start + offset])
            found.append(int(earlier[0]) if earlier.size else -1)
    return found
