"""What the registered damage attribution runs when it is served (MLflow 'models from code')."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from ncm_kedro.damage.model import predict_particles, read_model


class ServedDamageAttribution(PythonModel):
    """Predicts the expected damage of particles, and the contribution of each attribute to it.

    Input columns: the attributes of the signature, and ``sample`` to use the forest of one sample.
    The output has a row per particle; for a particle without a prediction ``problem`` gives the
    reason.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the forests once."""
        self._model = read_model(Path(context.artifacts["model"]))

    def predict(  # type: ignore[no-untyped-def]
        self, context: PythonModelContext, model_input, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return prediction, base, SHAP values, attributes out of range, and problem."""
        return predict_particles(self._model, pd.DataFrame(model_input))


mlflow.models.set_model(ServedDamageAttribution())
