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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.errors import ModelError, StoreError
from ncm_kedro.learning.data.crop_index import CropIndex, SearchData
from ncm_kedro.learning.data.frame_bank import FrameBank
from ncm_kedro.learning.models.classifier import ClassifierSettings, SemClassifier
from ncm_kedro.learning.models.predict import build_network, predict_crops
from ncm_kedro.learning.models.texture import fit_texture_baseline
from ncm_kedro.learning.training.fitting import (
    build_network_for,
    identify_training,
    train_classifier,
)
from ncm_kedro.learning.training.state import FitResult
from ncm_kedro.params.crop_augment import CropParams
from ncm_kedro.params.sem_studies import TEXTURE, SemStudiesParams, TransferModel
from ncm_kedro.params.tune_train import NormaliseParams, TrainParams
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


def _read_cached(path: Path) -> StudyFit | None:
    """Return a cached result; None where there is none that can be read."""
    try:
        return StudyFit.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        _LOG.warning("%s cannot be read and is made again", path)
        return None


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

    @classmethod
    def from_json(cls, cached: Mapping[str, Any]) -> StudyFit:
        """Read what `to_json` made."""
        shown = cached.get("shown")
        return cls(
            predicted=np.array(cached["predicted"], dtype=np.int64),
            shown=None if shown is None else np.array(shown, dtype=np.int64),
            epochs=tuple(cached.get("epochs", ())),
            best_epoch=cached.get("best_epoch"),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the same as JSON types."""
        return {
            "predicted": self.predicted.tolist(),
            "shown": None if self.shown is None else self.shown.tolist(),
            "epochs": list(self.epochs),
            "best_epoch": self.best_epoch,
        }


@dataclass(frozen=True)
class FitTask:
    """One training: a file for its result, its crops and its targets.

    Attributes
    ----------
    path
        File of the cached result, named by a digest of everything that it depends on; unfinished
        trainings lie in a folder beside it.
    crop_set
        The frames.
    parts
        Crops of training, validation and test, labelled by target.
    targets
        Class, composition and state by label.
    """

    path: Path
    crop_set: CropSet
    parts: tuple[CropIndex, CropIndex, CropIndex]
    targets: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]

    def run(self, fit: Callable[[], StudyFit], **about: str) -> StudyFit:
        """Return the cached result, or fit and cache it with a few words `about` it.

        Raises
        ------
        StoreError
            The result cannot be written.
        """
        cached = _read_cached(self.path)
        if cached is not None and len(cached.predicted) == len(self.parts[2]):
            return cached
        _LOG.info("%s: %d crops", ", ".join(about.values()), len(self.parts[0]))
        found = fit()
        _write_store(self.path, json.dumps(found.to_json() | about).encode())
        shutil.rmtree(self.path.with_suffix(""), ignore_errors=True)
        return found

    def fit_texture(self, features: tuple[NDArray[np.float32], ...], seed: int) -> StudyFit:
        """Fit the texture baseline on the features of the three parts, and predict the test."""
        train, validate, test = features
        labels = [part.label for part in self.parts]
        baseline = fit_texture_baseline(train, labels[0], seed, validation=(validate, labels[1]))
        return StudyFit(np.asarray(baseline.predict(test), dtype=np.int64))

    def fit_network(
        self, params: TrainParams, display_normalise: NormaliseParams | None = None
    ) -> StudyFit:
        """Train a network and predict the test, also with another normalisation where given."""
        crop_set, (train, validate, test) = self.crop_set, self.parts
        classes, compositions, states = self.targets
        settings = ClassifierSettings(
            model=params.model,
            classes=classes,
            compositions=compositions,
            states=states,
            crop_px=crop_set.crop_px,
            pixel_size_um=crop_set.pixel_size_um,
            input_px=params.input_px,
        )
        data = SearchData(crop_set.bank, train, validate)
        classifier, result = train_classifier(data, settings, params, self.path.with_suffix(""))
        shown = None
        if display_normalise is not None:
            otherwise = settings.model_copy(update={"normalise": display_normalise})
            shown = _predict(
                replace(classifier, settings=otherwise), crop_set.bank, test, params.device
            )
        return StudyFit(
            predicted=_predict(classifier, crop_set.bank, test, params.device),
            shown=shown,
            epochs=_list_epochs(result),
            best_epoch=result.best_epoch,
        )


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
        task = FitTask(
            self.folder / f"{self._name_result(point, crop_set, model)}.json",
            crop_set,
            (crop_set.indices["train"], crop_set.indices["validate"], crop_set.indices["test"]),
            (crop_set.classes, crop_set.compositions, crop_set.states),
        )

        def train() -> StudyFit:
            if model != TEXTURE:
                return task.fit_network(point.train, point.display_normalise)
            ends = np.cumsum([len(part) for part in task.parts[:2]])
            features = np.split(self._measure_textures(whole)[rows], ends)
            return task.fit_texture(tuple(features), self.params.seed)

        return task.run(train, point=point.name, model=model)

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
            settings = identify_training(point.train)
            shown = point.display_normalise
            settings["display_normalise"] = None if shown is None else shown.model_dump(mode="json")
        about = [_VERSION, model, settings, digest_crops(crop_set)]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]

    def _measure_textures(self, whole: StudyCrops) -> NDArray[np.float32]:
        key = hashlib.sha256(f"{_VERSION}{whole.digest}".encode()).hexdigest()[:24]
        return cache_textures(whole.crop_set, self.folder / f"textures_{key}.npy")


def _predict(
    classifier: SemClassifier, bank: FrameBank, crops: CropIndex, device: str
) -> NDArray[np.int64]:
    network = build_network(classifier)
    probabilities = predict_crops(classifier, network, bank, crops, device=device).probabilities
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
