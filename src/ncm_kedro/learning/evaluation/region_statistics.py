"""Weights of crops that count areas: crops of one area show nearly the same thing.

Ranks of a score among calibration areas, each of which weighs alike.

Crops of one area show nearly the same thing, so a hundred crops of ten areas say little more than
ten crops. Every area gets the same weight however many crops it has, and one more share of the
weight lies beyond all scores, for the area that is still to come. For areas that are exchangeable
with the calibration areas this bounds the error without any assumption on the crops within them
(Lee, Barber & Willett 2023, Distribution-free inference with hierarchical data, arXiv:2306.06342,
Theorem 1: coverage between 1 - level and 1 - level + 2 / (areas + 1)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.params.tune_train import EvaluationParams


def weigh_areas(areas: Sequence[str]) -> NDArray[np.float64]:
    """(N,) weights of crops that give every area the same sum; they add up to 1."""
    _, area, count = np.unique(
        np.asarray(areas, dtype=str), return_inverse=True, return_counts=True
    )
    return np.asarray(1.0 / (count[area] * len(count)), dtype=np.float64)


def draw_areas(
    areas: Sequence[str], strata: NDArray[np.integer], params: EvaluationParams
) -> tuple[NDArray[np.str_], NDArray[np.int64], NDArray[np.float64]]:
    """Draw areas with replacement, each within its stratum.

    Parameters
    ----------
    areas
        (N,) name of the area each crop lies in.
    strata
        (N,) stratum of each crop's area.
    params
        Resamples, seed.

    Returns
    -------
    names
        (A,) areas, sorted.
    area
        (N,) number of each crop's area.
    weights
        (n_bootstrap, A) how often each area was drawn.
    """
    names, first, area = np.unique(
        np.asarray(areas, dtype=str), return_index=True, return_inverse=True
    )
    rng = np.random.default_rng(params.seed)
    stratum = np.asarray(strata)[first]
    weights = np.zeros((params.n_bootstrap, len(names)))
    for value in np.unique(stratum):
        mine = np.flatnonzero(stratum == value)
        chance = np.full(len(mine), 1.0 / len(mine))
        weights[:, mine] = rng.multinomial(len(mine), chance, size=params.n_bootstrap)
    return names, area.astype(np.int64), weights


_ROUNDING = 1e-9


@dataclass(frozen=True)
class AreaRanks:
    """Scores of calibration crops with their weights, ready to rank new scores.

    Attributes
    ----------
    scores
        (N,) rising.
    weights
        (N,) share of each crop; they add up to n / (n + 1) for n areas.
    """

    scores: NDArray[np.float64]
    weights: NDArray[np.float64]

    @property
    def smallest_p(self) -> float:
        """The p-value above all scores, 1 / (areas + 1)."""
        return float(1.0 - self.weights.sum())

    def measure_p(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Weight of calibration scores at or above each value, and of the area to come.

        P(p <= level) <= level for a crop of a new area (arXiv:2306.06342, Theorem 1).

        Parameters
        ----------
        values
            Of any shape; the higher, the stranger.
        """
        below = np.concatenate([[0.0], np.cumsum(self.weights)])
        return np.asarray(1.0 - below[np.searchsorted(self.scores, values, side="left")])

    def find_threshold(self, level: float) -> float:
        """Smallest score that at most ``level`` of the weight lies above; infinite without one.

        It is infinite where there are fewer than 1 / level - 1 areas.
        """
        reached = np.cumsum(self.weights) >= 1.0 - level - _ROUNDING
        return float(self.scores[np.argmax(reached)]) if reached.any() else float("inf")


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


def count_areas_needed(level: float) -> int:
    """Fewest areas with which an error rate can be promised."""
    return int(np.ceil(1.0 / level - 1.0 - _ROUNDING))
