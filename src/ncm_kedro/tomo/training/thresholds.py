"""Choosing the detector's two thresholds on held-out images.

Whether a trained detector may replace the one in use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from stardist.matching import matching

from ncm_kedro.learning.evaluation.promotion import Candidate, Promotion, decide_promotion
from ncm_kedro.params.tomo_segment import SectionSegmentParams
from ncm_kedro.tomo.detector.detector import Detector
from ncm_kedro.tomo.scoring.baselines import label_otsu_watershed
from ncm_kedro.tomo.sections.candidates import predict_candidates, suppress_overlaps
from ncm_kedro.tomo.sections.outlines import vote_outlines
from ncm_kedro.tomo.sections.sections import segment_section
from ncm_kedro.tomo.training.sections import LabelledSection

PROB_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
OVERLAP_THRESHOLDS = (0.2, 0.3, 0.4)

_IOUS = (0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Thresholds:
    """The best thresholds and what they reach.

    Attributes
    ----------
    prob
        Least probability of a particle.
    overlap
        Overlap, as a share of the smaller area, that two particles may have.
    precision
        Average precision TP / (TP + FP + FN) at IoU 0.5, 0.7 and 0.9 over all images together.
    """

    prob: float
    overlap: float
    precision: dict[str, float]


def choose_thresholds(detector: Detector, sections: Sequence[LabelledSection]) -> Thresholds:
    """Try pairs of thresholds; the best mean average precision at IoU 0.5, 0.7 and 0.9 wins.

    Parameters
    ----------
    detector
        The network; its own thresholds are not used.
    sections
        Held-out images at the scale that the network is used at.

    Returns
    -------
    Thresholds
        With the precision that they reach on these images.
    """
    counts = {
        (prob, overlap): np.zeros((len(_IOUS), 2))
        for prob in PROB_THRESHOLDS
        for overlap in OVERLAP_THRESHOLDS
    }
    for section in sections:
        candidates = predict_candidates(
            section.image_yx, detector, scale=1, threshold=min(PROB_THRESHOLDS), turns=False
        )
        for prob, overlap in counts:
            chosen = candidates.take(candidates.prob_n > prob)
            labels = vote_outlines(
                chosen,
                suppress_overlaps(chosen, max_overlap=overlap),
                section.labels_yx.shape,
                weights_n=chosen.prob_n,
                agreement=0.5,
                central=0.6,
            )
            found = matching(section.labels_yx, labels, thresh=_IOUS)
            counts[prob, overlap] += [[m.tp, m.tp + m.fp + m.fn] for m in found]
    precision = {pair: total[:, 0] / np.maximum(total[:, 1], 1) for pair, total in counts.items()}
    prob, overlap = max(precision, key=lambda pair: float(precision[pair].mean()))
    reached = {
        str(iou): round(float(value), 4)
        for iou, value in zip(_IOUS, precision[prob, overlap], strict=True)
    }
    return Thresholds(prob, overlap, reached)


CANDIDATE = "the trained detector"
CURRENT = "the detector in use"
BASELINE = "Otsu watershed"
MEASURE = "mean average precision at IoU 0.5, 0.7 and 0.9"
_SEED_SHARE = 0.35

Labeller = Callable[[NDArray[np.float32]], NDArray[np.integer]]


def score_detectors(
    candidate: Detector, reference_model: Detector, sections: Sequence[LabelledSection]
) -> pd.DataFrame:
    """Score both detectors and the classical way on the same held-out sections.

    Parameters
    ----------
    candidate, reference_model
        The trained detector and the one in use.
    sections
        Sections that neither was trained on; the candidate's best epoch and its thresholds were
        chosen on them, which favours it slightly.

    Returns
    -------
    pandas.DataFrame
        A row per method: ``method, ap_50, ap_70, ap_90, recall_50, n_true``, pooled over the
        sections.
    """
    methods: Mapping[str, Labeller] = {
        CANDIDATE: _segment_with(candidate),
        CURRENT: _segment_with(reference_model),
        BASELINE: _label_classically(candidate.particle_px),
    }
    return pd.DataFrame(
        [{"method": name, **_pool(labeller, sections)} for name, labeller in methods.items()]
    )


def decide_detector_promotion(scores: pd.DataFrame) -> Promotion:
    """Let the candidate into production only where it beats both others.

    Parameters
    ----------
    scores
        What `score_detectors` returned.
    """
    mean = scores.set_index("method")[["ap_50", "ap_70", "ap_90"]].mean(axis=1)
    candidates = {str(name): Candidate(str(name), float(value)) for name, value in mean.items()}
    return decide_promotion(
        candidates[CANDIDATE], candidates[BASELINE], candidates[CURRENT], measure=MEASURE
    )


def _segment_with(detector: Detector) -> Labeller:
    how = SectionSegmentParams(particle_px=detector.particle_px, scales=(1.0,), turns=False)
    return lambda image_yx: (
        segment_section(image_yx, detector, how, grey_range=(0.0, 1.0)).labels_yx
    )


def _label_classically(particle_px: float) -> Labeller:
    """Label sections as volumes of one slice, lengths in px."""
    area_px2 = np.pi / 4 * (_SEED_SHARE * particle_px) ** 2
    return lambda image_yx: label_otsu_watershed(
        image_yx[None],
        voxel_size_um=(1.0, 1.0, 1.0),
        min_distance_um=_SEED_SHARE * particle_px,
        min_volume_um3=area_px2,
    )[0]


def _pool(label: Labeller, sections: Sequence[LabelledSection]) -> dict[str, float]:
    counts = np.zeros((len(_IOUS), 3))
    for section in sections:
        found = matching(section.labels_yx, label(section.image_yx), thresh=_IOUS)
        counts += [[m.tp, m.fp, m.fn] for m in found]
    hits, wrong, missed = counts.T
    precision = hits / np.maximum(hits + wrong + missed, 1)
    return {
        **{
            f"ap_{round(100 * iou)}": float(value)
            for iou, value in zip(_IOUS, precision, strict=True)
        },
        "recall_50": float(hits[0] / max(hits[0] + missed[0], 1)),
        "n_true": int(hits[0] + missed[0]),
    }
