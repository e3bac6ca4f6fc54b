"""Outlines drawn to the grey edge near them, particle by particle, where the edge is clear.

A star-convex outline rounds corners off. Where particle and surroundings differ by much more than
the noise, the half-way grey value within a narrow band about the predicted outline is a better
edge; inside of the band the prediction stands, so that voids and cracks stay in the particle.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

_FINE = 2  # the edge is looked for on a grid this much finer than the section's
_RING_PX = 4.0  # surroundings that the outside grey value is taken from
_LEAST_PIXELS = 12
_LEAST_AGREEMENT = 0.75  # IoU of old and new outline; a lower one tells of a stray edge


def refine_outlines(
    labels_yx: NDArray[np.int32],
    image_yx: FloatArray,
    *,
    band: float,
    smoothing_px: float,
    least_contrast: float,
) -> NDArray[np.int32]:
    """Move the outlines of particles to the grey edge where it is clear.

    Parameters
    ----------
    labels_yx
        Labels (H, W), 0 for background.
    image_yx
        Normalised section (H, W), particles brighter than their surroundings.
    band
        Half width of the band about an outline in which the edge is looked for, as a share of
        the particle's diameter.
    smoothing_px
        Standard deviation of the smoothing of the section before its edge is looked for (px).
    least_contrast
        Least difference of the inner and outer grey value, in standard deviations of the
        smoothed section on either side, for an outline to be moved.

    Returns
    -------
    ndarray of int32
        Labels of the same numbers, in one piece each and without holes.
    """
    smooth = cv2.GaussianBlur(image_yx, (0, 0), smoothing_px) if smoothing_px else image_yx
    away, nearest = ndimage.distance_transform_edt(labels_yx == 0, return_indices=True)
    owner = labels_yx[tuple(nearest)]
    refined = np.zeros_like(labels_yx)
    for number, region in enumerate(ndimage.find_objects(labels_yx), start=1):
        if region is None:
            continue
        mask = labels_yx[region] == number
        reach = band * 2 * np.sqrt(mask.sum() / np.pi)
        margin = int(np.ceil(max(reach, 2 * _RING_PX))) + 1
        window = tuple(slice(max(0, part.start - margin), part.stop + margin) for part in region)
        mask = labels_yx[window] == number
        levels = _measure_levels(smooth[window], mask, away[window], reach, least_contrast)
        if levels is not None:
            theirs = owner[window] == number
            mask = _draw_to_edge(smooth[window], mask, theirs, reach, sum(levels) / 2)
        target = refined[window]
        target[mask & (target == 0)] = number
    return refined


def _measure_levels(
    grey: FloatArray,
    mask: BoolArray,
    away: NDArray[np.float64],
    reach: float,
    least_contrast: float,
) -> tuple[float, float] | None:
    """Grey values inside and outside of an outline; None where they hardly differ."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    rim = grey[mask & (depth > reach) & (depth <= reach + _RING_PX)]
    near = ndimage.distance_transform_edt(~mask)
    ring = grey[(away > reach * 0.5) & (near > reach) & (near <= reach + _RING_PX)]
    if min(rim.size, ring.size) < _LEAST_PIXELS:
        return None
    inner, outer = float(np.percentile(rim, 60)), float(np.median(ring))
    noise = float(np.hypot(_spread(rim), _spread(ring)) / np.sqrt(2))
    return (inner, outer) if inner - outer >= least_contrast * noise else None


def _draw_to_edge(
    grey: FloatArray, mask: BoolArray, theirs: BoolArray, reach: float, level: float
) -> BoolArray:
    """Fill what is brighter than the half-way value near the outline."""
    size = (grey.shape[1] * _FINE, grey.shape[0] * _FINE)
    fine = cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC)
    soft = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5
    mine = cv2.resize(theirs.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    inner = ndimage.distance_transform_edt(soft) > reach * _FINE
    outer = ndimage.distance_transform_edt(~soft) <= reach * _FINE
    edge = (outer & mine & (fine > level)) | inner
    radius = max(1, round(reach * _FINE * 0.6))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    padded = np.pad(edge.astype(np.uint8), 2 * radius)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disc)
    filled = ndimage.binary_fill_holes(closed).astype(np.uint8)
    opened = cv2.morphologyEx(filled, cv2.MORPH_OPEN, disc)[2 * radius : -2 * radius,
                                                            2 * radius : -2 * radius]  # fmt: skip
    coarse = cv2.resize(
        (opened * mine).astype(np.float32), grey.shape[::-1], interpolation=cv2.INTER_AREA
    )
    pieces, count = ndimage.label(coarse >= 0.5)
    if count == 0:
        return mask
    moved: BoolArray = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
    agreement = (moved & mask).sum() / (moved | mask).sum()
    return moved if agreement >= _LEAST_AGREEMENT else mask


def _spread(values: FloatArray) -> float:
    low, high = np.percentile(values, [16, 84])
    return float(high - low) / 2
