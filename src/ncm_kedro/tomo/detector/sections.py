"""Particles in a single section: found by the network, outlined by vote and by the grey edge.

A star-convex outline rounds corners off. Where particle and surroundings differ by much more than
the noise, the half-way grey value within a narrow band about the predicted outline is a better
edge; inside of the band the prediction stands, so that voids and cracks stay in the particle.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ncm_kedro.errors import SettingsError
from ncm_kedro.params.tomo_segment import SectionSegmentParams
from ncm_kedro.tomo.detector.candidates import (
    Candidates,
    join_candidates,
    predict_candidates,
    suppress_overlaps,
    vote_outlines,
)
from ncm_kedro.tomo.detector.detector import TRAINING_DIAMETERS_PX, Detector
from ncm_kedro.tomo.volumes.volume import measure_grey_range, normalise_sections

FloatArray = NDArray[np.float32]

_LADDER = (2.0, 1.0, 0.5, 0.25, 0.125)  # scales at which the particle size is looked for
_MAX_MPX = 8.0  # of an enlarged section
_MIN_EDGE_PX = 48
_CONFIDENCE_POWER = 5
_LARGEST_SHARE = 0.4  # of the section's shorter edge that a typical particle may span
_MEGA = 1e6


@dataclass(frozen=True)
class SectionInstances:
    """Particles in a section.

    Attributes
    ----------
    labels_yx
        Particle numbers (H, W), 0 for background; 1..n in the order of the other arrays.
    prob_n
        Predicted probability, 0 to 1.
    points_nc
        Centres (n, 2) as y, x in px.
    polygons_nkc
        Star-convex outlines (n, n_rays, 2) as y, x in px, before the vote on pixels.
    particle_px
        Typical diameter that the scale was chosen for.
    """

    labels_yx: NDArray[np.int32]
    prob_n: FloatArray
    points_nc: FloatArray
    polygons_nkc: FloatArray
    particle_px: float


def segment_section(
    image_yx: NDArray[np.generic],
    detector: Detector,
    params: SectionSegmentParams | None = None,
    *,
    grey_range: tuple[float, float] | None = None,
) -> SectionInstances:
    """Find and outline the particles of one section.

    Parameters
    ----------
    image_yx
        Grey values (H, W) of any type.
    params
        How; the defaults if None.
    grey_range
        Grey values of the low and high percentile of the whole volume; measured on the section
        if None.

    Returns
    -------
    SectionInstances
        Labels at the section's own resolution.

    Raises
    ------
    SettingsError
        If the image is not a two-dimensional grey image with finite, varying values.
    """
    params = params or SectionSegmentParams()
    grey = _normalise(image_yx, grey_range)
    particle_px = params.particle_px or estimate_particle_px(grey, detector)
    candidates, scores = _collect_candidates(grey, detector, particle_px, params)
    winners = suppress_overlaps(
        candidates, max_overlap=params.max_overlap or detector.nms_threshold, scores_n=scores
    )
    winners = winners[candidates.diameters_px[winners] >= params.min_diameter_px]
    labels = vote_outlines(
        candidates, winners, grey.shape, weights_n=scores, agreement=params.agreement,
        central=params.central,
    )  # fmt: skip
    if params.edge_band:
        labels = refine_outlines(
            labels, grey, band=params.edge_band, smoothing_px=params.edge_smoothing_px,
            least_contrast=params.edge_contrast,
        )  # fmt: skip
    present = np.unique(labels)
    present = present[present > 0]
    numbers = np.zeros(len(winners) + 1, np.int32)
    numbers[present] = np.arange(1, len(present) + 1)
    kept = candidates.take(winners[present - 1])
    return SectionInstances(
        numbers[labels], kept.prob_n, kept.points_nc, kept.polygons_nkc, particle_px
    )


def estimate_particle_px(normalised_yx: FloatArray, detector: Detector) -> float:
    """Estimate the typical particle diameter of a section.

    The section is predicted at a series of scales; the one at which particles of sizes that the
    network knows cover the largest area is believed, an area counting by a high power of its
    probability: at the wrong scale a cluster may pass for one large, broken particle, but with
    less confidence than its members at the right one.

    Parameters
    ----------
    normalised_yx
        Normalised section (H, W).

    Returns
    -------
    float
        Median diameter in px of the section; the detector's own where nothing is found.
    """
    best, diameter = 0.0, detector.particle_px
    for scale in _LADDER:
        pixels = normalised_yx.size * scale**2
        if pixels > _MAX_MPX * _MEGA or min(normalised_yx.shape) * scale < _MIN_EDGE_PX:
            continue
        found = predict_candidates(
            normalised_yx, detector, scale=scale, threshold=detector.prob_threshold, turns=False
        )
        found = found.take(suppress_overlaps(found, max_overlap=detector.nms_threshold))
        sizes = found.diameters_px * scale
        known = (sizes >= TRAINING_DIAMETERS_PX[0]) & (sizes <= TRAINING_DIAMETERS_PX[1])
        known &= found.diameters_px <= _LARGEST_SHARE * min(normalised_yx.shape)
        trust = found.prob_n[known] ** _CONFIDENCE_POWER
        covered = float((trust * found.diameters_px[known] ** 2).sum())
        if covered > best:
            best, diameter = covered, float(np.median(found.diameters_px[known]))
    return diameter


def _collect_candidates(
    grey: FloatArray, detector: Detector, particle_px: float, params: SectionSegmentParams
) -> tuple[Candidates, FloatArray]:
    """Predict at each scale; a candidate's score falls with its distance from the ideal size."""
    threshold = params.prob_threshold or detector.prob_threshold
    largest = float(np.sqrt(_MAX_MPX * _MEGA / grey.size))
    parts, scores = [], []
    for relative in params.scales:
        scale = min(relative * detector.particle_px / particle_px, largest)
        part = predict_candidates(
            grey, detector, scale=scale, threshold=threshold, turns=params.turns
        )
        unlike = np.log(np.maximum(part.diameters_px * scale, 1) / detector.particle_px)
        trust = np.exp(-0.5 * (unlike / params.size_tolerance) ** 2)
        parts.append(part)
        scores.append((part.prob_n * trust).astype(np.float32))
    return join_candidates(parts), np.concatenate(scores)


def _normalise(image_yx: NDArray[np.generic], grey_range: tuple[float, float] | None) -> FloatArray:
    image = np.asarray(image_yx)
    if image.ndim != 2 or image.size == 0:
        raise _unusable(
            f"an array of shape {image.shape}",
            "one grey image (H, W)",
            "pass a single section; colour images as one channel",
        )
    if not np.isfinite(image).all():
        raise _unusable(
            "values that are not finite",
            "finite grey values",
            "replace NaN and inf by the grey value of the surroundings",
        )
    low, high = grey_range or measure_grey_range(image)
    if high <= low:
        raise _unusable(
            f"grey values without contrast ({low:g} to {high:g})",
            "an image with particles",
            "check that the right slice or channel was passed",
        )
    return normalise_sections(image, low, high)


def _unusable(found: str, expected: str, action: str) -> SettingsError:
    return SettingsError("section", found=found, expected=expected, action=action)


BoolArray = NDArray[np.bool_]

_FINE = 2  # the edge is looked for on a grid this much finer than the section's
_RING_PX = 4.0  # surroundings that the outside grey value is taken from
_MIN_PIXELS = 12
_MIN_AGREEMENT = 0.75  # IoU of old and new outline; a lower one indicates a stray edge


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
    image_yx
        Normalised section (H, W), particles brighter than their surroundings.
    band
        Half width of the band about an outline in which the edge is looked for, as a fraction of
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
