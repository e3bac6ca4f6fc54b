"""What the registered particle detector runs when it is served (MLflow 'models from code')."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from ncm_kedro.tomo.detector.detector import load_detector
from ncm_kedro.tomo.sections.predictions import predict_section


class ServedParticleDetector(PythonModel):
    """Answers the particles of grey sections.

    Input columns, one of the first two is needed: ``image`` (the bytes of an image file), ``path``
    (a file that the server can read), ``particle_px`` (typical particle diameter, where it shall
    not be estimated). The answer has a row per particle; a section that cannot be read gets one
    row with a ``problem``.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the detector once."""
        self._detector = load_detector(Path(context.artifacts["detector"]))

    def predict(  # type: ignore[no-untyped-def]
        self, context: PythonModelContext, model_input, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return the particles of every section: centre, probability, outline, problem."""
        rows = [
            {"row": number, **particle}
            for number, row in enumerate(pd.DataFrame(model_input).to_dict("records"))
            for particle in predict_section(
                self._detector,
                image=row.get("image"),
                path=row.get("path"),
                particle_px=row.get("particle_px"),
            )
        ]
        return pd.DataFrame(rows)


mlflow.models.set_model(ServedParticleDetector())
