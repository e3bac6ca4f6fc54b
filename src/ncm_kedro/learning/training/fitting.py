"""From settings and crops to a trained, calibrated classifier."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ncm_kedro.learning.data.crop_index import SearchData
from ncm_kedro.learning.data.loader import (
    choose_device,
    choose_precision,
    measure_statistics,
    open_split_loaders,
)
from ncm_kedro.learning.evaluation.calibration import apply_temperature, fit_temperature
from ncm_kedro.learning.evaluation.conformal import fit_sets
from ncm_kedro.learning.evaluation.ood import CropOutputs, FrameOutputs, fit_detector
from ncm_kedro.learning.models.classifier import ClassifierSettings, SemClassifier
from ncm_kedro.learning.models.networks import build_model, has_published_weights
from ncm_kedro.learning.models.predict import export_weights
from ncm_kedro.learning.training.state import EpochRecord, FitResult
from ncm_kedro.learning.training.train import fit
from ncm_kedro.params.tune_train import CalibrationParams, TrainParams
from ncm_kedro.provenance import hash_path

logger = logging.getLogger(__name__)

_CPU_BATCH = 32


def choose_start(params: TrainParams) -> TrainParams:
    """Return settings that this machine can start from.

    Published weights that can be had neither from the hub nor from the cache are replaced, where
    there is no GPU, by the packaged ones of EfficientNet-lite0 under a discriminant last layer. A
    machine with a GPU gets an error when the network is built: its user wants another network.
    """
    wants_published = params.pretrained is True and params.checkpoint_path is None
    if (
        not wants_published
        or choose_device(params.device).type == "cuda"
        or has_published_weights(params.model)
    ):
        return params
    logger.warning(
        "published weights of %s cannot be had and there is no GPU: ncm_pooled_lite0 with packaged "
        "ImageNet weights and a discriminant last layer is trained instead (`training: two_cores` "
        "in conf/local/globals.yml says so for good)",
        params.model,
    )
    return params.model_copy(
        update={
            "model": "ncm_pooled_lite0",
            "pretrained": "packaged",
            "last_layer": "discriminant",
            "trainable": "last_layer",
            "layer_decay": 1.0,
            "l2_sp": 0.0,
            "epochs": 0,
        }
    )


def identify_training(params: TrainParams) -> dict[str, Any]:
    """Return the settings that decide a result, ready for JSON; weights by content, not by place.

    Where it runs decides nothing: `device` and `loader_threads` are not among them.
    """
    settings = params.model_dump(mode="json", exclude={"device", "loader_threads"})
    if params.checkpoint_path is not None:
        settings["checkpoint_path"] = hash_path(params.checkpoint_path)
    return settings


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


def choose_batch_size(network: nn.Module, params: TrainParams, n_crops: int) -> TrainParams:
    """Return settings with a number for the batch size `auto`.

    Powers of two are tried, each with a forward and a backward pass, until the device has no memory
    left or the crops are used up. A CPU's memory ends in swapping, not in an error: there it is 32.
    """
    if params.batch_size != "auto":
        return params
    device, size = choose_device(params.device), _CPU_BATCH
    if device.type == "cuda":
        size = find_largest_batch(network, params, device, n_crops)
    logger.info("batch_size: auto is %d", size)
    return params.model_copy(update={"batch_size": size})


def find_largest_batch(
    network: nn.Module, params: TrainParams, device: torch.device, n_crops: int
) -> int:
    """Half of the largest power of two of images that fits into memory.

    The other half is for the optimiser's state and the frames.
    """
    trial = copy.deepcopy(network).to(device).train()
    dtype, size = choose_precision(params.precision, device), 2
    try:
        while size <= n_crops:
            images = torch.zeros((size, 1, params.input_px, params.input_px), device=device)
            with torch.autocast(device.type, dtype, dtype is not torch.float32):
                trial(images).float().sum().backward()
            size *= 2
    except torch.OutOfMemoryError:
        logger.info("%d images do not fit into the memory of %s", size, device)
    del trial
    torch.cuda.empty_cache()
    return max(1, size // 4)


def train_classifier(
    data: SearchData,
    settings: ClassifierSettings,
    params: TrainParams,
    folder: Path,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> tuple[SemClassifier, FitResult]:
    """Train with the given settings; an interrupted run resumes after its last epoch.

    Parameters
    ----------
    data
        Frames and crops of the training and validation splits.
    settings
        Classes, crop and pixel size; what follows from ``params`` is filled in here.
    params
        Training settings.
    folder
        Where checkpoints lie.
    on_epoch
        Called after every epoch.

    Returns
    -------
    classifier, result
        The best epoch's classifier, not calibrated yet, and the curves.
    """
    network = build_network_for(params, len(settings.classes))
    params = choose_batch_size(network, params, len(data.train))
    train, validate = open_split_loaders(data.bank, data.train, data.validate, params)
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


def calibrate_classifier(
    classifier: SemClassifier,
    train: CropOutputs,
    validate: CropOutputs,
    mosaics: Sequence[str],
    params: CalibrationParams,
    *,
    frames: FrameOutputs,
    foreign: CropOutputs,
) -> SemClassifier:
    """Fit temperature, prediction sets and OOD flag on the validation split.

    The same validation crops also selected the best epoch, so that they are a little too easy; the
    test split shows by how much.

    Parameters
    ----------
    classifier
        Trained, not calibrated.
    train, validate
        Outputs of its network for both splits; for the validation split as for new crops, views
        averaged if they are to be.
    mosaics
        (N,) mosaic (connected imaged region) of each validation crop.
    params
        Settings of the three; without ``enabled`` the temperature stays 1.
    frames
        Outputs for the tiles of validation frames.
    foreign
        Outputs for crops that are no micrographs of the classes.
    """
    temperature = (
        fit_temperature(validate.logits, validate.labels, params) if params.enabled else 1.0
    )
    tiles = apply_temperature(frames.tiles.logits, temperature)
    count = np.bincount(frames.frame)[:, None]
    first = np.unique(frames.frame, return_index=True)[1]
    averaged = np.stack([np.bincount(frames.frame, column) for column in tiles.T], axis=1) / count
    probabilities = apply_temperature(validate.logits, temperature)
    sets, frame_sets = (
        fit_sets(p, labels, names, classifier.settings.classes, params.sets)
        for p, labels, names in (
            (probabilities, validate.labels, mosaics),
            (averaged, frames.tiles.labels[first], frames.mosaics),
        )
    )
    detector = fit_detector(
        train, validate, mosaics, params.unknown, frames=frames, foreign=foreign
    )
    return classifier.with_temperature(temperature).with_uncertainty(sets, frame_sets, detector)
