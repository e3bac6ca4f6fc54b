"""A trained SEM classifier in a safetensors file, settings in its header, and in the registry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from kedro.io import AbstractDataset
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.datasets.models.versions import RegisteredModelDataset, make_signature
from ncm_kedro.datasets.previews import JSONPreview
from ncm_kedro.errors import ModelError
from ncm_kedro.learning.evaluation.conformal import AreaRanks
from ncm_kedro.learning.evaluation.ood import OODDetector
from ncm_kedro.learning.models.classifier import ClassifierSettings, SemClassifier

CLASSIFIER_FILE = "sem_classifier.safetensors"
_SETTINGS_KEY = "ncm_sem_classifier"
_DETECTOR = "ood_detector/"
_DETECTOR_ARRAYS = ("reference_nd", "location", "spread", "standard_2d", "discriminants_2d")
_DETECTOR_NUMBERS = ("threshold", "frame_threshold", "false_alarm_rate", "foreign_auroc")
_DETECTOR_RANKS = ("ranks", "frame_ranks")


def write_classifier(path: Path, classifier: SemClassifier) -> None:
    """Write the file atomically."""
    arrays = classifier.weights | _pack_detector(classifier.detector)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    header = {_SETTINGS_KEY: classifier.settings.model_dump_json()}
    write_atomic(path, save(contiguous, header))


def read_classifier(path: Path) -> SemClassifier:
    """Read a classifier; one of an earlier version has neither prediction sets nor detector.

    Raises
    ------
    ModelError
        The file is missing, damaged or something else.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
        detector = _unpack_detector(arrays)
        settings = ClassifierSettings.model_validate_json(header[_SETTINGS_KEY])
    except (OSError, SafetensorError, KeyError, ValidationError) as error:
        raise ModelError(
            path,
            found=f"no SEM classifier ({type(error).__name__}: {error})",
            expected="a file written by a training",
            action="run `kedro run --pipelines tune_train`",
        ) from error
    weights = {name: a for name, a in arrays.items() if not name.startswith(_DETECTOR)}
    return SemClassifier(settings, weights, detector)


def _pack_detector(detector: OODDetector | None) -> dict[str, NDArray[np.generic]]:
    if detector is None:
        return {}
    arrays = {name: getattr(detector, name) for name in _DETECTOR_ARRAYS}
    for name in _DETECTOR_RANKS:
        ranks = getattr(detector, name)
        arrays[f"{name}/scores"], arrays[f"{name}/weights"] = ranks.scores, ranks.weights
    arrays |= {name: np.float64(getattr(detector, name)) for name in _DETECTOR_NUMBERS}
    arrays["neighbours"] = np.int64(detector.neighbours)
    return {f"{_DETECTOR}{name}": np.asarray(array) for name, array in arrays.items()}


def _unpack_detector(arrays: dict[str, NDArray[Any]]) -> OODDetector | None:
    parts = {
        name.removeprefix(_DETECTOR): array
        for name, array in arrays.items()
        if name.startswith(_DETECTOR)
    }
    if "discriminants_2d" not in parts:
        return None  # none, or of an earlier version
    fields: dict[str, Any] = {name: parts[name] for name in _DETECTOR_ARRAYS}
    fields |= {name: parts[name].item() for name in (*_DETECTOR_NUMBERS, "neighbours")}
    for name in _DETECTOR_RANKS:
        fields[name] = AreaRanks(parts[f"{name}/scores"], parts[f"{name}/weights"])
    return OODDetector(**fields)


class ClassifierFileDataset(AbstractDataset[SemClassifier, SemClassifier]):
    """A :class:`SemClassifier` on disk.

    Parameters
    ----------
    filepath
        File to write and read, ``.safetensors``.
    metadata
        For plug-ins, not used here.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def save(self, data: SemClassifier) -> None:
        """Write the classifier."""
        write_classifier(self._filepath, data)

    def load(self) -> SemClassifier:
        """Read the classifier."""
        return read_classifier(self._filepath)

    def preview(self) -> JSONPreview:
        """Return the settings: classes, scale, network, temperature."""
        with safe_open(self._filepath, framework="numpy") as file:
            return JSONPreview(file.metadata()[_SETTINGS_KEY])

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class RegisteredClassifierDataset(RegisteredModelDataset[SemClassifier, SemClassifier | None]):
    """The SEM classifier in the registry.

    Parameters
    ----------
    missing_ok
        Whether loading returns None where the registry says that there is no such model yet.
    options
        As for `RegisteredModelDataset`.

    Attributes
    ----------
    may_be_missing
        A run may start without it: loading returns None, or raises with how to obtain a model.
    """

    may_be_missing = True
    kind = "sem_classifier"
    expected = "a registered SEM classifier"
    action = (
        "run `kedro run --pipelines sem` first; a model that was not promoted is used by "
        "`classify_model_uri: models:/{name}@candidate` in conf/local/globals.yml"
    )
    cannot = (
        "be expected to score alike on another electrode or session: without replicates, chemistry "
        "and acquisition cannot be told apart (see the confounding table of sem_ingest)",
        "name a class that it was not trained on: the OOD flag catches some of such material",
        "read frames at another scale than served ones are limited to",
    )
    requirements = (
        "imagecodecs", "opencv-python-headless", "pillow", "safetensors", "tifffile", "timm",
        "torch", "torchvision", "tqdm",
    )  # fmt: skip

    def __init__(self, *, missing_ok: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._missing_ok = missing_ok

    def load(self) -> SemClassifier | None:
        """Return the classifier behind the URI; None where it may be missing and is.

        Raises
        ------
        ModelError
            If it is needed and not there, the registry does not answer, or files are missing.
        """
        if self._missing_ok and not self._find()[0]:
            return None
        return super().load()

    def _write(self, model: SemClassifier, folder: Path) -> None:
        write_classifier(folder / CLASSIFIER_FILE, model)

    def _read(self, folder: Path, number: str | None) -> SemClassifier:
        found = sorted(folder.rglob(CLASSIFIER_FILE))
        classifier = read_classifier(found[0] if found else folder / CLASSIFIER_FILE)
        return replace(classifier, version=number)

    def _describe_signature(self, model: SemClassifier) -> ModelSignature:
        columns = [
            *(ColSpec(DataType.string, name, required=False)
              for name in ("predicted", "composition", "state")),
            ColSpec(DataType.double, "probability", required=False),
            ColSpec(DataType.long, "n_tiles"),
            ColSpec(DataType.string, "prediction_set", required=False),
            ColSpec(DataType.long, "set_size", required=False),
            ColSpec(DataType.boolean, "unknown", required=False),
            ColSpec(DataType.double, "ood_p_value", required=False),
            ColSpec(DataType.double, "energy", required=False),
            ColSpec(DataType.double, "feature_distance", required=False),
            ColSpec(DataType.string, "problem", required=False),
            *(ColSpec(DataType.double, f"p_{name}", required=False)
              for name in model.settings.classes),
            ColSpec(DataType.double, "pixel_size_um", required=False),
            ColSpec(DataType.string, "pixel_size_source", required=False),
        ]  # fmt: skip
        return make_signature(["image", "pixel_size_um"], columns)
