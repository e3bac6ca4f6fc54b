"""Cached trainings of the studies.

A result lies in a file named by a digest of everything that it depends on: frames, crops and the
settings of the model. Studies that share a point share its training.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.errors import ModelError, StoreError
from ncm_kedro.learning.data.crop_index import SearchData
from ncm_kedro.learning.models.classifier import ClassifierSettings, SemClassifier
from ncm_kedro.learning.models.predict import build_network, predict_crops
from ncm_kedro.learning.models.texture import fit_texture_baseline
from ncm_kedro.learning.training.fitting import build_network_for, train_classifier
from ncm_kedro.learning.training.state import FitResult
from ncm_kedro.params.crop_augment import CropParams
from ncm_kedro.params.sem_studies import TEXTURE, SemStudiesParams, TransferModel
from ncm_kedro.sem.crops.crop_set import CropSet
from ncm_kedro.sem.crops.regions import SPLITS
from ncm_kedro.sem.experiments.studies import SkippedPoint, StudyPoint
from ncm_kedro.sem.experiments.study_crops import (
    StudyCrops,
    StudyFrames,
    digest_crops,
    select_crops,
)
from ncm_kedro.sem.inference.evaluation import measure_textures

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")
_VERSION = 1  # raise it when the same crops and settings would give another result
_EPOCH_FIELDS = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "validation_balanced_accuracy",
    "seconds",
)


def read_cached(path: Path, parse: Callable[[dict[str, Any]], _T]) -> _T | None:
    """Return a cached result; None where there is none that can be read.

    Parameters
    ----------
    parse
        Turns what the file holds into the result; it may raise on a damaged file.
    """
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        _LOG.warning("%s cannot be read and is made again", path)
        return None


def write_cached(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result atomically.

    Parameters
    ----------
    result
        Ready for JSON.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    _write_store(path, json.dumps(result).encode())


def cache_textures(crop_set: CropSet, path: Path) -> NDArray[np.float32]:
    """Measure the texture of all crops once; cached.

    Returns
    -------
    ndarray, (N, F)
        The crops of training, validation and test, one after the other.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    if path.is_file():
        return np.asarray(np.load(path), dtype=np.float32)
    features = np.concatenate([measure_textures(crop_set, split) for split in SPLITS])
    buffer = io.BytesIO()
    np.save(buffer, features)
    _write_store(path, buffer.getvalue())
    return features


def _write_store(path: Path, content: bytes) -> None:
    try:
        write_atomic(path, content)
    except OSError as error:
        raise StoreError(
            path,
            found=f"a result that cannot be written ({error.strerror})",
            expected="a folder that can be written to, with room",
            action="free disk space, then run again: what is finished is cached",
        ) from error


@dataclass(frozen=True)
class StudyFit:
    """Predictions of a trained model on the test crops.

    Attributes
    ----------
    predicted
        (T,) class number of each test crop.
    shown
        The same with the point's other normalisation; none where it has none.
    epochs
        The learning curve of a network.
    best_epoch
        The selected epoch; none for the texture baseline.
    """

    predicted: NDArray[np.int64]
    shown: NDArray[np.int64] | None = None
    epochs: tuple[dict[str, float], ...] = ()
    best_epoch: int | None = None


