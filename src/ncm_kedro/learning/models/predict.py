"""The network of a classifier: built from its weights, and run over crops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.data.crop_index import CropIndex, GreyStatistics
from ncm_kedro.learning.data.frame_bank import FrameBank
from ncm_kedro.learning.data.loader import BatchSource, CropLoader, choose_device, choose_precision
from ncm_kedro.learning.evaluation.calibration import apply_temperature
from ncm_kedro.learning.evaluation.conformal import choose_sets
from ncm_kedro.learning.evaluation.ood import CropOutputs
from ncm_kedro.learning.models.classifier import ClassifierSettings, CropPredictions, SemClassifier
from ncm_kedro.learning.models.networks import build_model
from ncm_kedro.params.tune_train import TestTimeAugmentation

INFERENCE_BATCH = 64
N_QUARTER_ROTATIONS = 4


def export_weights(network: nn.Module) -> dict[str, NDArray[np.generic]]:
    """Return parameters and buffers as arrays, on the host."""
    return {
        name: value.detach().cpu().numpy().copy() for name, value in network.state_dict().items()
    }


def build_network(classifier: SemClassifier) -> nn.Module:
    """Rebuild the trained network on the host, in evaluation mode.

    Raises
    ------
    ModelError
        The weights do not fit the architecture.
    """
    settings = classifier.settings
    network = build_model(settings.model, num_classes=len(settings.classes))
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
    network: nn.Module,
    bank: FrameBank,
    crops: CropIndex,
    *,
    device: str = "auto",
    threads: int = 2,
) -> CropPredictions:
    """Return probabilities, prediction sets and OOD scores of crops.

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


def run_network(
    settings: ClassifierSettings,
    network: nn.Module,
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


def predict_outputs(
    model: nn.Module,
    batches: BatchSource,
    *,
    device: str = "auto",
    precision: str = "auto",
    test_time_augmentation: TestTimeAugmentation = "none",
) -> CropOutputs:
    """Run a network over all crops.

    Parameters
    ----------
    model
        Network (B, 1, P, P) -> (B, K) with a last layer that timm's settings name; moved to the
        device, put in evaluation mode.
    batches
        Source of batches that hold each crop once.
    device, precision
        As in training.
    test_time_augmentation
        `dihedral`: the log of the mean probability over the eight symmetries of a square.

    Raises
    ------
    ModelError
        The source is empty, or the network's last layer is not named.
    """
    where = choose_device(device)
    dtype = choose_precision(precision, where)
    model.to(where, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    parts: list[tuple[torch.Tensor, ...]] = []
    with (
        torch.inference_mode(),
        torch.autocast(where.type, dtype, dtype is not torch.float32),
        _catch_features(find_last_layer(model)) as caught,
    ):
        for batch in batches.iterate_epoch(0):
            logits, energy = _predict_batch(
                model,
                batch.images.to(where, memory_format=torch.channels_last),
                test_time_augmentation,
            )
            features = torch.stack(caught).mean(0)
            caught.clear()
            parts.append((logits, batch.labels.to(where), energy, features, batch.index.to(where)))
    if not parts:
        raise ModelError(
            "prediction",
            found="no crop",
            expected="at least one",
            action="check that the split holds crops",
        )
    *joined, index = (torch.cat(part) for part in zip(*parts, strict=True))
    order = torch.argsort(index)
    return CropOutputs(*(part[order].cpu().numpy() for part in joined))


def iterate_dihedral(images: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the eight flips and 90-degree rotations of square images (B, 1, P, P)."""
    for quarter in range(N_QUARTER_ROTATIONS):
        rotated = torch.rot90(images, quarter, dims=(2, 3))
        yield rotated
        yield rotated.flip(3)


def _predict_batch(
    model: nn.Module, images: torch.Tensor, tta: TestTimeAugmentation
) -> tuple[torch.Tensor, torch.Tensor]:
    views = iterate_dihedral(images) if tta == "dihedral" else iter([images])
    logits = [torch.as_tensor(model(view)).float() for view in views]
    energy = torch.stack([-view.logsumexp(1) for view in logits]).mean(0)
    if tta == "none":
        return logits[0], energy
    mean = torch.stack([view.softmax(1) for view in logits]).mean(0)
    return mean.clamp_min(torch.finfo(torch.float32).tiny).log(), energy


def find_last_layer(model: nn.Module) -> nn.Module:
    """Return the layer that makes logits of features, by the name that timm's settings give it.

    Raises
    ------
    ModelError
        The network's last layer is not named.
    """
    settings = getattr(model, "pretrained_cfg", None)
    name = settings.get("classifier") if settings else None
    name = name if isinstance(name, str) or not name else name[0]
    layers: dict[str, nn.Module] = dict(model.named_modules())
    if not name or name not in layers:
        raise ModelError(
            type(model).__name__,
            found=f"last layer {name!r}",
            expected="a network whose last layer timm's settings name",
            action="choose another `model`",
        )
    return layers[name]


@contextmanager
def _catch_features(layer: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collect the inputs of a layer, (B, D) each, while the network runs."""
    caught: list[torch.Tensor] = []

    def catch(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        caught.append(inputs[0].detach().flatten(1).float())

    handle = layer.register_forward_pre_hook(catch)
    try:
        yield caught
    finally:
        handle.remove()
