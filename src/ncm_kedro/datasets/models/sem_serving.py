"""What the registered SEM classifier runs when it is served (MLflow 'models from code')."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from ncm_kedro.datasets.models.classifier import read_classifier
from ncm_kedro.sem.inference.classify import build_frame_classifier, predict_frame


class ServedSemClassifier(PythonModel):
    """Predicts composition, state, probabilities, prediction set and OOD flag of SEM frames.

    Input columns, all optional but one of the first two: ``image`` (the bytes of an image file),
    ``path`` (a file that the server can read), ``pixel_size_um`` (where the frame carries no
    scale bar). A frame that cannot be read gets a ``problem`` instead of a prediction.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Build the network once."""
        self._classifier = build_frame_classifier(
            read_classifier(Path(context.artifacts["classifier"]))
        )

    def predict(  # type: ignore[no-untyped-def]
        self, context: PythonModelContext, model_input, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return a row per frame; its columns are those of the signature."""
        table = pd.DataFrame(model_input)
        rows = [
            predict_frame(
                self._classifier,
                image=row.get("image"),
                path=row.get("path"),
                pixel_size_um=row.get("pixel_size_um"),
            )
            for row in table.to_dict("records")
        ]
        return pd.DataFrame(rows)


mlflow.models.set_model(ServedSemClassifier())
