"""The flag of out-of-distribution (OOD) crops.

Two measures: the distance of a crop's features to their k-th nearest neighbour among the training
crops (Sun et al. 2022, arXiv:2204.06507, section 3), and the energy of its logits (Liu et al. 2020,
arXiv:2010.03759, eq. 4). The distance is taken three times: between features scaled to length one,
as in the paper; between features standardised on the training crops, as length one scales back what
lies far outside in the direction of the others; and between their discriminants scaled to length
one (Fisher's, those that part the classes most against the scatter within them), in which classes
of other compositions differ most and regions of one class least. Each is standardised by its median
and spread on the validation split; the larger of the first two, the third and the energy are added
up to the score, and its rank among the validation mosaics gives one p-value (`conformal`).

The threshold is the one that the nominal fraction of the crops of unseen mosaics is expected to lie
above (`conformal.choose_threshold`). A frame has a threshold and a p-value of its own, from the
frames of the validation split: the median of its tiles is compared with theirs.

A network that was trained may have lost what tells other material from its classes. So crops that
are no micrographs of these classes are put before each network (`plant_foreign`); where their
scores are not above those of validation, no flag is raised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.evaluation.conformal import (
    AreaRanks,
    choose_threshold,
    count_areas_needed,
    rank_areas,
    weigh_areas,
)
from ncm_kedro.params.tune_train import OODParams

_ROWS_AT_ONCE = 1024
_UPPER_QUANTILE = 0.84  # one standard deviation above the median, were it normal
_MIN_SPREAD = 1e-6
_DIRECTED = 2  # discriminants, from which on their direction says something
MIN_FOREIGN_AUROC = 0.9
"""A network that separates foreign crops worse than this gets no flag."""
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
class FrameOutputs:
    """Outputs of a network for the tiles of frames.

    Attributes
    ----------
    tiles
        Of T tiles.
    frame
        (T,) number of the frame that each tile lies in.
    mosaics
        (F,) mosaic of each frame.
    """

    tiles: CropOutputs
    frame: NDArray[np.int64]
    mosaics: tuple[str, ...]


@dataclass(frozen=True)
class OODScores:
    """OOD scores of crops.

    Attributes
    ----------
    feature_distance, energy
        (N,) excess of the distance to the k-th nearest training crop over the validation median, in
        spreads: of features the larger of the two scalings, plus that of discriminants; energy
        (nats).
    score
        (N,) the excess of the distance, and that of a high energy, in spreads.
    p
        (N,) p-value: for an in-distribution crop of an unseen region, P(p <= level) <= level.
    unknown
        (N,) the OOD flag: whether the score lies above the threshold.
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
        (M, D) features of the training crops, standardised.
    neighbours
        k of the k-th nearest neighbour.
    location, spread
        (4,) median, and distance from there to the 84th percentile, on the validation split: of the
        distances between standardised features, features of length one and discriminants of length
        one, and of the energy.
    standard_2d
        (2, D) mean and standard deviation of each feature.
    discriminants_2d
        (D, K - 1) from standardised features to discriminants of K classes; (D, 0) for two classes,
        whose one discriminant has no direction.
    ranks, frame_ranks
        Scores of the validation crops; medians of the tiles of the validation frames.
    threshold, frame_threshold
        Score above which a crop is flagged; the same for the median of a frame's tiles.
    false_alarm_rate
        Nominal rate: fraction of crops, or frames, of unseen mosaics that are expected to be
        flagged.
    foreign_auroc
        Area under the ROC curve of foreign crops against validation crops.
    """

    reference_nd: NDArray[np.float16]
    neighbours: int
    location: NDArray[np.float64]
    spread: NDArray[np.float64]
    standard_2d: NDArray[np.float32]
    discriminants_2d: NDArray[np.float32]
    ranks: AreaRanks
    frame_ranks: AreaRanks
    threshold: float
    frame_threshold: float
    false_alarm_rate: float
    foreign_auroc: float

    @property
    def is_reliable(self) -> bool:
        """Whether the flag is raised at all: foreign crops score above those of validation."""
        return self.foreign_auroc >= MIN_FOREIGN_AUROC

    @property
    def notes(self) -> tuple[str, ...]:
        """Why there is no flag, or what its rate rests on."""
        notes = []
        if not self.is_reliable:
            notes.append(
                f"no flag: crops that are no micrographs of these classes score like those of "
                f"validation (AUROC {self.foreign_auroc:.2f}, at least {MIN_FOREIGN_AUROC} needed)"
            )
        needed = count_areas_needed(self.false_alarm_rate)
        if self.ranks.n_areas < needed:
            notes.append(
                f"the false-alarm rate rests on {self.ranks.n_areas} validation mosaics; one of "
                f"{self.false_alarm_rate:.0%} cannot be told from zero below {needed}"
            )
        return tuple(notes)

    def evaluate(self, outputs: CropOutputs) -> OODScores:
        """Score crops by their features and energies."""
        measures = _measure(
            outputs, self.reference_nd, self.standard_2d, self.discriminants_2d, self.neighbours
        )
        distance, _ = _find_excess(measures, self.location, self.spread)
        energy = measures[:, -1]
        score = self.combine(distance, energy)
        return OODScores(
            distance, energy, score, self.ranks.measure_p(score), score > self.threshold
        )

    def combine(
        self, feature_distance: NDArray[np.floating], energy: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """(N,) score, from feature distances (spreads) and energies (nats)."""
        excess = (energy.astype(np.float64) - self.location[-1]) / self.spread[-1]
        return _combine(feature_distance.astype(np.float64), excess)


def fit_detector(
    train: CropOutputs,
    validate: CropOutputs,
    mosaics: Sequence[str],
    params: OODParams,
    *,
    frames: FrameOutputs,
    foreign: CropOutputs,
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
    frames
        Outputs for the tiles of validation frames.
    foreign
        Outputs for crops that are no micrographs of the classes (`plant_foreign`).

    Raises
    ------
    ModelError
        A feature or an energy is not finite.
    """
    from sklearn.metrics import roc_auc_score

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
    standardised_nd = scale_features(train.features, standard_2d)
    discriminants_2d = find_discriminants(standardised_nd, train.labels)
    reference_nd = standardised_nd.astype(np.float16)
    neighbours = min(params.neighbours, len(reference_nd))
    known, tiles, strange = (
        _measure(outputs, reference_nd, standard_2d, discriminants_2d, neighbours)
        for outputs in (validate, frames.tiles, foreign)
    )
    location = _find_quantile(known, mosaics, 0.5)
    spread = np.maximum(_find_quantile(known, mosaics, _UPPER_QUANTILE) - location, _MIN_SPREAD)
    scores, tile_scores, strange_scores = (
        _combine(*_find_excess(measures, location, spread)) for measures in (known, tiles, strange)
    )
    medians = np.array(
        [np.median(tile_scores[frames.frame == number]) for number in range(len(frames.mosaics))]
    )
    truth = np.repeat([0, 1], [len(scores), len(strange_scores)])
    return OODDetector(
        reference_nd=reference_nd,
        neighbours=neighbours,
        location=location,
        spread=spread,
        standard_2d=standard_2d,
        discriminants_2d=discriminants_2d,
        ranks=rank_areas(scores, mosaics),
        frame_ranks=rank_areas(medians, frames.mosaics),
        threshold=choose_threshold(scores, mosaics, params.false_alarm_rate),
        frame_threshold=choose_threshold(medians, frames.mosaics, params.false_alarm_rate),
        false_alarm_rate=params.false_alarm_rate,
        foreign_auroc=float(roc_auc_score(truth, np.concatenate([scores, strange_scores]))),
    )


