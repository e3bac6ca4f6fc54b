"""Whether a trained model is promoted to production, and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """A model as the decision sees it.

    Attributes
    ----------
    name
        Name in the text of the decision.
    score
        Score on the test split, 0 to 1, higher is better.
    split_hash
        Hash of the split that the model was trained and tested with; None if it has none.
    """

    name: str
    score: float
    split_hash: str | None = None


@dataclass(frozen=True)
class Promotion:
    """The decision, and its reasons in words."""

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
    """Promote the candidate only if it beats the baseline and the current production model.

    Parameters
    ----------
    candidate, baseline, production
        Models evaluated on the same test split; ``production`` is None where there is none yet.
    leaking
        Whether test and training regions overlap (data leakage); such a score promotes nothing.
    measure
        Name of the score, for the text of the decision.

    Returns
    -------
    Promotion
        On a tie the current production model stays.
    """
    references = [baseline] if production is None else [baseline, production]
    reasons = [_compare(candidate, reference, measure) for reference in references]
    if production is None:
        reasons.append("there is no production model yet")
    elif production.split_hash != candidate.split_hash:
        reasons.append(
            "the production model was trained on another split: it may have seen part of this "
            "test region, which favours it"
        )
    if leaking:
        reasons.append("the test split overlaps the training regions, so its scores prove nothing")
    promoted = not leaking and all(candidate.score > reference.score for reference in references)
    return Promotion(promoted, tuple(reasons))


def _compare(candidate: Candidate, reference: Candidate, measure: str) -> str:
    verb = "beats" if candidate.score > reference.score else "does not beat"
    return (
        f"{candidate.name} {verb} {reference.name} on the test split ({measure} "
        f"{candidate.score:.3f} against {reference.score:.3f})"
    )
