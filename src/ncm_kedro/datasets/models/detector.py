"""The particle detector: the registry's, the one that ships with the package, or a folder.

A particle detector as a folder of files.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import mlflow
import pandas as pd
from kedro.io import AbstractDataset
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, DataType, Schema

from ncm_kedro.atomic_write import replace_folder
from ncm_kedro.datasets.files import FolderDataset
from ncm_kedro.datasets.models.versions import tag_version
from ncm_kedro.errors import ModelError
from ncm_kedro.learning.evaluation.promotion import Promotion
from ncm_kedro.tomo.detector.detector import STARTER_FOLDER, Detector, load_detector

logger = logging.getLogger(__name__)

PACKAGE_ROOT = Path(__file__).parents[2]
SERVING_SCRIPT = Path(__file__).with_name("tomo_serving.py")
SERVING_REQUIREMENTS = (
    "mlflow", "numpy", "onnx", "onnxruntime", "opencv-python-headless", "openvino", "pandas",
    "pillow", "pydantic", "scikit-image", "scipy", "stardist", "torch",
)  # fmt: skip
DETECTOR_ARTIFACT = "detector"


@dataclass(frozen=True)
class DetectorRelease:
    """A trained detector on its way into the registry.

    Attributes
    ----------
    folder
        The detector folder: StarDist's files, the ONNX graph, ``detector.json``.
    promotion
        Whether it may take over production, and why.
    metrics
        Scores on the validation sections, by name.
    tags
        Lineage, by name.
    example_png
        A section as PNG bytes: the input example.
    """

    folder: Path
    promotion: Promotion
    metrics: dict[str, float]
    tags: dict[str, str]
    example_png: bytes


class RegisteredDetectorDataset(AbstractDataset[DetectorRelease, Detector]):
    """Saves a release as a new version of a registered model, loads the detector to apply.

    Parameters
    ----------
    model_name
        Name in the registry.
    source
        What is loaded: ``auto`` is the registry's production version or, where there is none,
        the starter model of the package, with a warning; ``starter``; a ``models:/`` or ``runs:/``
        URI; or a folder (one of this project's, or a StarDist model folder as others publish it).
    metadata
        For plug-ins, not used here.
    """

    def __init__(
        self, *, model_name: str, source: str = "auto", metadata: dict[str, Any] | None = None
    ) -> None:
        self._model_name = model_name
        self._source = source
        self.metadata = metadata

    def save(self, data: DetectorRelease) -> None:
        """Log and register the detector; move the aliases that it has earned."""
        info = mlflow.pyfunc.log_model(
            name=self._model_name,
            python_model=str(SERVING_SCRIPT),
            artifacts={DETECTOR_ARTIFACT: str(data.folder)},
            code_paths=[str(PACKAGE_ROOT)],
            signature=describe_signature(),
            input_example=pd.DataFrame({"image": [data.example_png]}),
            registered_model_name=self._model_name,
            pip_requirements=[f"{name}=={version(name)}" for name in SERVING_REQUIREMENTS],
            metadata=data.tags,
        )
        tag_version(
            self._model_name,
            str(info.registered_model_version),
            promotion=data.promotion,
            tags=data.tags,
            metrics=data.metrics,
        )

    def load(self) -> Detector:
        """Return the detector to apply.

        Raises
        ------
        ModelError
            If the source names no detector, or the registry does not answer.
        """
        if self._source == "starter":
            return load_detector(STARTER_FOLDER)
        if self._source == "auto":
            return self._load_production_or_starter()
        if Path(self._source).is_dir():
            return load_detector(Path(self._source))
        return self._load_uri(self._source)

    def _load_production_or_starter(self) -> Detector:
        uri = f"models:/{self._model_name}@production"
        try:
            MlflowClient().get_model_version_by_alias(self._model_name, "production")
        except MlflowException as error:
            if _says_none_there(error):
                logger.warning("no version of %s is in production: the starter model of the "
                               "package is used", self._model_name)  # fmt: skip
                return load_detector(STARTER_FOLDER)
            self._refuse_registry(uri, error)
        except Exception as error:  # noqa: BLE001  databases and networks raise their own
            self._refuse_registry(uri, error)
        return self._load_uri(uri)

    def _refuse_registry(self, uri: str, error: Exception) -> NoReturn:
        raise ModelError(
            uri,
            found=f"a registry that does not answer ({type(error).__name__}: {error})",
            expected=f"the registry at {mlflow.get_registry_uri()}",
            action="start it or correct `tracking_uri` in conf/local/globals.yml; to go on with "
            "the starter model set `detector: starter` there",
        ) from error

    def _load_uri(self, uri: str) -> Detector:
        try:
            folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
        except (MlflowException, OSError) as error:
            self._refuse(uri, error)
        configurations = sorted(folder.rglob("config.json"))
        if not configurations:
            self._refuse(uri, FileNotFoundError("config.json"))
        return load_detector(configurations[0].parent)

    def _refuse(self, uri: str, error: Exception) -> NoReturn:
        raise ModelError(
            uri,
            found=f"no particle detector there ({error})",
            expected=f"a registered version of {self._model_name}, or a StarDist model folder",
            action="set `detector` in conf/local/globals.yml to auto, starter, a models:/ URI or a "
            "folder with config.json and weights, or train one: `kedro run --pipelines tomo_train`",
        ) from error

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"model_name": self._model_name, "source": self._source}


def _says_none_there(error: MlflowException) -> bool:
    """Tell a model or an alias that is not in the registry from a registry in trouble."""
    no_alias = error.error_code == "INVALID_PARAMETER_VALUE" and "alias" in str(error)
    return error.error_code == "RESOURCE_DOES_NOT_EXIST" or no_alias


def describe_signature() -> ModelSignature:
    """Return the input and output columns of the served detector: a row per particle found."""
    inputs = [
        ColSpec(DataType.binary, "image", required=False),
        ColSpec(DataType.string, "path", required=False),
        ColSpec(DataType.double, "particle_px", required=False),
    ]
    outputs = [
        ColSpec(DataType.long, "row"),
        ColSpec(DataType.long, "particle_id", required=False),
        ColSpec(DataType.double, "y_px", required=False),
        ColSpec(DataType.double, "x_px", required=False),
        ColSpec(DataType.double, "probability", required=False),
        ColSpec(DataType.string, "outline", required=False),
        ColSpec(DataType.string, "problem", required=False),
    ]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


class DetectorFolderDataset(FolderDataset):
    """Saves a copy of a detector's folder, loads the detector in it."""

    def save(self, data: Path) -> None:
        """Copy the folder, then put it in the place of the former one."""
        partial = self._filepath.with_name(f"{self._filepath.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(data, partial)
        replace_folder(partial, self._filepath)

    def load(self) -> Detector:
        """Load the detector.

        Raises
        ------
        ModelError
            If the folder holds none, or a damaged one.
        """
        return load_detector(self._filepath)

    def _exists(self) -> bool:
        return (self._filepath / "config.json").is_file()
