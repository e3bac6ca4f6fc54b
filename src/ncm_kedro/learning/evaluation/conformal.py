"""Prediction sets with a target coverage: split conformal prediction over areas.

A class is in the set of a crop while one minus its calibrated probability does not exceed a
quantile of what the true classes of the validation crops had (least ambiguous sets: Sadinle, Lei &
Wasserman 2019, arXiv:1609.00451). With one quantile per class the target holds within each class
(their section 3).

Crops of one area show nearly the same thing, so a hundred crops of ten areas say little more than
ten crops. Every area gets the same weight however many crops it has, and the intraclass correlation
of the scores' ranks tells how many independent crops they are worth; the quantile is that of so
many scores and one to come. So the target is met on average over sets of calibration areas, be the
crops of an area independent or all alike, with no more than a dozen areas; one set of them may lie
above or below. A bound for any distribution (Lee, Barber & Willett 2023, arXiv:2306.06342, Theorem
1) has to include up to 2 / (areas + 1) more; it is what p-values rest on (`AreaRanks`).

The areas are mosaics, connected imaged regions; nothing is promised for another electrode or
session.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ncm_kedro.params.base import FrozenParams
from ncm_kedro.params.tune_train import ConformalParams

_ROUNDING = 1e-9


def weigh_areas(areas: Sequence[str]) -> NDArray[np.float64]:
    """(N,) weights of crops that give every area the same sum; they add up to 1."""
    _, area, count = np.unique(
        np.asarray(areas, dtype=str), return_inverse=True, return_counts=True
    )
    return np.asarray(1.0 / (count[area] * len(count)), dtype=np.float64)


@dataclass(frozen=True)
class AreaRanks:
    """Scores of calibration crops with their weights, ready to rank new scores.

    Attributes
    ----------
    scores
        (N,) rising.
    weights
        (N,) weight of each crop; they add up to n / (n + 1) for n areas.
    """

    scores: NDArray[np.float64]
    weights: NDArray[np.float64]

    @property
    def n_areas(self) -> int:
        """Areas that the crops lie in; the smallest p-value is 1 / (areas + 1)."""
        return round(1.0 / (1.0 - float(self.weights.sum()))) - 1

    def measure_p(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Weight of calibration scores at or above each value, and of the area to come.

        P(p <= level) <= level for a crop of a new area (arXiv:2306.06342, Theorem 1).

        Parameters
        ----------
        values
            Of any shape; higher is more extreme.
        """
        below = np.concatenate([[0.0], np.cumsum(self.weights)])
        return np.asarray(1.0 - below[np.searchsorted(self.scores, values, side="left")])


def rank_areas(scores: NDArray[np.floating], areas: Sequence[str]) -> AreaRanks:
    """Weigh calibration crops so that each area counts alike.

    Parameters
    ----------
    scores
        (N,) of the calibration crops.
    areas
        (N,) name of the area each crop lies in.
    """
    share = weigh_areas(areas)
    count = len(set(areas))
    order = np.argsort(scores, kind="stable")
    return AreaRanks(
        np.asarray(scores, dtype=np.float64)[order], share[order] * (count / (count + 1))
    )


def choose_threshold(scores: NDArray[np.floating], areas: Sequence[str], level: float) -> float:
    """Choose the score that a fraction ``level`` of the crops of an unseen area lies above.

    Parameters
    ----------
    scores
        (N,) of the calibration crops.
    areas
        (N,) name of the area each crop lies in; at least two.
    level
        Fraction, areas weighing alike.
    """
    weights = weigh_areas(areas)
    likeness = measure_likeness(scores, areas)
    count = 1.0 / (likeness / len(set(areas)) + (1.0 - likeness) * (weights**2).sum())
    quantile = ((count + 1.0) * (1.0 - level) - 0.5) / count
    order = np.argsort(scores, kind="stable")
    place = np.cumsum(weights[order]) - weights[order] / 2.0
    return float(np.interp(quantile, place, np.asarray(scores, np.float64)[order]))


