"""A trained classifier in one safetensors file: weights and detector, settings in its header.

The SEM classifier in the MLflow model registry.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import mlflow
import numpy as np
import pandas as pd
from kedro.io import AbstractDataset
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.datasets.models.versions import tag_version
from ncm_kedro.errors import ModelError
from ncm_kedro.learning.evaluation.conformal import AreaRanks
from ncm_kedro.learning.evaluation.ood import OODDetector
from ncm_kedro.learning.evaluation.promotion import Promotion
from ncm_kedro.learning.models.classifier import ClassifierSettings, SemClassifier

CLASSIFIER_FILE = "sem_classifier.safetensors"
_SETTINGS_KEY = "ncm_sem_classifier"
_DETECTOR = "ood_detector/"
_DETECTOR_ARRAYS = ("reference_nd", "location", "spread")


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
    arrays["scores"], arrays["weights"] = detector.ranks.scores, detector.ranks.weights
    arrays["false_alarm_rate"] = np.float64(detector.false_alarm_rate)
    arrays["neighbours"] = np.int64(detector.neighbours)
    return {f"{_DETECTOR}{name}": np.asarray(array) for name, array in arrays.items()}


def _unpack_detector(arrays: dict[str, NDArray[Any]]) -> OODDetector | None:
    parts = {
        name.removeprefix(_DETECTOR): array
        for name, array in arrays.items()
        if name.startswith(_DETECTOR)
    }
    if not parts:
        return None
    return OODDetector(
        **{name: parts[name] for name in _DETECTOR_ARRAYS},
        ranks=AreaRanks(parts["scores"], parts["weights"]),
        false_alarm_rate=parts["false_alarm_rate"].item(),
        neighbours=parts["neighbours"].item(),
    )


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

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


PACKAGE_ROOT = Path(__file__).parents[2]
SERVING_SCRIPT = Path(__file__).with_name("sem_serving.py")
SERVING_REQUIREMENTS = (
    "mlflow",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "pillow",
    "pydantic",
    "safetensors",
    "scipy",
    "timm",
    "torch",
    "torchvision",
    "tqdm",
)
INPUT_SCHEMA = Schema(
    [
        ColSpec(DataType.binary, "image", required=False),
        ColSpec(DataType.string, "path", required=False),
        ColSpec(DataType.double, "pixel_size_um", required=False),
    ]
)


@dataclass(frozen=True)
class ClassifierRelease:
    """A classifier on its way into the registry.

    Attributes
    ----------
    classifier
        The trained, calibrated classifier.
    promotion
        Whether it may take over production, and why.
    metrics
        Scores on the test split, by name.
    tags
        Lineage, by name.
    example_png
        A frame as PNG bytes: the input example.
    """

    classifier: SemClassifier
    promotion: Promotion
    metrics: dict[str, float]
    tags: dict[str, str]
    example_png: bytes


class RegisteredClassifierDataset(AbstractDataset[ClassifierRelease, "SemClassifier | None"]):
    """Saves a release as a new version of a registered model, loads the one behind a URI.

    Parameters
    ----------
    model_name
        Name in the registry.
    model_uri
        What is loaded; the production alias of ``model_name`` by default. A ``runs:/`` or
        ``models:/`` URI or a local folder works too.
    missing_ok
        Whether loading returns None where there is no such model yet.
    metadata
        For plug-ins, not used here.

    Attributes
    ----------
    may_be_missing
        A run may start without it: loading returns None, or raises with how to obtain a model.
    """

    may_be_missing = True

    def __init__(
        self,
        *,
        model_name: str,
        model_uri: str | None = None,
        missing_ok: bool = False,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._model_name = model_name
        self._model_uri = model_uri or f"models:/{model_name}@production"
        self._missing_ok = missing_ok
        self.metadata = metadata

    def save(self, data: ClassifierRelease) -> None:
        """Log and register the classifier; move the aliases that it has earned."""
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / CLASSIFIER_FILE
            write_classifier(weights, data.classifier)
            info = mlflow.pyfunc.log_model(
                name=self._model_name,
                python_model=str(SERVING_SCRIPT),
                artifacts={"classifier": str(weights)},
                code_paths=[str(PACKAGE_ROOT)],
                signature=describe_signature(data.classifier.settings.classes),
                input_example=pd.DataFrame({"image": [data.example_png]}),
                registered_model_name=self._model_name,
                pip_requirements=[f"{name}=={version(name)}" for name in SERVING_REQUIREMENTS],
                metadata={"classes": list(data.classifier.settings.classes), **data.tags},
            )
        tag_version(
            self._model_name,
            str(info.registered_model_version),
            promotion=data.promotion,
            tags=data.tags,
            metrics=data.metrics,
        )

    def load(self) -> SemClassifier | None:
        """Return the classifier behind the URI.

        Raises
        ------
        ModelError
            There is no such model and ``missing_ok`` is not set.
        """
        try:
            folder = mlflow.artifacts.download_artifacts(artifact_uri=self._model_uri)
        except (MlflowException, OSError) as error:
            if self._missing_ok:
                return None
            self._refuse(error)
        found = sorted(Path(folder).rglob(CLASSIFIER_FILE))
        if not found:
            self._refuse(FileNotFoundError(CLASSIFIER_FILE))
        return read_classifier(found[0])

    def _refuse(self, error: Exception) -> NoReturn:
        raise ModelError(
            self._model_uri,
            found=f"no classifier there ({error})",
            expected=f"a registered version of {self._model_name}",
            action="run `kedro run --pipelines sem` first, or set the model's URI in the catalog; "
            "a model that was not promoted is `models:/"
            f"{self._model_name}@candidate`",
        ) from error

    def _exists(self) -> bool:
        try:
            mlflow.artifacts.download_artifacts(artifact_uri=f"{self._model_uri}/MLmodel")
        except (MlflowException, OSError):
            return False
        return True

    def _describe(self) -> dict[str, Any]:
        return {"model_name": self._model_name, "model_uri": self._model_uri}


def describe_signature(classes: Sequence[str]) -> ModelSignature:
    """Return the input and output columns of the served model.

    Parameters
    ----------
    classes
        Class names; each has a column of probabilities.
    """
    texts = ("predicted", "composition", "state")
    columns = [ColSpec(DataType.string, name, required=False) for name in texts]
    columns += [ColSpec(DataType.double, "probability"), ColSpec(DataType.long, "n_tiles")]
    columns += [
        ColSpec(DataType.string, "prediction_set", required=False),
        ColSpec(DataType.long, "set_size", required=False),
        ColSpec(DataType.boolean, "unknown", required=False),
        ColSpec(DataType.double, "ood_p_value", required=False),
        ColSpec(DataType.double, "energy", required=False),
        ColSpec(DataType.double, "feature_distance", required=False),
        ColSpec(DataType.string, "problem", required=False),
    ]
    columns += [ColSpec(DataType.double, f"p_{name}") for name in classes]
    return ModelSignature(inputs=INPUT_SCHEMA, outputs=Schema(columns))
