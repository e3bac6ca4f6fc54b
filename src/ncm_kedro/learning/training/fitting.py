"""From settings and crops to a trained classifier."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ncm_kedro.learning.data.loader import measure_statistics, open_split_loaders
from ncm_kedro.learning.models.classifier import ClassifierSettings, SemClassifier, export_weights
from ncm_kedro.learning.models.factory import build_model
from ncm_kedro.learning.search.search import SearchData
from ncm_kedro.learning.training.train import EpochRecord, FitResult, fit
from ncm_kedro.params.tune_train import TrainParams


def build_network_for(params: TrainParams, n_classes: int) -> nn.Module:
    """Build an untrained (or pretrained) network; its random weights follow from the seed.

    Parameters
    ----------
    params
        Architecture, source of weights, seed.
    n_classes
        Number of outputs.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        return build_model(
            params.model,
            num_classes=n_classes,
            pretrained=params.pretrained,
            checkpoint_path=params.checkpoint_path,
            drop_rate=params.drop_rate,
        )


def train_classifier(
    data: SearchData,
    settings: ClassifierSettings,
    params: TrainParams,
    folder: Path,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> tuple[SemClassifier, FitResult]:
    """Train with the given settings; a run that was killed goes on from its last epoch.

    Parameters
    ----------
    data
        Frames and crops of the training and validation splits.
    settings
        Classes, crop and pixel size; what follows from ``params`` is filled in here.
    params
        Training settings.
    folder
        Where the state of the run is kept.
    on_epoch
        Called after every epoch.

    Returns
    -------
    classifier, result
        The best epoch's classifier, not calibrated yet, and the curves.
    """
    train, validate = open_split_loaders(data.bank, data.train, data.validate, params)
    network = build_network_for(params, len(settings.classes))
    result = fit(network, train, validate, params, on_epoch=on_epoch, checkpoint_dir=folder)
    by_data_set = params.normalise.method == "data_set"
    statistics = measure_statistics(data.bank, data.train) if by_data_set else None
    complete = settings.model_copy(
        update={
            "model": params.model,
            "input_px": params.input_px,
            "normalise": params.normalise,
            "grey_mean": statistics.mean if statistics else None,
            "grey_std": statistics.std if statistics else None,
        }
    )
    return SemClassifier(complete, export_weights(result.model)), result


def network_builder(n_classes: int) -> Callable[[TrainParams], nn.Module]:
    """Return a picklable builder of networks for the search."""
    return partial(build_network_for, n_classes=n_classes)
