"""Scores of labels against known ones, from a table of how many voxels each pair shares.

Works in any number of dimensions, on arrays in memory or on disk; memory is bounded by a slab and
by the largest particle's box. Average precision is TP / (TP + FP + FN) (Schmidt et al. 2018,
MICCAI, section 3); panoptic quality is that of Kirillov et al. 2019 (CVPR, eq. 1).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.tomo.scoring.surfaces import LabelArray, list_slabs, measure_surfaces

_MOSTLY = 0.5
_PART_SHARE = 0.1


@dataclass(frozen=True)
class Overlaps:
    """Voxels shared by true and predicted labels; only pairs that occur.

    Attributes
    ----------
    true, predicted
        Labels of each pair, 0 for background, (n,).
    voxels
        Voxels that the two share, (n,).
    """

    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    voxels: NDArray[np.int64]


@dataclass(frozen=True)
class Matching:
    """Which labels match at a threshold of the intersection over union.

    Attributes
    ----------
    true, predicted, iou
        The pairs, (tp,).
    false_positives, false_negatives
        Predicted and true labels without a partner.
    """

    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    iou: NDArray[np.float64]
    false_positives: int
    false_negatives: int

    @property
    def average_precision(self) -> float:
        """TP / (TP + FP + FN); not a number where there is nothing to find and nothing found."""
        return _ratio(len(self.iou), len(self.iou) + self.false_positives + self.false_negatives)

    @property
    def precision(self) -> float:
        """TP / (TP + FP)."""
        return _ratio(len(self.iou), len(self.iou) + self.false_positives)

    @property
    def recall(self) -> float:
        """TP / (TP + FN)."""
        return _ratio(len(self.iou), len(self.iou) + self.false_negatives)

    @property
    def mean_iou(self) -> float:
        """Mean intersection over union of the pairs."""
        return _ratio(float(self.iou.sum()), len(self.iou))

    @property
    def panoptic_quality(self) -> float:
        """Sum of IoU / (TP + FP / 2 + FN / 2)."""
        rest = (self.false_positives + self.false_negatives) / 2
        return _ratio(float(self.iou.sum()), len(self.iou) + rest)


@dataclass(frozen=True)
class LabelScores:
    """Scores of a labelling; matching at an IoU of 0.5 where no other is named.

    Attributes
    ----------
    n_true, n_predicted
        Labels that count.
    ap_50, ap_70, ap_90
        Average precision at three thresholds.
    precision, recall, panoptic_quality, mean_iou
        See ``Matching``.
    splits
        True labels that are parted among several predicted ones.
    merges
        Predicted labels that join several true ones.
    surface_mean_um, surface_p95_um
        Symmetric distance between the outlines of matched labels: mean and 95th percentile over
        an outline, averaged over labels (um).
    """

    n_true: int
    n_predicted: int
    ap_50: float
    ap_70: float
    ap_90: float
    precision: float
    recall: float
    panoptic_quality: float
    mean_iou: float
    splits: int
    merges: int
    surface_mean_um: float
    surface_p95_um: float

    def to_row(self) -> dict[str, float]:
        """Return the scores by name."""
        return asdict(self)


def score_labels(
    true: LabelArray,
    predicted: LabelArray,
    *,
    voxel_size_um: Sequence[float],
    ignored_true: Collection[int] = (),
    ignore_mask: LabelArray | None = None,
) -> LabelScores:
    """Score predicted labels against true ones.

    Parameters
    ----------
    true, predicted
        Labels of equal shape, 0 is background.
    ignored_true
        True labels that do not count, as those that the border cuts.
    ignore_mask
        Nonzero where nothing is known; of the shape of ``true``.

    Returns
    -------
    LabelScores
        A predicted label does not count if more than half of it is ignored (by label or mask).

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if tuple(true.shape) != tuple(predicted.shape):
        raise ValueError(f"true labels {true.shape} and predicted {predicted.shape} differ")
    overlaps = drop_ignored(count_overlaps(true, predicted, ignore_mask), ignored_true)
    matchings = [match_labels(overlaps, iou) for iou in (0.5, 0.7, 0.9)]
    half = matchings[0]
    pairs = list(zip(half.true.tolist(), half.predicted.tolist(), strict=True))
    mean_um, p95_um = measure_surfaces(true, predicted, pairs, voxel_size_um)
    return LabelScores(
        n_true=len(half.true) + half.false_negatives,
        n_predicted=len(half.true) + half.false_positives,
        ap_50=half.average_precision,
        ap_70=matchings[1].average_precision,
        ap_90=matchings[2].average_precision,
        precision=half.precision,
        recall=half.recall,
        panoptic_quality=half.panoptic_quality,
        mean_iou=half.mean_iou,
        splits=count_parted(overlaps.true, overlaps.predicted, overlaps.voxels),
        merges=count_parted(overlaps.predicted, overlaps.true, overlaps.voxels),
        surface_mean_um=mean_um,
        surface_p95_um=p95_um,
    )


