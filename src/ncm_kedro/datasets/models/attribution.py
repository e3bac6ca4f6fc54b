"""The fitted damage attribution in the registry."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from kedro.io import AbstractDataset
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, DataType, Schema

from ncm_kedro.datasets.models.versions import tag_version
from ncm_kedro.errors import ModelError
from ncm_kedro.learning.evaluation.promotion import Promotion

if TYPE_CHECKING:
    from ncm_kedro.damage.model import AttributionModel

PACKAGE_ROOT = Path(__file__).parents[2]
SERVING_SCRIPT = Path(__file__).with_name("damage_serving.py")
SERVING_REQUIREMENTS = ("mlflow", "numba", "numpy", "pandas", "pydantic", "scipy")
MODEL_ARTIFACT = "model"


@dataclass(frozen=True)
class AttributionRelease:
    """A fitted attribution on its way into the registry.

    Attributes
    ----------
    model
        The forests.
    promotion
        Whether it may take over production, and why.
    metrics
        Scores out of sample, by name.
    tags
        Lineage, by name.
    example
        A few particles: the input example.
    """

    model: AttributionModel
    promotion: Promotion
    metrics: dict[str, float]
    tags: dict[str, str]
    example: pd.DataFrame


class RegisteredAttributionDataset(AbstractDataset[AttributionRelease, "AttributionModel"]):
    """Saves a release as a new version of a registered model, loads the forests of a version.

    Parameters
    ----------
    model_name
        Name in the registry.
    model_uri
        What is loaded; the production version where it is not given.
    metadata
        For plug-ins, not used here.
    """

    def __init__(
        self,
        *,
        model_name: str,
        model_uri: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._model_name = model_name
        self._model_uri = model_uri or f"models:/{model_name}@production"
        self.metadata = metadata

    def save(self, data: AttributionRelease) -> None:
        """Log and register the forests; move the aliases that they have earned."""
        from ncm_kedro.damage.model import write_model

        with tempfile.TemporaryDirectory() as folder:
            write_model(data.model, Path(folder))
            info = mlflow.pyfunc.log_model(
                name=self._model_name,
                python_model=str(SERVING_SCRIPT),
                artifacts={MODEL_ARTIFACT: folder},
                code_paths=[str(PACKAGE_ROOT)],
                signature=describe_signature(data.model),
                input_example=data.example,
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

    def load(self) -> AttributionModel:
        """Return the forests.

        Raises
        ------
        ModelError
            If there is no such version.
        """
        from ncm_kedro.damage.model import read_model

        try:
            folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=self._model_uri))
        except (MlflowException, OSError) as error:
            raise ModelError(
                self._model_uri,
                found=f"no damage attribution there ({error})",
                expected=f"a registered version of {self._model_name}",
                action="run `kedro run --pipelines damage_attribution`, or name a version",
            ) from error
        return read_model(next(iter(folder.rglob("model.json")), folder / "model.json").parent)

    def _exists(self) -> bool:
        try:
            MlflowClient().get_registered_model(self._model_name)
        except MlflowException:
            return False
        return True

    def _describe(self) -> dict[str, Any]:
        return {"model_name": self._model_name, "model_uri": self._model_uri}


def describe_signature(model: AttributionModel) -> ModelSignature:
    """Return the input and output columns of the served model."""
    from ncm_kedro.damage.model import SAMPLE, SHAP_PREFIX

    inputs = [
        *(ColSpec(DataType.double, name) for name in model.inputs),
        ColSpec(DataType.string, SAMPLE, required=False),
    ]
    numbers = ["damage_predicted", "base", *(f"{SHAP_PREFIX}{name}" for name in model.inputs)]
    outputs = [
        *(ColSpec(DataType.double, name, required=False) for name in numbers),
        ColSpec(DataType.string, "outside"),
        ColSpec(DataType.string, "problem"),
    ]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))
