"""The fitted damage attribution in the registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType

from ncm_kedro.datasets.models.versions import RegisteredModelDataset, make_signature
from ncm_kedro.params.base import ServingLimits

if TYPE_CHECKING:
    from ncm_kedro.damage.model import AttributionModel


class RegisteredAttributionDataset(RegisteredModelDataset["AttributionModel", "AttributionModel"]):
    """The forests of the damage attribution in the registry."""

    kind = "damage_attribution"
    expected = "a registered damage attribution"
    action = "run `kedro run --pipelines damage_attribution`, or name a version"
    cannot = (
        "say what causes damage: it predicts damage from attributes that go with it",
        "speak of other electrodes: each forest is of one volume",
        "use attributes that were measured with another preset or at another voxel size",
    )
    requirements = ("numba",)
    default_limits = ServingLimits(max_rows=10_000)

    def _write(self, model: AttributionModel, folder: Path) -> None:
        from ncm_kedro.damage.model import write_model

        write_model(model, folder)

    def _read(self, folder: Path, number: str | None) -> AttributionModel:
        from ncm_kedro.damage.model import read_model

        return read_model(next(iter(folder.rglob("model.json")), folder / "model.json").parent)

    def _describe_signature(self, model: AttributionModel) -> ModelSignature:
        from ncm_kedro.damage.model import SAMPLE, SHAP_PREFIX

        numbers = ["damage_predicted", "base", *(f"{SHAP_PREFIX}{name}" for name in model.inputs)]
        outputs = [ColSpec(DataType.double, name, required=False) for name in numbers]
        outputs += [ColSpec(DataType.string, "outside"), ColSpec(DataType.string, "problem")]
        return make_signature([*model.inputs, SAMPLE], outputs)
