"""Whether a trained model is promoted to production, and why.

Two models are compared on the same test regions: whole regions are drawn with replacement, the same
for both (paired cluster bootstrap, Davison & Hinkley 1997, ch. 3.8), and the interval of the
difference of their scores must lie above 0. Regions are drawn whatever their class: within classes
of one or two regions the draws would hardly differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.learning.evaluation.metrics import (
    MIN_AREAS,
    bound_draws,
    count_confusion,
    resample_areas,
    score_confusion,
)
from ncm_kedro.params.tune_train import EvaluationParams

_MEASURE = "balanced_accuracy"


@dataclass(frozen=True)
class Comparison:
    """Two models on the same test regions.

    Attributes
    ----------
    candidate, reference
        Names in the text of the decision.
    score, reference_score
        0 to 1, higher is better.
    low, high
        Interval of the difference, candidate minus reference; None where there are too few regions.
    n_regions
        Independent test regions.
    confidence
        Probability mass of the interval.
    measure
        Name of the score.
    """

    candidate: str
    reference: str
    score: float
    reference_score: float
    low: float | None
    high: float | None
    n_regions: int
    confidence: float = 0.95
    measure: str = "balanced accuracy"

    @property
    def is_won(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.low is not None and self.low > 0

    @property
    def interval(self) -> str:
        """Difference with its interval, in words."""
        difference = f"{self.score - self.reference_score:+.3f}"
        if self.low is None or self.high is None:
            return f"{difference}, no interval: {self.n_regions} regions of at least {MIN_AREAS}"
        level = f"{100 * self.confidence:g} %"
        return f"{difference} ({level}: {self.low:+.3f} to {self.high:+.3f})"

    def describe(self) -> str:
        """Return the comparison in words."""
        verb = "beats" if self.is_won else "does not beat"
        return (
            f"{self.candidate} {verb} {self.reference} on {self.n_regions} test regions "
            f"({self.measure} {self.score:.3f} against {self.reference_score:.3f}, difference "
            f"{self.interval})"
        )


@dataclass(frozen=True)
class Promotion:
    """The decision, and its reasons in words.

    Attributes
    ----------
    comparisons
        What it rests on.
    compared_with_production
        Whether it stands against one production version, ``replaces``: it is void where another
        version went into production meanwhile.
    replaces
        Number of that version; None where there was none.
    """

    promoted: bool
    reasons: tuple[str, ...]
    comparisons: tuple[Comparison, ...] = ()
    compared_with_production: bool = False
    replaces: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable copy."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Promotion:
        """Read what `to_dict` returned."""
        compared = tuple(Comparison(**entry) for entry in stored.get("comparisons", ()))
        return cls(**{**stored, "reasons": tuple(stored["reasons"]), "comparisons": compared})


def compare_predictions(
    names: tuple[str, str],
    labels: NDArray[np.integer],
    predicted: NDArray[np.integer],
    reference: NDArray[np.integer],
    *,
    regions: Sequence[str],
    params: EvaluationParams,
) -> Comparison:
    """Compare the predictions of two classifiers for the same crops.

    Parameters
    ----------
    names
        Of the candidate and of the reference.
    labels, predicted, reference
        (N,) class numbers: truth, by the candidate, by the reference; a class that is not among
        the true ones is just wrong.
    regions
        (N,) name of the region each crop lies in.
    params
        Resamples, confidence, seed.
    """
    n_classes = int(max(labels.max(), predicted.max(), reference.max())) + 1
    score, other = (
        float(score_confusion(count_confusion(labels, claimed, n_classes))[_MEASURE])
        for claimed in (predicted, reference)
    )
    n_regions = len(set(regions))
    ours, theirs = (
        resample_areas(labels, claimed, regions, n_classes, params)[_MEASURE]
        for claimed in (predicted, reference)
    )
    low, high = bound_draws(ours - theirs, n_regions, params)
    return Comparison(*names, score, other, low, high, n_regions, params.confidence)


def decide_promotion(
    comparisons: Sequence[Comparison],
    *,
    replaces: str | None = None,
    notes: Sequence[str] = (),
    leaking: bool = False,
) -> Promotion:
    """Promote the candidate only if it beats every reference.

    Parameters
    ----------
    comparisons
        With the baseline and, where it is a fair reference, with the production model.
    replaces
        Number of the production version; None where there is none.
    notes
        What else is to be said, such as why the production model is no reference.
    leaking
        Whether test and training regions overlap (data leakage); such a score promotes nothing.
    """
    reasons = [comparison.describe() for comparison in comparisons]
    reasons += ["there is no production model yet"] if replaces is None else []
    reasons += notes
    if leaking:
        reasons.append("the test split overlaps the training regions, so its scores prove nothing")
    promoted = not leaking and all(comparison.is_won for comparison in comparisons)
    return Promotion(promoted, tuple(reasons), tuple(comparisons), True, replaces)
