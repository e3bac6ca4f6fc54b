"""A trained classifier as plain data, and the predictions of one. Needs no torch.

`learning.models.predict` runs its network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ncm_kedro.learning.evaluation.conformal import ConformalSets
from ncm_kedro.learning.evaluation.ood import OODDetector, OODScores
from ncm_kedro.params.base import FrozenParams
from ncm_kedro.params.tune_train import NormaliseParams

TrainingRegion = tuple[str, int, int, int, int]
"""Frame, and a box in it: x0, y0, x1, y1 (px)."""


class ClassifierSettings(FrozenParams):
    """All that must travel with the weights."""

    model: str
    """Name of the timm architecture."""
    classes: tuple[str, ...] = Field(min_length=2)
    """Class names in the order of the network's outputs."""
    compositions: tuple[str, ...]
    """Composition of each class."""
    states: tuple[str, ...]
    """State of each class."""
    crop_px: int = Field(ge=8)
    """Side of a crop at `pixel_size_um`, px."""
    pixel_size_um: float = Field(gt=0)
    """Pixel size of the frames that the network was trained on, um."""
    input_px: int = Field(ge=8)
    """Side that crops are resized to, px."""
    normalise: NormaliseParams = NormaliseParams()
    """How grey values become network input."""
    grey_mean: float | None = None
    """Mean of the training crops, fraction of the full range; for `data_set` normalisation."""
    grey_std: float | None = None
    """Standard deviation of the training crops, fraction of the full range."""
    test_time_augmentation: Literal["none", "dihedral"] = "none"
    """Views of a crop that are averaged."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits; 1 before calibration."""
    sets: ConformalSets | None = None
    """Thresholds of the prediction sets of crops; none before calibration."""
    frame_sets: ConformalSets | None = None
    """Thresholds of the prediction sets of frames, for probabilities averaged over their tiles."""
    split_hash: str | None = None
    """Hash of the crops table that the network was trained with."""
    training_regions: tuple[TrainingRegion, ...] = ()
    """Parts of frames that training and validation could see; empty if they were not recorded."""


@dataclass(frozen=True)
class SemClassifier:
    """Settings and weights; everything else is rebuilt from them.

    Attributes
    ----------
    settings
        What must travel with the weights.
    weights
        Network parameters and buffers by name.
    detector
        Flags out-of-distribution crops; none before calibration.
    version
        Number in the registry, for one that was loaded from there.
    """

    settings: ClassifierSettings
    weights: dict[str, NDArray[np.generic]]
    detector: OODDetector | None = None
    version: str | None = None

    def with_temperature(self, temperature: float) -> SemClassifier:
        """Return a copy with calibrated logits."""
        settings = self.settings.model_copy(update={"temperature": temperature})
        return replace(self, settings=settings)

    def with_uncertainty(
        self, sets: ConformalSets, frame_sets: ConformalSets, detector: OODDetector
    ) -> SemClassifier:
        """Return a copy with prediction sets and OOD flag."""
        settings = self.settings.model_copy(update={"sets": sets, "frame_sets": frame_sets})
        return replace(self, settings=settings, detector=detector)


@dataclass(frozen=True)
class CropPredictions:
    """Predictions of a classifier for crops.

    Attributes
    ----------
    probabilities
        (N, K) calibrated; rows sum to 1.
    sets
        (N, K) whether each class is in the prediction set; none without thresholds.
    ood_score
        OOD scores; none without a detector.
    """

    probabilities: NDArray[np.float64]
    sets: NDArray[np.bool_] | None
    ood_score: OODScores | None
