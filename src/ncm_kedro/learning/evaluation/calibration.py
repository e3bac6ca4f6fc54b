"""Does a probability mean what it says? Temperature scaling and reliability.

References
----------
Guo et al. (2017), On calibration of modern neural networks, arXiv:1706.04599.

Sets of classes that hold the true one as often as promised.

Split conformal prediction on calibrated probabilities. A class stays in the set while one minus
its probability does not exceed a quantile of what the true classes of the validation crops had
(least ambiguous sets: Sadinle, Lei & Wasserman 2019, arXiv:1609.00451). With one quantile per class
the promise holds within each class (their section 3). Mosaics weigh alike (`area_ranks`): crops
from one stretch of connected ground are right or wrong together, so that the number of mosaics, not
of crops, says how much is known.

What is promised is for other ground like that of the validation mosaics; nothing is said about
another electrode or session.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch.nn import functional

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.evaluation.region_statistics import count_areas_needed, rank_areas
from ncm_kedro.params.base import FrozenParams
from ncm_kedro.params.tune_train import CalibrationParams, ConformalParams

_LOG_BOUND = 5.0


@dataclass(frozen=True)
class ReliabilityCurve:
    """Confidence against accuracy in bins of equal width.

    Parameters
    ----------
    edges
        (M + 1,) bounds of the bins, 0 to 1.
    confidence, accuracy
        (M,) mean confidence and accuracy in each bin; NaN where a bin is empty.
    count
        (M,) crops in each bin.
    """

    edges: NDArray[np.float64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]

    @property
    def expected_error(self) -> float:
        """Expected calibration error (eq. 3): mean |accuracy - confidence| over crops."""
        filled = self.count > 0
        gap = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float((gap * self.count[filled]).sum() / self.count.sum())


def fit_temperature(
    logits: NDArray[np.floating],
    labels: NDArray[np.integer],
    params: CalibrationParams | None = None,
) -> float:
    """Temperature that minimises the negative log likelihood of softmax(logits / T).

    Parameters
    ----------
    logits
        (N, K) of the validation split.
    labels
        (N,) class numbers.
    params
        Iterations at most.

    Returns
    -------
    float
        T > 0, within e^-5 to e^5 (bounds matter only where every crop is right); above 1 where
        the network is too sure of itself.

    Raises
    ------
    ModelError
        There is no crop, or a logit is not finite.
    """
    params = CalibrationParams() if params is None else params
    if len(labels) == 0 or not np.isfinite(logits).all():
        raise ModelError(
            "temperature scaling",
            found="no validation crop" if len(labels) == 0 else "logits that are not finite",
            expected="finite logits of the validation split",
            action="check the validation split and the training curve",
        )
    scores = torch.tensor(np.asarray(logits), dtype=torch.float64)
    targets = torch.tensor(np.asarray(labels), dtype=torch.int64)
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [log_temperature], max_iter=params.max_iterations, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = functional.cross_entropy(scores / log_temperature.exp(), targets)
        torch.autograd.backward(loss)
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return float(log_temperature.detach().clamp(-_LOG_BOUND, _LOG_BOUND).exp())


def apply_temperature(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """(N, K) probabilities softmax(logits / temperature)."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True), dtype=np.float64)


def measure_reliability(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], bins: int = 15
) -> ReliabilityCurve:
    """Confidence of the predicted class against how often it is right.

    Parameters
    ----------
    probabilities
        (N, K), rows add up to 1.
    labels
        (N,) class numbers.
    bins
        Bins of equal width between 0 and 1.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    hit = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    filled = np.maximum(count, 1)
    empty = count == 0
    mean_confidence = np.bincount(place, weights=confidence, minlength=bins) / filled
    mean_accuracy = np.bincount(place, weights=hit, minlength=bins) / filled
    return ReliabilityCurve(
        edges=edges,
        confidence=np.where(empty, np.nan, mean_confidence),
        accuracy=np.where(empty, np.nan, mean_accuracy),
        count=count.astype(np.int64),
    )


class ConformalSets(FrozenParams):
    """What turns probabilities into sets; travels with the classifier's settings."""

    coverage: float = Field(gt=0.0, lt=1.0)
    """Share of crops whose set is to hold the true class."""
    thresholds: tuple[float, ...]
    """Per class, the largest 1 - probability with which it stays in; 1 always keeps it."""
    n_mosaics: tuple[int, ...]
    """Per class, the validation mosaics that its threshold rests on."""
    notes: tuple[str, ...] = ()
    """Where less is promised than was asked for, and why."""


def fit_sets(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    mosaics: Sequence[str],
    classes: Sequence[str],
    params: ConformalParams,
) -> ConformalSets:
    """Fit thresholds on the validation split.

    A class with too few mosaics for a threshold of its own takes the one of all classes together;
    where even these are too few, all classes stay in every set. Both are noted.

    Parameters
    ----------
    probabilities
        (N, K), calibrated.
    labels
        (N,) class numbers.
    mosaics
        (N,) name of the connected ground each crop lies on.
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
    common = min(1.0, rank_areas(nonconformity, mosaic.tolist()).find_threshold(level))
    thresholds, n_mosaics, poor = [common] * len(classes), [count] * len(classes), []
    if params.kind == "class_conditional":
        for number, name in enumerate(classes):
            mine = labels == number
            own = len(np.unique(mosaic[mine]))
            if own < needed:
                poor.append(f"{name} ({own})")
                continue
            ranks = rank_areas(nonconformity[mine], mosaic[mine].tolist())
            thresholds[number], n_mosaics[number] = ranks.find_threshold(level), own
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
            "sets hold all classes",
        )
    if poor:
        return (
            f"{coverage:.0%} coverage within a class needs {needed} validation mosaics of it; too "
            f"few for {', '.join(poor)}: there it is promised over all classes together only",
        )
    return ()
