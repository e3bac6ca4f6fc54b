"""What the registered particle detector runs when it is served (MLflow 'models from code')."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any, cast

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from ncm_kedro.errors import FrameError, NcmError
from ncm_kedro.params.tomo_segment import SectionSegmentParams
from ncm_kedro.tomo.detector.detector import Detector, load_detector
from ncm_kedro.tomo.detector.sections import SectionInstances, segment_section
from ncm_kedro.tomo.training.pairs import read_grey


class ServedParticleDetector(PythonModel):
    """Predicts the particles of grey sections.

    Input columns, one of the first two is needed: ``image`` (the bytes of an image file), ``path``
    (a file that the server can read), ``particle_px`` (typical particle diameter, where it shall
    not be estimated). The response has a row per particle; a section that cannot be read gets one
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


_COLUMNS = ("particle_id", "y_px", "x_px", "probability", "outline", "problem")


def predict_section(
    detector: Detector, *, image: object = None, path: object = None, particle_px: object = None
) -> list[dict[str, Any]]:
    """Predict the particles of one request; an invalid one is reported in the response.

    Parameters
    ----------
    image, path
        Bytes of an image file, or a file to read; one of the two.
    particle_px
        Typical particle diameter (px); estimated where it is not given.

    Returns
    -------
    list of dict
        A row per particle: ``particle_id, y_px, x_px, probability, outline`` (JSON, y and x of
        each corner in px) and ``problem`` (None); a single row with a problem where there is one.
    """
    given = isinstance(particle_px, int | float) and math.isfinite(particle_px)
    try:
        how = SectionSegmentParams(particle_px=cast("float", particle_px) if given else None)
        with tempfile.TemporaryDirectory() as folder:
            source = _place_request(image, path, Path(folder))
            found = segment_section(read_grey(source), detector, how)
    except (NcmError, ValueError) as error:
        return [{**dict.fromkeys(_COLUMNS), "problem": str(error)}]
    return _describe(found)


def _describe(found: SectionInstances) -> list[dict[str, Any]]:
    return [
        {
            "particle_id": number,
            "y_px": float(point[0]),
            "x_px": float(point[1]),
            "probability": float(prob),
            "outline": json.dumps(polygon.round(2).tolist()),
            "problem": None,
        }
        for number, (point, prob, polygon) in enumerate(
            zip(found.points_nc, found.prob_n, found.polygons_nkc, strict=True), start=1
        )
    ]


def _place_request(image: object, path: object, folder: Path) -> Path:
    """Return a file that holds the image."""
    if isinstance(image, bytes | bytearray) and image:
        file = folder / f"image{_guess_suffix(bytes(image[:4]))}"
        file.write_bytes(image)
        return file
    if isinstance(path, str) and path:
        return Path(path)
    raise FrameError(
        "image",
        found="neither the bytes of an image nor a path",
        expected="one of the columns image and path",
        action="send the content of an image file as image, or a path that the server can read",
    )


def _guess_suffix(start: bytes) -> str:
    return ".tif" if start[:2] in {b"II", b"MM"} else ".png"


mlflow.models.set_model(ServedParticleDetector())
