"""From the candidates that agree on a particle to its outline.

Each candidate inside a particle predicts the whole outline. Their mean is better than the one
that the non-maximum suppression keeps, as its errors are partly independent; and where two
particles touch, a pixel goes to the one that more of its own candidates claim.

Outlines drawn to the grey edge near them, particle by particle, where the edge is clear.

A star-convex outline rounds corners off. Where particle and surroundings differ by much more than
the noise, the half-way grey value within a narrow band about the predicted outline is a better
edge; inside of the band the prediction stands, so that voids and cracks stay in the particle.
"""

from __future__ import annotations

import cv2
import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ncm_kedro.tomo.sections.candidates import Candidates

FloatArray = NDArray[np.float32]

_MAX_VOTERS = 256  # candidates per particle
_MARGIN_PX = 2


def vote_outlines(
    candidates: Candidates,
    winners: NDArray[np.intp],
    shape_yx: tuple[int, int],
    *,
    weights_n: FloatArray,
    agreement: float,
    central: float,
) -> NDArray[np.int32]:
    """Let all candidates of a particle vote on its pixels.

    Parameters
    ----------
    candidates
        All candidates.
    winners
        Numbers of the candidates that stand for a particle, best first.
    shape_yx
        Rows and columns of the section.
    weights_n
        Weight of each candidate's vote.
    agreement
        Share of the candidates' weight that must claim a pixel, 0 to 1.
    central
        A candidate belongs to a particle if its centre lies within this share of the winner's
        reach, 0 to 1.

    Returns
    -------
    ndarray of int32
        Labels (H, W), 1 + position in `winners`, in one piece each and without holes.
    """
    best = np.full(shape_yx, agreement, np.float32)
    labels = np.zeros(shape_yx, np.int32)
    reach = candidates.dist_nk.max(axis=1)
    for number, winner in enumerate(winners, start=1):
        voters = _find_voters(candidates, winner, weights_n, central)
        corners = candidates.points_nc[voters]
        low = np.floor((corners - reach[voters, None]).min(axis=0)).astype(int) - _MARGIN_PX
        high = np.ceil((corners + reach[voters, None]).max(axis=0)).astype(int) + _MARGIN_PX
        low, high = np.maximum(low, 0), np.minimum(high, shape_yx)
        if (high <= low).any():
            continue
        window = (slice(low[0], high[0]), slice(low[1], high[1]))
        share = count_votes(
            corners - low.astype(np.float32), candidates.dist_nk[voters],
            weights_n[voters], high[0] - low[0], high[1] - low[1],
        )  # fmt: skip
        won = share > best[window]
        best[window][won] = share[won]
        labels[window][won] = number
    return tidy_labels(labels)


def _find_voters(
    candidates: Candidates, winner: np.intp, weights_n: FloatArray, central: float
) -> NDArray[np.intp]:
    """Find candidates near the winner's centre and of about its size, those of most weight."""
    offset = candidates.points_nc - candidates.points_nc[winner]
    n_rays = candidates.dist_nk.shape[1]
    away = np.hypot(offset[:, 0], offset[:, 1])
    near = np.flatnonzero(away <= candidates.dist_nk[winner].max() * central)
    ray = np.rint(np.arctan2(offset[near, 0], offset[near, 1]) * n_rays / (2 * np.pi)).astype(int)
    inside = away[near] <= candidates.dist_nk[winner, ray % n_rays] * central
    near = near[inside]
    ratio = candidates.dist_nk[near].mean(axis=1) / candidates.dist_nk[winner].mean()
    alike = near[(ratio > 0.7) & (ratio < 1 / 0.7)]
    ranked = alike[np.argsort(-weights_n[alike], kind="stable")]
    voters: NDArray[np.intp] = ranked[:_MAX_VOTERS]
    return voters


@numba.njit(nogil=True, cache=True, error_model="numpy")
def count_votes(
    points_nc: FloatArray, dist_nk: FloatArray, weights_n: FloatArray, height: int, width: int
) -> FloatArray:
    """Return for each pixel the weighted share of polygons that hold its centre.

    Parameters
    ----------
    points_nc
        Centres (N, 2) as y, x, in px of the window.
    dist_nk
        Distances to the outline (N, n_rays).
    weights_n
        Weight of each polygon.
    height, width
        Of the window.

    Returns
    -------
    ndarray of float32
        Shares (height, width), 0 to 1.
    """
    n_rays = dist_nk.shape[1]
    angles = 2 * np.pi / n_rays * np.arange(n_rays)
    sines, cosines = np.sin(angles), np.cos(angles)
    change = np.zeros((height, width + 1))  # of the share from one pixel to the next in a row
    total = weights_n.sum()
    for n in range(len(points_nc)):
        weight = weights_n[n] / total
        y_from = points_nc[n, 0] + dist_nk[n, -1] * sines[-1]
        x_from = points_nc[n, 1] + dist_nk[n, -1] * cosines[-1]
        for k in range(n_rays):
            y_to = points_nc[n, 0] + dist_nk[n, k] * sines[k]
            x_to = points_nc[n, 1] + dist_nk[n, k] * cosines[k]
            step = -weight if y_to > y_from else weight
            first = max(0, int(np.ceil(min(y_from, y_to))))
            last = min(height, int(np.ceil(max(y_from, y_to))))
            for y in range(first, last):
                x = x_from + (y - y_from) * (x_to - x_from) / (y_to - y_from)
                change[y, min(max(int(np.ceil(x)), 0), width)] += step
            y_from, x_from = y_to, x_to
    share = np.zeros((height, width), np.float32)
    for y in range(height):
        level = 0.0
        for x in range(width):
            level += change[y, x]
            share[y, x] = level
    return share


def tidy_labels(labels_yx: NDArray[np.int32]) -> NDArray[np.int32]:
    """Keep the largest piece of each label and fill what it encloses.

    Parameters
    ----------
    labels_yx
        Labels (H, W), 0 for background.

    Returns
    -------
    ndarray of int32
        Labels of the same numbers.
    """
    tidy = np.zeros_like(labels_yx)
    for number, region in enumerate(ndimage.find_objects(labels_yx), start=1):
        if region is None:
            continue
        pieces, count = ndimage.label(labels_yx[region] == number)
        if count > 1:
            pieces = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
        filled = ndimage.binary_fill_holes(pieces > 0)
        target = tidy[region]
        target[filled & (target == 0)] = number
    return tidy


BoolArray = NDArray[np.bool_]

_FINE = 2  # the edge is looked for on a grid this much finer than the section's
_RING_PX = 4.0  # surroundings that the outside grey value is taken from
_MIN_PIXELS = 12
_MIN_AGREEMENT = 0.75  # IoU of old and new outline; a lower one tells of a stray edge


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
    if min(rim.size, ring.size) < _MIN_PIXELS:
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
    return moved if agreement >= _MIN_AGREEMENT else mask


def _spread(values: FloatArray) -> float:
    low, high = np.percentile(values, [16, 84])
    return float(high - low) / 2
