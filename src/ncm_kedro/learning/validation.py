"""Scores of the validation split, computed on the device."""

from __future__ import annotations

import torch
from torch.nn import functional


def score_validation(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Mean loss (nats), accuracy and balanced accuracy of logits (N, K) against labels (N,)."""
    n_classes = logits.shape[1]
    hit = (logits.argmax(1) == labels).float()
    support = torch.bincount(labels, minlength=n_classes)
    recall = torch.bincount(labels, weights=hit, minlength=n_classes) / support
    return {
        "loss": float(functional.cross_entropy(logits, labels)),
        "accuracy": float(hit.mean()),
        "balanced_accuracy": float(recall[support > 0].mean()),
    }


def rank_score(scores: dict[str, float], name: str) -> float:
    """Value by which epochs are compared: higher is better."""
    return -scores["loss"] if name == "loss" else scores[name]
