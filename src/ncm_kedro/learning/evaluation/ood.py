"""The flag of out-of-distribution (OOD) crops.

Two measures: the distance of a crop's features to their k-th nearest neighbour among the training
crops (Sun et al. 2022, arXiv:2204.06507, section 3), and the energy of its logits (Liu et al. 2020,
arXiv:2010.03759, eq. 4). Each feature is standardised on the training crops; in the paper all are
scaled to length one, which scales back what lies far outside in the direction of the others. Each
measure is standardised by its median and spread on the validation split, the larger one is the
score, and its rank among the validation mosaics gives one p-value (`conformal`). One test in place
of two corrected ones needs half as many mosaics.

The flag alarms on the nominal fraction of validation crops, mosaics weighing alike. A threshold
with that fraction as upper bound on unseen regions would lie above all validation crops where
mosaics are few, and one outlier would make the flag blind; so the nominal rate is what is expected,
and the upper bound (`OODDetector.level`) is reported beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.evaluation.conformal import (
    AreaRanks,
    count_areas_needed,
    rank_areas,
    weigh_areas,
)
from ncm_kedro.params.tune_train import OODParams

_ROWS_AT_ONCE = 1024
_UPPER_QUANTILE = 0.84  # one standard deviation above the median, were it normal
_MIN_SPREAD = 1e-6
_ROUNDING = 1e-9


@dataclass(frozen=True)
class CropOutputs:
    """Outputs of a network for crops, in the order of the crop index.

    Attributes
    ----------
    logits
        (N, K).
    labels
        (N,) class numbers.
    energy
        (N,) minus the log of the summed exponentials of the logits, averaged over views; high
        where no class has evidence (Liu et al. 2020, arXiv:2010.03759, eq. 4, temperature 1).
    features
        (N, D) input of the last layer, averaged over views.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    energy: NDArray[np.float32]
    features: NDArray[np.float32]


@dataclass(frozen=True)
class OODScores:
    """OOD scores of crops.

    Attributes
    ----------
    feature_distance, energy
        (N,) distance to the k-th nearest training crop (standard deviations); energy (nats).
    score
        (N,) the larger excess over the validation median, in spreads.
    p
        (N,) p-value: for an in-distribution crop of an unseen region, P(p <= level) <= level.
    unknown
        (N,) the OOD flag: whether the p-value is as low as the detector's level.
    """

    feature_distance: NDArray[np.float64]
    energy: NDArray[np.float64]
    score: NDArray[np.float64]
    p: NDArray[np.float64]
    unknown: NDArray[np.bool_]