def measure_likeness(scores: NDArray[np.floating], areas: Sequence[str]) -> float:
    """Intraclass correlation of the ranks of scores, 0 to 1; 0 with one crop per area.

    The one-way estimate (Donner 1986, Int. Stat. Rev. 54, 67), not below 0.
    """
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    _, area, count = np.unique(
        np.asarray(areas, dtype=str), return_inverse=True, return_counts=True
    )
    n_areas, n_crops = len(count), len(ranks)
    if n_areas in (1, n_crops):
        return 0.0
    means = np.bincount(area, weights=ranks) / count
    between = (count * (means - ranks.mean()) ** 2).sum() / (n_areas - 1)
    within = ((ranks - means[area]) ** 2).sum() / (n_crops - n_areas)
    size = (n_crops - (count**2).sum() / n_crops) / (n_areas - 1)
    total = between + (size - 1.0) * within
    return max(0.0, float((between - within) / total)) if total > 0.0 else 0.0


def count_areas_needed(level: float) -> int:
    """Minimum number of areas with which an error rate can be told from zero."""
    return int(np.ceil(1.0 / level - 1.0 - _ROUNDING))


class ConformalSets(FrozenParams):
    """Thresholds of the prediction sets; they travel with the classifier's settings."""

    coverage: float = Field(gt=0.0, lt=1.0)
    """Target fraction of crops whose set contains the true class."""
    thresholds: tuple[float, ...]
    """Per class, the largest 1 - probability with which it is in the set; 1 always is."""
    n_mosaics: tuple[int, ...]
    """Per class, the validation mosaics that its threshold rests on."""
    notes: tuple[str, ...] = ()
    """Where the coverage is another than the target, and why."""


def fit_sets(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    mosaics: Sequence[str],
    classes: Sequence[str],
    params: ConformalParams,
) -> ConformalSets:
    """Fit thresholds on the validation split.

    A class with too few mosaics for a threshold of its own takes the one of all classes together;
    where even these are too few, every set contains all classes. Both are noted.

    Parameters
    ----------
    probabilities
        (N, K), calibrated.
    labels
        (N,) class numbers.
    mosaics
        (N,) mosaic (connected imaged region) of each crop.
    classes
        (K,) names, for the notes.
    params
        Target coverage; per class or not.
    """
    level = 1.0 - params.coverage
    needed = count_areas_needed(level)
    nonconformity = 1.0 - probabilities[np.arange(len(labels)), labels].astype(np.float64)
    mosaic = np.asarray(mosaics, dtype=str)
    count = len(np.unique(mosaic))
    common = 1.0
    if count >= needed:
        common = choose_threshold(nonconformity, mosaic.tolist(), level)
    thresholds, n_mosaics, poor = [common] * len(classes), [count] * len(classes), []
    if params.kind == "class_conditional":
        for number, name in enumerate(classes):
            mine = labels == number
            own = len(np.unique(mosaic[mine]))
            if own < needed:
                poor.append(f"{name} ({own})")
                continue
            thresholds[number] = choose_threshold(nonconformity[mine], mosaic[mine].tolist(), level)
            n_mosaics[number] = own
    return ConformalSets(
        coverage=params.coverage,
        thresholds=tuple(thresholds),
        n_mosaics=tuple(n_mosaics),
        notes=_write_notes(params.coverage, needed, count, poor),
    )


def choose_sets(probabilities: NDArray[np.floating], sets: ConformalSets) -> NDArray[np.bool_]:
    """Mark the classes that are in the set of each crop.

    The most probable class always is, so that no set is empty; this can only raise the coverage.

    Parameters
    ----------
    probabilities
        (N, K), calibrated.
    sets
        Fitted thresholds.

    Returns
    -------
    ndarray of bool, (N, K)
        At least one per row.
    """
    members = 1.0 - np.asarray(probabilities, dtype=np.float64) <= np.asarray(sets.thresholds)
    members[np.arange(len(members)), np.asarray(probabilities).argmax(axis=1)] = True
    return np.asarray(members)


def name_sets(members: NDArray[np.bool_], classes: Sequence[str]) -> list[str]:
    """Write each set, a row of ``members`` (N, K), as class names joined by commas."""
    names = np.asarray(classes, dtype=object)
    return [", ".join(names[row]) for row in members]


def _write_notes(coverage: float, needed: int, count: int, poor: list[str]) -> tuple[str, ...]:
    if count < needed:
        return (
            f"{coverage:.0%} coverage needs {needed} validation mosaics and there are {count}: "
            "sets contain all classes",
        )
    if poor:
        return (
            f"{coverage:.0%} coverage within a class needs {needed} validation mosaics of it; too "
            f"few for {', '.join(poor)}: there it is met over all classes together only",
        )
    return ()
