"""A flag of crops that are like nothing the classifier was trained on.

Two OOD scores: how far a crop's features, scaled to length one, lie from their k-th
nearest neighbour among the training crops (Sun et al. 2022, arXiv:2204.06507, section 3), and the
energy of its logits (Liu et al. 2020, arXiv:2010.03759, eq. 4). Each is set against what it is on
the validation split, the larger excess counts, and its rank among the validation mosaics gives
one p-value (`area_ranks`). One test in place of two corrected ones asks for half as many mosaics.

The flag alarms on the asked share of validation crops, mosaics weighing alike. A threshold that
promised no more than that share on new ground would lie above all validation crops where mosaics
are few, and one odd crop would make the flag blind; so the asked share is what is expected, and
what can be promised (`OODDetector.level`) is said beside it.
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
    """What a network says of crops, in the order of the crop index.

    Attributes
    ----------
    logits
        (N, K).
    labels
        (N,) class numbers.
    energy
        (N,) minus the log of the summed exponentials of the logits, averaged over views; high
        where no class speaks up (Liu et al. 2020, arXiv:2010.03759, eq. 4, temperature 1).
    features
        (N, D) input of the last layer, averaged over views.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    energy: NDArray[np.float32]
    features: NDArray[np.float32]


@dataclass(frozen=True)
class OODScores:
    """How strange crops look.

    Attributes
    ----------
    feature_distance, energy
        (N,) distance to the k-th nearest training crop, 0 (alike) to 2 (opposite); energy (nats).
    score
        (N,) the larger excess over the validation split, in spreads.
    p
        (N,) p-value: a crop of new ground of a known class falls below any level at most so often.
    unknown
        (N,) whether the p-value is as low as the detector's level.
    """

    feature_distance: NDArray[np.float64]
    energy: NDArray[np.float64]
    score: NDArray[np.float64]
    p: NDArray[np.float64]
    unknown: NDArray[np.bool_]


@dataclass(frozen=True)
class OODDetector:
    """What tells strange crops from others.

    Attributes
    ----------
    reference_nd
        (M, D) features of the training crops, scaled to length one.
    neighbours
        Which nearest neighbour counts, k.
    location, spread
        (2,) median, and distance from there to the 84th percentile, of feature distance and
        energy on the validation split.
    ranks
        Scores of the validation crops.
    false_alarm_rate
        Share of validation crops that are flagged.
    """

    reference_nd: NDArray[np.float16]
    neighbours: int
    location: NDArray[np.float64]
    spread: NDArray[np.float64]
    ranks: AreaRanks
    false_alarm_rate: float

    @property
    def level(self) -> float:
        """The p-value up to which a crop is flagged.

        On new ground no larger share of crops of known classes is flagged (arXiv:2306.06342).
        """
        beyond = self.ranks.smallest_p
        return beyond + (1.0 - beyond) * self.false_alarm_rate

    @property
    def threshold(self) -> float:
        """Score above which a crop is flagged."""
        return self.ranks.find_threshold(self.level)

    @property
    def notes(self) -> tuple[str, ...]:
        """Where far less can be promised than was asked for."""
        needed = count_areas_needed(self.false_alarm_rate)
        if self.ranks.smallest_p <= self.false_alarm_rate:
            return ()
        return (
            f"validation shows fewer than {needed} mosaics: the flag alarms on "
            f"{self.false_alarm_rate:.0%} of its crops; for new ground nothing better than "
            f"{self.level:.0%} can be promised",
        )

    def evaluate(self, outputs: CropOutputs) -> OODScores:
        """Say how strange crops are, from their features and energies."""
        distance = measure_distance(outputs.features, self.reference_nd, self.neighbours)
        energy = outputs.energy.astype(np.float64)
        score = self.combine(distance, energy)
        p = self.ranks.measure_p(score)
        return OODScores(distance, energy, score, p, self.flag(p))

    def combine(
        self, feature_distance: NDArray[np.floating], energy: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """(N,) larger excess of the two measures over the validation split, in spreads."""
        both = np.stack([feature_distance, energy], axis=1).astype(np.float64)
        return np.asarray(((both - self.location) / self.spread).max(axis=1))

    def flag(self, p: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Mark the p-values, of any shape, that call for the flag."""
        return np.asarray(p <= self.level + _ROUNDING)


def fit_detector(
    train: CropOutputs, validate: CropOutputs, mosaics: Sequence[str], params: OODParams
) -> OODDetector:
    """Keep the training split's features, and learn from the validation split what is usual.

    Parameters
    ----------
    train, validate
        What the network says of both splits, each crop as it is.
    mosaics
        (N,) name of the connected ground each validation crop lies on.
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
                "unknown-sample flag",
                found="features or energies that are not finite",
                expected="finite outputs of the network",
                action="check the training curve",
            )
    reference_nd = scale_features(train.features).astype(np.float16)
    neighbours = min(params.neighbours, len(reference_nd))
    distance = measure_distance(validate.features, reference_nd, neighbours)
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
    )


def scale_features(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale features (N, D) to length one; one of zeros stays zero."""
    values = np.asarray(features, dtype=np.float32)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.maximum(length, np.finfo(np.float32).tiny))


def measure_distance(
    features: NDArray[np.floating], reference_nd: NDArray[np.floating], neighbours: int
) -> NDArray[np.float64]:
    """Measure how far features lie from their k-th nearest neighbour on the unit sphere.

    Parameters
    ----------
    features
        (N, D), of any length.
    reference_nd
        (M, D), of length one.
    neighbours
        k, at most M.

    Returns
    -------
    ndarray, (N,)
        Euclidean distance between unit vectors, 0 to 2.
    """
    scaled, reference = scale_features(features), reference_nd.astype(np.float32)
    distance = np.empty(len(scaled))
    for start in range(0, len(scaled), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        closeness = scaled[rows] @ reference.T
        kth = np.partition(closeness, -neighbours, axis=1)[:, -neighbours]
        distance[rows] = np.sqrt(np.maximum(2.0 - 2.0 * kth, 0.0))
    return distance


def _find_quantile(
    measures: NDArray[np.float64], mosaics: Sequence[str], share: float
) -> NDArray[np.float64]:
    """(M,) quantile of each column of ``measures`` (N, M), mosaics weighing alike."""
    weights = weigh_areas(mosaics)
    order = np.argsort(measures, axis=0)
    place = (np.cumsum(weights[order], axis=0) >= share - _ROUNDING).argmax(axis=0)
    return np.asarray(np.take_along_axis(measures, order, axis=0)[place, range(measures.shape[1])])