@dataclass(frozen=True)
class OODDetector:
    """What flags OOD crops.

    Attributes
    ----------
    reference_nd
        (M, D) features of the training crops, standardised, or scaled to length one without
        ``standard_2d``.
    neighbours
        k of the k-th nearest neighbour.
    location, spread
        (2,) median, and distance from there to the 84th percentile, of feature distance and
        energy on the validation split.
    ranks
        Scores of the validation crops.
    false_alarm_rate
        Nominal rate: fraction of validation crops that are flagged.
    standard_2d
        (2, D) mean and standard deviation of each feature; none in models registered before.
    """

    reference_nd: NDArray[np.float16]
    neighbours: int
    location: NDArray[np.float64]
    spread: NDArray[np.float64]
    ranks: AreaRanks
    false_alarm_rate: float
    standard_2d: NDArray[np.float32] | None = None

    @property
    def level(self) -> float:
        """The p-value up to which a crop is flagged.

        It bounds the false-alarm rate on unseen regions (arXiv:2306.06342).
        """
        beyond = self.ranks.smallest_p
        return beyond + (1.0 - beyond) * self.false_alarm_rate

    @property
    def threshold(self) -> float:
        """Score above which a crop is flagged."""
        return self.ranks.find_threshold(self.level)

    @property
    def notes(self) -> tuple[str, ...]:
        """Where the upper bound is far above the nominal rate."""
        needed = count_areas_needed(self.false_alarm_rate)
        if self.ranks.smallest_p <= self.false_alarm_rate:
            return ()
        return (
            f"validation has fewer than {needed} mosaics: the flag alarms on "
            f"{self.false_alarm_rate:.0%} of its crops; for unseen regions the upper bound is "
            f"{self.level:.0%}",
        )

    def evaluate(self, outputs: CropOutputs) -> OODScores:
        """Score crops by their features and energies."""
        features = scale_features(outputs.features, self.standard_2d)
        distance = measure_distance(features, self.reference_nd, self.neighbours)
        energy = outputs.energy.astype(np.float64)
        score = self.combine(distance, energy)
        p = self.ranks.measure_p(score)
        return OODScores(distance, energy, score, p, self.flag(p))

    def combine(
        self, feature_distance: NDArray[np.floating], energy: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """(N,) larger excess of the two measures over the validation median, in spreads."""
        both = np.stack([feature_distance, energy], axis=1).astype(np.float64)
        return np.asarray(((both - self.location) / self.spread).max(axis=1))

    def flag(self, p: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Mark the p-values, of any shape, that are flagged."""
        return np.asarray(p <= self.level + _ROUNDING)


def fit_detector(
    train: CropOutputs, validate: CropOutputs, mosaics: Sequence[str], params: OODParams
) -> OODDetector:
    """Store the features of the training split, and standardise on the validation split.

    Parameters
    ----------
    train, validate
        Outputs of the network for both splits, without test-time augmentation.
    mosaics
        (N,) mosaic (connected imaged region) of each validation crop.
    params
        Neighbours, false-alarm rate.

    Raises
    ------
    ModelError
        A feature or an energy is not finite.
    """
    for outputs in (train, validate):
        if not (np.isfinite(outputs.features).all() and np.isfinite(outputs.energy).all()):
            raise ModelError(
                "OOD flag",
                found="features or energies that are not finite",
                expected="finite outputs of the network",
                action="check the training curve",
            )
    spread_d = train.features.std(axis=0).clip(min=_MIN_SPREAD)
    standard_2d = np.stack([train.features.mean(axis=0), spread_d]).astype(np.float32)
    reference_nd = scale_features(train.features, standard_2d).astype(np.float16)
    neighbours = min(params.neighbours, len(reference_nd))
    scaled = scale_features(validate.features, standard_2d)
    distance = measure_distance(scaled, reference_nd, neighbours)
    measures = np.stack([distance, validate.energy], axis=1).astype(np.float64)
    location = _find_quantile(measures, mosaics, 0.5)
    spread = np.maximum(_find_quantile(measures, mosaics, _UPPER_QUANTILE) - location, _MIN_SPREAD)
    score = ((measures - location) / spread).max(axis=1)
    return OODDetector(
        reference_nd=reference_nd,
        neighbours=neighbours,
        location=location,
        spread=spread,
        ranks=rank_areas(score, mosaics),
        false_alarm_rate=params.false_alarm_rate,
        standard_2d=standard_2d,
    )


def scale_features(
    features: NDArray[np.floating], standard_2d: NDArray[np.floating] | None = None
) -> NDArray[np.float32]:
    """Standardise features (N, D), or scale them to length one (one of zeros stays zero)."""
    values = np.asarray(features, dtype=np.float32)
    if standard_2d is not None:
        return np.asarray((values - standard_2d[0]) / standard_2d[1], dtype=np.float32)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.maximum(length, np.finfo(np.float32).tiny))


def measure_distance(
    features: NDArray[np.floating], reference_nd: NDArray[np.floating], neighbours: int
) -> NDArray[np.float64]:
    """Measure how far features (N, D) lie from their k-th nearest neighbour.

    Parameters
    ----------
    features, reference_nd
        (N, D) and (M, D), scaled alike.
    neighbours
        k, at most M.

    Returns
    -------
    ndarray, (N,)
        Euclidean distance.
    """
    reference = reference_nd.astype(np.float64)
    lengths = (reference**2).sum(axis=1)
    distance = np.empty(len(features))
    for start in range(0, len(features), _ROWS_AT_ONCE):
        rows = features[start : start + _ROWS_AT_ONCE].astype(np.float64)
        squares = (rows**2).sum(axis=1)[:, None] + lengths - 2.0 * rows @ reference.T
        kth = np.partition(squares, neighbours - 1, axis=1)[:, neighbours - 1]
        distance[start : start + _ROWS_AT_ONCE] = np.sqrt(np.maximum(kth, 0.0))
    return distance


def _find_quantile(
    measures: NDArray[np.float64], mosaics: Sequence[str], share: float
) -> NDArray[np.float64]:
    """(M,) quantile of each column of ``measures`` (N, M), mosaics weighing alike."""
    weights = weigh_areas(mosaics)
    order = np.argsort(measures, axis=0)
    place = (np.cumsum(weights[order], axis=0) >= share - _ROUNDING).argmax(axis=0)
    return np.asarray(np.take_along_axis(measures, order, axis=0)[place, range(measures.shape[1])])
