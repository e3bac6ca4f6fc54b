"""Does a probability mean what it says? Temperature scaling and reliability.

References
----------
Guo et al. (2017), On calibration of modern neural networks, arXiv:1706.04599.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from ncm_kedro.errors import ModelError
from ncm_kedro.params.tune_train import CalibrationParams

_LOG_BOUND = 5.0
_SMALLEST_PROBABILITY = 1e-12


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
        Maximum number of iterations.

    Returns
    -------
    float
        T > 0, within e^-5 to e^5 (the bounds matter only where every crop is right); above 1 for
        an over-confident network. The loss is convex in 1 / T, so that its minimum is unique.

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
    scores, row = np.asarray(logits, dtype=np.float64), np.arange(len(labels))

    def differentiate_loss(log_temperature: NDArray[np.float64]) -> tuple[float, float]:
        scaled = scores / np.exp(log_temperature)
        expected = (softmax(scaled, axis=1) * scaled).sum(axis=1)
        loss = -log_softmax(scaled, axis=1)[row, labels].mean()
        return float(loss), float((scaled[row, labels] - expected).mean())

    found = minimize(
        differentiate_loss,
        x0=0.0,
        jac=True,
        method="L-BFGS-B",
        bounds=[(-_LOG_BOUND, _LOG_BOUND)],
        options={"maxiter": params.max_iterations, "gtol": 1e-7, "ftol": 1e-14},
    )
    return float(np.exp(found.x[0]))


def apply_temperature(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """(N, K) probabilities softmax(logits / temperature)."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    return np.asarray(softmax(scaled, axis=1), dtype=np.float64)


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


def summarise_calibration(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], bins: int
) -> dict[str, Any]:
    """Calibration errors, ready for JSON; parameters as for `measure_reliability`.

    Returns
    -------
    dict
        `expected_error`, `negative_log_likelihood` (nats), `brier`, and `confidence`, `accuracy`,
        `count` of the bins that hold crops.
    """
    curve = measure_reliability(probabilities, labels, bins)
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    target = np.eye(probabilities.shape[1])[labels]
    filled = curve.count > 0
    return {
        "expected_error": curve.expected_error,
        "negative_log_likelihood": float(-np.log(np.maximum(own, _SMALLEST_PROBABILITY)).mean()),
        "brier": float(((probabilities - target) ** 2).sum(axis=1).mean()),
        "confidence": curve.confidence[filled].tolist(),
        "accuracy": curve.accuracy[filled].tolist(),
        "count": curve.count[filled].tolist(),
    }