@dataclass(frozen=True)
class StudyContext:
    """All that trainings need, and the folder of cached results.

    Attributes
    ----------
    ground
        Frames, and crops cut from them.
    crops
        Settings that crops start from.
    params
        Settings of the studies.
    folder
        Where results and unfinished trainings lie.
    """

    ground: StudyFrames
    crops: CropParams
    params: SemStudiesParams
    folder: Path

    def select(self, whole: StudyCrops, point: StudyPoint) -> CropSet:
        """Return the crops of a point."""
        return select_crops(whole.crop_set, point, self.params.seed)[0]

    def fit(self, point: StudyPoint, whole: StudyCrops, model: TransferModel) -> StudyFit:
        """Train and predict the test crops, or read the cached result.

        Raises
        ------
        ModelError
            The network cannot be built or trained.
        StoreError
            A result cannot be written.
        """
        crop_set, rows = select_crops(whole.crop_set, point, self.params.seed)
        key = self._name_result(point, crop_set, model)
        path = self.folder / f"{key}.json"
        kept = read_cached(path, _parse_fit)
        if kept is not None and len(kept.predicted) == len(crop_set.indices["test"]):
            return kept
        _LOG.info("%s, %s: %d crops", point.name, model, len(crop_set.indices["train"]))
        if model == TEXTURE:
            fit = self._fit_texture(whole, crop_set, rows)
        else:
            fit = _fit_network(point, crop_set, self.folder / key)
        write_cached(path, _to_json(fit) | {"point": point.name, "model": model})
        shutil.rmtree(self.folder / key, ignore_errors=True)
        return fit

    def find_obstacle(self, point: StudyPoint) -> SkippedPoint | None:
        """Reason why a point that needs weights from elsewhere cannot be run; none where it can."""
        if not point.needs_weights:
            return None
        try:
            build_network_for(point.train, 2)
        except ModelError as error:
            return SkippedPoint(point.name, _describe_remedy(error))
        return None

    def _name_result(self, point: StudyPoint, crop_set: CropSet, model: TransferModel) -> str:
        settings: dict[str, Any] = {"seed": self.params.seed}
        if model != TEXTURE:
            settings = point.train.model_dump(mode="json", exclude={"device", "loader_threads"})
            shown = point.display_normalise
            settings["display_normalise"] = None if shown is None else shown.model_dump(mode="json")
        about = [_VERSION, model, settings, digest_crops(crop_set)]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]

    def _fit_texture(
        self, whole: StudyCrops, crop_set: CropSet, rows: NDArray[np.int64]
    ) -> StudyFit:
        key = hashlib.sha256(f"{_VERSION}{whole.digest}".encode()).hexdigest()[:24]
        features = cache_textures(whole.crop_set, self.folder / f"textures_{key}.npy")[rows]
        labels = [crop_set.indices[split].label for split in ("train", "validate")]
        ends = np.cumsum([len(part) for part in labels])
        train, validate, test = np.split(features, ends)
        baseline = fit_texture_baseline(
            train, labels[0], self.params.seed, validation=(validate, labels[1])
        )
        return StudyFit(np.asarray(baseline.predict(test), dtype=np.int64))


def _fit_network(point: StudyPoint, crop_set: CropSet, folder: Path) -> StudyFit:
    train = point.train
    settings = ClassifierSettings(
        model=train.model,
        classes=crop_set.classes,
        compositions=crop_set.compositions,
        states=crop_set.states,
        crop_px=crop_set.crop_px,
        pixel_size_um=crop_set.pixel_size_um,
        input_px=train.input_px,
    )
    data = SearchData(crop_set.bank, crop_set.indices["train"], crop_set.indices["validate"])
    classifier, result = train_classifier(data, settings, train, folder)
    shown = None
    if point.display_normalise is not None:
        otherwise = settings.model_copy(update={"normalise": point.display_normalise})
        shown = _predict_test(replace(classifier, settings=otherwise), crop_set, train.device)
    return StudyFit(
        predicted=_predict_test(classifier, crop_set, train.device),
        shown=shown,
        epochs=_list_epochs(result),
        best_epoch=result.best_epoch,
    )


def _predict_test(classifier: SemClassifier, crop_set: CropSet, device: str) -> NDArray[np.int64]:
    probabilities = predict_crops(
        classifier,
        build_network(classifier),
        crop_set.bank,
        crop_set.indices["test"],
        device=device,
    ).probabilities
    return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)


def _list_epochs(result: FitResult) -> tuple[dict[str, float], ...]:
    records = map(asdict, result.history)
    return tuple({field: record[field] for field in _EPOCH_FIELDS} for record in records)


def _describe_remedy(error: ModelError) -> str:
    return (
        f"{error.where}: {error.found}. Put a .safetensors or .pth file with weights of this "
        "architecture (sem_studies.weights_model) on this machine and name it in "
        "sem_studies.train.checkpoint_path, or run where the model hub can be reached"
    )


def _to_json(fit: StudyFit) -> dict[str, Any]:
    return {
        "predicted": fit.predicted.tolist(),
        "shown": None if fit.shown is None else fit.shown.tolist(),
        "epochs": list(fit.epochs),
        "best_epoch": fit.best_epoch,
    }


def _parse_fit(kept: dict[str, Any]) -> StudyFit:
    return StudyFit(
        predicted=np.array(kept["predicted"], dtype=np.int64),
        shown=None if kept["shown"] is None else np.array(kept["shown"], dtype=np.int64),
        epochs=tuple(kept["epochs"]),
        best_epoch=kept["best_epoch"],
    )
