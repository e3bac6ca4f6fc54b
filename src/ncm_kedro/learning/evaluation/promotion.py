"""Whether a trained model may take over production, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Candidate:
    """What is known of a model at the moment of the decision.

    Attributes
    ----------
    name
        What the model is called in the text of the decision.
    score
        What is compared, on the test split, 0 to 1, higher is better.
    split_hash
        Hash of the split that the model was trained and tested with; None if it has none.
    """

    name: str
    score: float
    split_hash: str | None = None


@dataclass(frozen=True)
class Promotion:
    """The decision and its reasons in plain words."""

    promoted: bool
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable copy."""
        return asdict(self)


def decide_promotion(
    candidate: Candidate,
    baseline: Candidate,
    production: Candidate | None,
    *,
    leaking: bool = False,
    measure: str = "balanced accuracy",
) -> Promotion:
    """Let the candidate into production only where it beats baseline and present production.

    Parameters
    ----------
    candidate, baseline, production
        Models evaluated on the same test split; ``production`` is None where there is none yet.
    leaking
        Whether test and training ground overlap; such a score promotes nothing.
    measure
        What the score is, for the text of the decision.

    Returns
    -------
    Promotion
        A tie is no win: the model that is in use stays.
    """
    compared_models = [baseline] if production is None else [baseline, production]
    reasons = [_compare(candidate, reference_model, measure) for reference_model in compared_models]
    if production is None:
        reasons.append("there is no production model yet")
    elif production.split_hash != candidate.split_hash:
        reasons.append(
            "the production model was trained on another split: it may have seen some of this "
            "test area, which favours it"
        )
    if leaking:
        reasons.append("the test split overlaps the training ground, so its scores prove nothing")
    promoted = not leaking and all(
        candidate.score > reference_model.score for reference_model in compared_models
    )
    return Promotion(promoted, tuple(reasons))


def score_names(truth: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the balanced accuracy of class names: the mean recall over the true classes.

    Parameters
    ----------
    truth, predicted
        Class names, N each; a predicted name that is no true class is wrong, not an error.
    """
    true, hit = np.asarray(truth), np.asarray(truth) == np.asarray(predicted)
    return float(np.mean([hit[true == name].mean() for name in np.unique(true)]))


def _compare(candidate: Candidate, reference_model: Candidate, measure: str) -> str:
    verb = "beats" if candidate.score > reference_model.score else "does not beat"
    return (
        f"{candidate.name} {verb} {reference_model.name} on the test split ({measure} "
        f"{candidate.score:.3f} against {reference_model.score:.3f})"
    )
