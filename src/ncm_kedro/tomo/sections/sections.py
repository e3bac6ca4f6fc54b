"""Particles in a single section: found by the network, outlined by vote and by the grey edge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import SettingsError
from ncm_kedro.params.tomo_segment import SectionSegmentParams
from ncm_kedro.tomo.detector.detector import TRAINING_DIAMETERS_PX, Detector
from ncm_kedro.tomo.sections.candidates import (
    Candidates,
    join_candidates,
    predict_candidates,
    suppress_overlaps,
)
from ncm_kedro.tomo.sections.outlines import refine_outlines, vote_outlines
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
    detector
        The network.
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

    The section is looked at on a ladder of scales; the one at which particles of sizes that the
    network knows cover the largest area is believed, an area counting by a high power of its
    probability: at the wrong scale a cluster may pass for one large, broken particle, but with
    less confidence than its members at the right one.

    Parameters
    ----------
    normalised_yx
        Normalised section (H, W).
    detector
        The network.

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
        raise SettingsError(
            "section",
            found=f"an array of shape {image.shape}",
            expected="one grey image (H, W)",
            action="pass a single section; colour images as one channel",
        )
    if not np.isfinite(image).all():
        raise SettingsError(
            "section",
            found="values that are not finite",
            expected="finite grey values",
            action="replace NaN and inf by the grey value of the surroundings",
        )
    low, high = grey_range or measure_grey_range(image)
    if high <= low:
        raise SettingsError(
            "section",
            found=f"grey values without contrast ({low:g} to {high:g})",
            expected="an image with particles",
            action="check that the right slice or channel was passed",
        )
    return normalise_sections(image, low, high)