def count_overlaps(
    true: LabelArray, predicted: LabelArray, ignore_mask: LabelArray | None = None
) -> Overlaps:
    """Count the voxels that labels share, slab by slab.

    Parameters
    ----------
    ignore_mask
        Nonzero where nothing is known: counted as true label -1.
    """
    parts = []
    for slab in list_slabs(true.shape):
        a = np.asarray(true[slab]).astype(np.int64).ravel()
        b = np.asarray(predicted[slab]).astype(np.int64).ravel()
        if ignore_mask is not None:
            a[np.asarray(ignore_mask[slab]).ravel() != 0] = -1
        parts.append(_count_pairs(a, b))
    return join_overlaps(parts)


def join_overlaps(parts: Sequence[Overlaps]) -> Overlaps:
    """Add up the overlaps of disjoint parts of a volume."""
    true = np.concatenate([np.empty(0, np.int64), *(part.true for part in parts)])
    predicted = np.concatenate([np.empty(0, np.int64), *(part.predicted for part in parts)])
    voxels = np.concatenate([np.empty(0, np.int64), *(part.voxels for part in parts)])
    pairs, place = np.unique(np.stack([true, predicted], axis=1), axis=0, return_inverse=True)
    total = np.zeros(len(pairs), np.int64)
    np.add.at(total, place.ravel(), voxels)
    return Overlaps(pairs[:, 0], pairs[:, 1], total)


def drop_ignored(overlaps: Overlaps, ignored_true: Collection[int]) -> Overlaps:
    """Take out ignored true labels, and predicted ones that mostly lie in them.

    Parameters
    ----------
    overlaps
        True label -1 is the ignored mask.

    Returns
    -------
    Overlaps
        What is left of a predicted label that stays counts in full, except ignored voxels.
    """
    ignored = np.isin(overlaps.true, [-1, *ignored_true])
    labels, place = np.unique(overlaps.predicted, return_inverse=True)
    size = np.bincount(place, overlaps.voxels, len(labels))
    covered = np.bincount(place, overlaps.voxels * ignored, len(labels))
    gone = (covered > _MOSTLY * size) & (labels > 0)
    keep = ~ignored & ~gone[place]
    return Overlaps(overlaps.true[keep], overlaps.predicted[keep], overlaps.voxels[keep])


def match_labels(overlaps: Overlaps, min_iou: float) -> Matching:
    """Match labels one to one, the highest intersection over union first.

    Parameters
    ----------
    min_iou
        Least intersection over union of a match; from 0.5 on the matching is unique.
    """
    true_label, true_at = np.unique(overlaps.true, return_inverse=True)
    found_label, found_at = np.unique(overlaps.predicted, return_inverse=True)
    true_size = np.bincount(true_at, overlaps.voxels, len(true_label))
    found_size = np.bincount(found_at, overlaps.voxels, len(found_label))
    union = true_size[true_at] + found_size[found_at] - overlaps.voxels
    iou = overlaps.voxels / np.maximum(union, 1)
    possible = (overlaps.true > 0) & (overlaps.predicted > 0) & (iou >= min_iou)
    order = np.flatnonzero(possible)
    order = order[np.lexsort((overlaps.predicted[order], overlaps.true[order], -iou[order]))]
    seen_true: set[int] = set()
    seen_found: set[int] = set()
    chosen = []
    for at in order.tolist():
        a, b = int(overlaps.true[at]), int(overlaps.predicted[at])
        if a not in seen_true and b not in seen_found:
            seen_true.add(a)
            seen_found.add(b)
            chosen.append(at)
    return Matching(
        true=overlaps.true[chosen],
        predicted=overlaps.predicted[chosen],
        iou=iou[chosen],
        false_positives=int((found_label > 0).sum()) - len(chosen),
        false_negatives=int((true_label > 0).sum()) - len(chosen),
    )


def count_parted(
    whole: NDArray[np.int64], part: NDArray[np.int64], voxels: NDArray[np.int64]
) -> int:
    """Count the labels that are parted among several labels of the other kind.

    Parameters
    ----------
    whole, part, voxels
        Overlaps; 0 is background.

    Returns
    -------
    int
        Labels of ``whole`` that hold at least two of ``part`` which each lie mostly in it (more
        than half) and make up at least a tenth of it.
    """
    wholes, whole_at = np.unique(whole, return_inverse=True)
    parts, part_at = np.unique(part, return_inverse=True)
    whole_size = np.bincount(whole_at, voxels, len(wholes))
    part_size = np.bincount(part_at, voxels, len(parts))
    counts = (whole > 0) & (part > 0) & (voxels > _MOSTLY * part_size[part_at])
    counts &= voxels >= _PART_SHARE * whole_size[whole_at]
    return int((np.bincount(whole_at[counts], minlength=len(wholes)) >= 2).sum())


def _count_pairs(true: NDArray[np.int64], predicted: NDArray[np.int64]) -> Overlaps:
    a_label, a_at = np.unique(true, return_inverse=True)
    b_label, b_at = np.unique(predicted, return_inverse=True)
    both, voxels = np.unique(a_at * len(b_label) + b_at, return_counts=True)
    return Overlaps(a_label[both // len(b_label)], b_label[both % len(b_label)], voxels)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