def _measure(
    outputs: CropOutputs,
    reference_nd: NDArray[np.floating],
    standard_2d: NDArray[np.floating],
    discriminants_2d: NDArray[np.floating],
    neighbours: int,
) -> NDArray[np.float64]:
    """(N, 4) distances of features standardised and of length one, of discriminants, energy."""
    parts = scale_features(outputs.features, standard_2d), reference_nd.astype(np.float32)
    pairs = [
        parts,
        [_scale_to_one(part * standard_2d[1] + standard_2d[0]) for part in parts],
        [_scale_to_one(part @ discriminants_2d) for part in parts],
    ]
    distances = [measure_distance(shown, known, neighbours) for shown, known in pairs]
    return np.stack([*distances, outputs.energy], axis=1).astype(np.float64)


def _scale_to_one(features_nd: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(features_nd, axis=1, keepdims=True)
    return np.asarray(features_nd / np.maximum(lengths, np.float32(_MIN_SPREAD)))


def _find_excess(
    measures_n4: NDArray[np.float64], location: NDArray[np.float64], spread: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N,) excess of the distances, and that of the energy, in spreads."""
    excess = (measures_n4 - location) / spread
    return excess[:, :2].max(axis=1) + excess[:, 2], excess[:, 3]


def _combine(distance: NDArray[np.float64], energy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add to the excess of the distance that of the energy, where there is one; (N,).

    A low energy takes nothing off: of some material that networks have not seen they are surer than
    of their own classes.
    """
    return np.asarray(distance + np.maximum(energy, 0.0))


def find_discriminants(
    standardised_nd: NDArray[np.floating], labels: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Find Fisher's discriminants, the covariance within classes shrunk as Ledoit & Wolf (2004) do.

    Parameters
    ----------
    standardised_nd
        (N, D) standardised features.
    labels
        (N,) classes, K different ones.

    Returns
    -------
    ndarray of float32, (D, K - 1)
        Weights of the features; (D, 0) for two classes, as one discriminant has no direction, and
        where no feature varies within classes, as of a network that collapsed.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    count = len(np.unique(labels)) - 1
    fitted = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto")
    none = np.empty((standardised_nd.shape[1], 0), np.float32)
    if count < _DIRECTED:
        return none
    try:
        fitted.fit(standardised_nd, labels)
    except np.linalg.LinAlgError:
        return none
    return np.asarray(fitted.scalings_[:, :count], np.float32)


def scale_features(
    features: NDArray[np.floating], standard_2d: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Standardise features (N, D) by mean and standard deviation (2, D)."""
    return np.asarray((features - standard_2d[0]) / standard_2d[1], dtype=np.float32)


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
