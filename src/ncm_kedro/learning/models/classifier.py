"""A trained classifier as plain data: weights, classes, and how a crop becomes network input.

Everything that is fitted on the validation split of a trained classifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.data.crop_index import CropIndex, GreyStatistics
from ncm_kedro.learning.data.frame_bank import FrameBank
from ncm_kedro.learning.data.loader import CropLoader
from ncm_kedro.learning.evaluation.calibration import (
    ConformalSets,
    apply_temperature,
    choose_sets,
    fit_sets,
    fit_temperature,
)
from ncm_kedro.learning.evaluation.ood import OODDetector, OODScores, fit_detector
from ncm_kedro.learning.models.factory import build_model
from ncm_kedro.learning.models.predict import CropOutputs, predict_outputs
from ncm_kedro.learning.training.train import choose_device
from ncm_kedro.params.base import FrozenParams
from ncm_kedro.params.tune_train import CalibrationParams, NormaliseParams

INFERENCE_BATCH = 64


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
    """What turns probabilities into sets of classes; none before calibration."""
    split_hash: str | None = None
    """Hash of the crops table that the network was trained with."""


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
        What tells unknown samples; none before calibration.
    """

    settings: ClassifierSettings
    weights: dict[str, NDArray[np.generic]]
    detector: OODDetector | None = None

    def with_temperature(self, temperature: float) -> SemClassifier:
        """Return a copy with calibrated logits."""
        settings = self.settings.model_copy(update={"temperature": temperature})
        return replace(self, settings=settings)

    def with_uncertainty(self, sets: ConformalSets, detector: OODDetector) -> SemClassifier:
        """Return a copy that answers with sets of classes and flags unknown samples."""
        settings = self.settings.model_copy(update={"sets": sets})
        return replace(self, settings=settings, detector=detector)


@dataclass(frozen=True)
class CropPredictions:
    """What a classifier says of crops.

    Attributes
    ----------
    probabilities
        (N, K) calibrated; rows sum to 1.
    sets
        (N, K) whether each class is in the set; none where the classifier has no thresholds.
    ood_score
        How unlike the training crops they look; none where the classifier has no detector.
    """

    probabilities: NDArray[np.float64]
    sets: NDArray[np.bool_] | None
    ood_score: OODScores | None


def export_weights(network: torch.nn.Module) -> dict[str, NDArray[np.generic]]:
    """Return parameters and buffers as arrays, on the host."""
    return {
        name: value.detach().cpu().numpy().copy() for name, value in network.state_dict().items()
    }


def build_network(classifier: SemClassifier) -> torch.nn.Module:
    """Rebuild the trained network on the host, in evaluation mode.

    Raises
    ------
    ModelError
        The weights do not fit the architecture.
    """
    settings = classifier.settings
    network = build_model(
        settings.model,
        num_classes=len(settings.classes),
        pretrained=False,
        checkpoint_path=None,
        drop_rate=0.0,
    )
    state = {name: torch.from_numpy(np.array(a)) for name, a in classifier.weights.items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(
            settings.model,
            found=f"weights that do not fit ({str(error).splitlines()[-1].strip()})",
            expected="the weights that were saved with this architecture",
            action="use the package version that trained this model, or train again",
        ) from error
    return network.eval()


def predict_crops(
    classifier: SemClassifier,
    network: torch.nn.Module,
    bank: FrameBank,
    crops: CropIndex,
    *,
    device: str = "auto",
    threads: int = 2,
) -> CropPredictions:
    """Return probabilities, sets and ood_score of crops.

    Parameters
    ----------
    classifier, network
        The classifier and the network that was built from it.
    bank, crops
        Frames in memory at the classifier's pixel size, and N crops of them.
    device, threads
        Where the network runs; threads that cut crops.
    """
    settings = classifier.settings
    outputs = run_network(settings, network, bank, crops, device=device, threads=threads)
    probabilities = apply_temperature(outputs.logits, settings.temperature)
    return CropPredictions(
        probabilities,
        None if settings.sets is None else choose_sets(probabilities, settings.sets),
        None if classifier.detector is None else classifier.detector.evaluate(outputs),
    )


def classify_crops(
    classifier: SemClassifier,
    network: torch.nn.Module,
    bank: FrameBank,
    crops: CropIndex,
    *,
    device: str = "auto",
    threads: int = 2,
) -> NDArray[np.float64]:
    """(N, K) calibrated class probabilities alone; see `predict_crops`."""
    return predict_crops(
        classifier, network, bank, crops, device=device, threads=threads
    ).probabilities


def run_network(
    settings: ClassifierSettings,
    network: torch.nn.Module,
    bank: FrameBank,
    crops: CropIndex,
    *,
    device: str = "auto",
    threads: int = 2,
) -> CropOutputs:
    """Return logits, energies and features of crops, prepared as in training."""
    return predict_outputs(
        network,
        open_loader(settings, bank, crops, device=device, threads=threads),
        device=device,
        test_time_augmentation=settings.test_time_augmentation,
    )


def open_loader(
    settings: ClassifierSettings,
    bank: FrameBank,
    crops: CropIndex,
    *,
    device: str = "auto",
    threads: int = 2,
) -> CropLoader:
    """Return a loader that prepares crops as the classifier was trained on them, unchanged."""
    statistics = None
    if settings.grey_mean is not None and settings.grey_std is not None:
        statistics = GreyStatistics(settings.grey_mean, settings.grey_std)
    return CropLoader(
        bank,
        crops,
        batch_size=INFERENCE_BATCH,
        input_px=settings.input_px,
        normalise=settings.normalise,
        statistics=statistics,
        device=choose_device(device),
        threads=threads,
    )


def calibrate_classifier(
    classifier: SemClassifier,
    train: CropOutputs,
    validate: CropOutputs,
    mosaics: Sequence[str],
    params: CalibrationParams,
) -> SemClassifier:
    """Fit temperature, prediction sets and unknown-sample flag.

    The same validation crops also chose the best epoch, so that they are a little too easy; the
    test split shows by how much.

    Parameters
    ----------
    classifier
        Trained, not calibrated.
    train, validate
        What its network says of both splits; the validation split as it will say it of new crops,
        views averaged if they are to be.
    mosaics
        (N,) name of the connected ground each validation crop lies on.
    params
        Settings of the three; without ``enabled`` the temperature stays 1.
    """
    temperature = (
        fit_temperature(validate.logits, validate.labels, params) if params.enabled else 1.0
    )
    sets = fit_sets(
        apply_temperature(validate.logits, temperature),
        validate.labels,
        mosaics,
        classifier.settings.classes,
        params.sets,
    )
    detector = fit_detector(train, validate, mosaics, params.unknown)
    return classifier.with_temperature(temperature).with_uncertainty(sets, detector)
