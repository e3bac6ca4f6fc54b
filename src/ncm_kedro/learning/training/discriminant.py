"""The last layer of a network without a step of training: the linear discriminant of its features.

A network with good features classifies before it is trained further, and trained further from
there it forgets less than from a random last layer (Kumar et al. 2022, arXiv:2202.10054).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score
from torch import nn

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.evaluation.ood import CropOutputs
from ncm_kedro.learning.models.pooled import PooledLite
from ncm_kedro.learning.models.predict import find_last_layer

_SHRINKAGES = (0.003, 0.01, 0.03, 0.1, 0.3)
_STD_FLOOR = 1e-6


@dataclass(frozen=True)
class Discriminant:
    """Linear discriminant of K classes on D features that are standardised first.

    Attributes
    ----------
    mean, std
        (D,) of the features of the training crops.
    weights, offsets
        (K, D) and (K,); logits are ``weights @ (feature - mean) / std + offsets``.
    shrinkage
        Weight of the unit matrix in the covariance within classes.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    weights: NDArray[np.float64]
    offsets: NDArray[np.float64]
    shrinkage: float

    def predict_logits(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Logits (N, K) of features (N, D), as they were when it was fitted."""
        return (features - self.mean) / self.std @ self.weights.T + self.offsets

    def write_to(self, network: nn.Module) -> None:
        """Make a network yield these logits; a norm that holds the standardisation is set to it.

        Raises
        ------
        ModelError
            The network's last layer is not linear.
        """
        last_layer = find_last_layer(network)
        if not isinstance(last_layer, nn.Linear):
            raise ModelError(
                type(network).__name__,
                found=f"a last layer of type {type(last_layer).__name__}",
                expected="a linear one, to hold the discriminant",
                action="choose another `model`, or set `last_layer: random`",
            )
        weights, offsets = self.weights, self.offsets
        norm = network.norm if isinstance(network, PooledLite) else None
        if norm is None:
            weights = weights / self.std
            offsets = offsets - weights @ self.mean
        with torch.no_grad():
            if norm is not None and norm.running_mean is not None and norm.running_var is not None:
                norm.running_mean.copy_(torch.from_numpy(self.mean))
                norm.running_var.copy_(torch.from_numpy(self.std**2 - norm.eps))
            last_layer.weight.copy_(torch.from_numpy(weights))
            last_layer.bias.copy_(torch.from_numpy(offsets))


def fit_discriminant(train: CropOutputs, validate: CropOutputs) -> Discriminant:
    """Fit on the training crops; the shrinkage is what classifies the validation crops best.

    Classes count alike, whatever their numbers of crops (Fisher 1936; shrinkage as in Friedman
    1989, *J. Am. Stat. Assoc.* 84, 165). One decomposition serves all shrinkages; scikit-learn
    solves anew for each.
    """
    features = train.features.astype(np.float64)
    mean, std = features.mean(axis=0), features.std(axis=0).clip(min=_STD_FLOOR)
    standard, known = (features - mean) / std, np.unique(train.labels)
    means = np.stack([standard[train.labels == label].mean(axis=0) for label in known])
    place = np.searchsorted(known, train.labels)
    within = (standard - means[place]) / np.sqrt(np.bincount(place) * len(known))[place, None]
    spreads, axes = np.linalg.eigh(within.T @ within)
    candidates = []
    for shrinkage in _SHRINKAGES:
        shrunk = (1 - shrinkage) * spreads + shrinkage * spreads.mean()
        directions = means @ (axes / shrunk) @ axes.T
        offsets = -0.5 * (directions * means).sum(axis=1)
        weights = np.zeros((train.logits.shape[1], len(mean)))
        weights[known] = directions
        all_offsets = np.full(len(weights), offsets.min())  # a class without a training crop
        all_offsets[known] = offsets
        candidates.append(Discriminant(mean, std, weights, all_offsets, shrinkage))
    return max(
        candidates,
        key=lambda found: balanced_accuracy_score(
            validate.labels, found.predict_logits(validate.features).argmax(axis=1)
        ),
    )
