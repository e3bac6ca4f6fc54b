"""Many small independent tasks on threads, with progress; results in the order of the tasks.

One pass of explaining damage: a blocked cross-validation with SHAP values of every prediction.

Predictions and SHAP values of a particle come from forests that were grown on other blocks.
The importance of an attribute is its part in the out-of-sample R2::

    part_j = sum_i phi_ij (2 (y_i - b_i) - sum_k phi_ik) / sum_i (y_i - b_i)^2

with SHAP values phi and the mean b of the particles that the forest was grown on. The parts sum to
1 - sum (y - prediction)^2 / sum (y - b)^2: attributes that help a prediction of unseen particles
have a positive part, those that only add scatter a negative one.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ncm_kedro.damage.forest import bin_values, grow_forest
from ncm_kedro.damage.tree_shap import explain_forest
from ncm_kedro.params.damage_attribution import DamageForestParams

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_TENTHS = 4


def run_tasks(
    tasks: Sequence[Callable[[], Answer]], workers: int, what: str, every: int = _TENTHS
) -> list[Answer]:
    """Run tasks and return their results in order.

    Parameters
    ----------
    tasks
        What to run; compiled work that lets other threads on.
    what
        What the tasks are, for the log.
    every
        How often progress is logged.
    """
    answers: list[Answer] = []
    marks = {len(tasks) * part // every for part in range(1, every + 1)}
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(max_workers=workers) as pool:
        running = [pool.submit(task) for task in tasks]
        try:
            for done, future in enumerate(running, start=1):
                answers.append(future.result())
                if done in marks:
                    logger.info("%s: %d of %d", what, done, len(tasks))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return answers


def make_rng(seed: int, sample: str, purpose: str, number: int = 0) -> np.random.Generator:
    """Return the source of random numbers of one task, whatever runs beside it.

    Parameters
    ----------
    sample, purpose, number
        What the task is.
    """
    names = (zlib.crc32(name.encode()) for name in (sample, purpose))
    return np.random.default_rng([seed, *names, number])


FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Players = Sequence[Sequence[int]]

_ROUNDING = 1e-24


@dataclass(frozen=True)
class Explained:
    """Predictions of forests on held-out particles.

    Attributes
    ----------
    rows
        (M,), which particles.
    damage, base, prediction
        (M,), damage, mean damage of the particles that the forest was grown on, its prediction.
    shap
        By set of players (M, players), SHAP values; base plus their sum is the prediction.
    """

    rows: IntArray
    damage: FloatArray
    base: FloatArray
    prediction: FloatArray
    shap: tuple[FloatArray, ...]

    @property
    def r2(self) -> float:
        """Out-of-sample R2 against the mean of the training particles."""
        return score_r2(self.damage, self.prediction, self.base)

    def sort(self) -> Explained:
        """Return the same in the order of the rows."""
        order = np.argsort(self.rows)
        shap = tuple(worth[order] for worth in self.shap)
        return Explained(
            self.rows[order], self.damage[order], self.base[order], self.prediction[order], shap
        )

    def share_r2(self, players: int = 0) -> FloatArray:
        """Return the parts of the R2 that the players of a set bring, (players,)."""
        shap = self.shap[players]
        missed = self.damage - self.base
        total = _sum_missed(self.damage, self.base)
        parts = (shap * (2 * missed - shap.sum(axis=1))[:, None]).sum(axis=0)
        shares: FloatArray = parts / total if total > 0 else np.zeros(shap.shape[1])
        return shares


def score_r2(damage: FloatArray, prediction: FloatArray, base: FloatArray) -> float:
    """Return 1 - squared error over that of the base; 0 where the base makes no error."""
    total = _sum_missed(damage, base)
    return 1.0 - float(((damage - prediction) ** 2).sum()) / total if total > 0 else 0.0


def explain_out_of_sample(
    values_np: FloatArray,
    damage: FloatArray,
    folds: IntArray,
    players: Sequence[Players],
    *,
    forest: DamageForestParams,
    rng: np.random.Generator,
    max_explained: int | None = None,
) -> Explained:
    """Grow a forest without each fold, and explain its predictions there.

    Parameters
    ----------
    values_np
        (N, P), attributes.
    damage, folds
        (N,), what is explained, and the fold of each particle.
    players
        Sets of players; each player is a list of columns.
    max_explained
        Particles of all folds that are explained at most, drawn at random; None: all.
    """
    bins = bin_values(values_np)
    asked = np.ones(len(damage), dtype=bool)
    if max_explained is not None and len(damage) > max_explained:
        asked[:] = False
        asked[rng.choice(len(damage), max_explained, replace=False)] = True
    parts = []
    for fold in np.unique(folds):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero((folds == fold) & asked)
        grown = grow_forest(bins, damage, inside, forest, rng)
        explained = [explain_forest(grown, values_np[outside], each) for each in players]
        shap = tuple(worth for worth, _ in explained)
        base = np.full(len(outside), explained[0][1])
        prediction = base + shap[0].sum(axis=1)
        parts.append(Explained(outside, damage[outside], base, prediction, shap))
    return _join(parts)


def predict_linearly(values_np: FloatArray, damage: FloatArray, folds: IntArray) -> FloatArray:
    """Predict each fold by least squares on the others, (N,).

    Attributes are standardised on the training particles; a ridge of a thousandth of their number
    keeps exactly dependent attributes from blowing up.

    Parameters
    ----------
    values_np
        (N, P), attributes.
    damage, folds
        (N,), what is predicted, and the fold of each particle.
    """
    answer = np.empty(len(damage))
    for fold in np.unique(folds):
        inside, outside = folds != fold, folds == fold
        middle, spread = values_np[inside].mean(axis=0), values_np[inside].std(axis=0)
        scaled = (values_np - middle) / np.where(spread > 0, spread, 1.0)
        known, mean = scaled[inside], damage[inside].mean()
        ridge = 1e-3 * len(known) * np.eye(known.shape[1])
        weights = np.linalg.solve(known.T @ known + ridge, known.T @ (damage[inside] - mean))
        answer[outside] = mean + scaled[outside] @ weights
    return answer


def _sum_missed(damage: FloatArray, base: FloatArray) -> float:
    """Squared error of the base; 0 where it is rounding alone."""
    total = float(((damage - base) ** 2).sum())
    return total if total > _ROUNDING * float((damage**2).sum()) else 0.0


def _join(parts: Sequence[Explained]) -> Explained:
    def stack(take: Callable[[Explained], FloatArray]) -> FloatArray:
        return np.concatenate([take(part) for part in parts])

    return Explained(
        rows=np.concatenate([part.rows for part in parts]),
        damage=stack(lambda part: part.damage),
        base=stack(lambda part: part.base),
        prediction=stack(lambda part: part.prediction),
        shap=tuple(
            stack(lambda part, number=number: part.shap[number])  # type: ignore[misc]
            for number in range(len(parts[0].shap))
        ),
    )
