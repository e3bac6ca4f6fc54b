"""Choosing the detector's two thresholds on held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from stardist.matching import matching

from ncm_kedro.tomo.detector import Detector
from ncm_kedro.tomo.section_candidates import predict_candidates, suppress_overlaps
from ncm_kedro.tomo.section_outlines import vote_outlines
from ncm_kedro.tomo.training_sections import LabelledSection

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
