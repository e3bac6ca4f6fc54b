"""What a registered model runs when it is served (MLflow 'models from code').

A request carries bytes and numbers, never a path. A row that cannot be predicted is answered with
its problem, which is in this project's words: what a file or a library says stays in the log.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext
from numpy.typing import NDArray

from ncm_kedro.datasets.models.versions import MODEL_ARTIFACT
from ncm_kedro.errors import FrameError, NcmError
from ncm_kedro.params.base import ServingLimits

Row = dict[str, Any]
Table = list[Row]
Predictor = Callable[[Table], pd.DataFrame]

_MAX_PAGES = 16
_MEGA = 1e6
_SECTION_COLUMNS = ("particle_id", "y_px", "x_px", "probability", "outline", "problem")

logger = logging.getLogger(__name__)


class ServedModel(PythonModel):
    """Predicts the rows of a request; a row without a prediction has a ``problem``.

    Input columns of the SEM classifier: ``image`` (the bytes of an image file, base64 in JSON) and
    ``pixel_size_um`` for frames without a scale bar; of the particle detector: ``image`` and
    ``particle_px`` (typical diameter, where it shall not be estimated); of the damage attribution:
    its attributes, and ``sample`` to use the forest of one sample.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model once."""
        config = dict(context.model_config)
        make = _PREDICTORS[config.pop("kind")]
        self._predict = make(
            Path(context.artifacts[MODEL_ARTIFACT]), ServingLimits.model_validate(config)
        )

    def predict(  # type: ignore[no-untyped-def]
        self, context: PythonModelContext, model_input, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return the columns of the signature."""
        return _Response(self._predict(_list_rows(model_input)))


class _Response(pd.DataFrame):
    """A table of numbers in process that MLflow's server writes as JSON, which has no NaN."""

    def to_dict(self, *args: Any, **options: Any) -> Any:
        plain = pd.DataFrame(self).astype(object)
        return plain.where(plain.notna(), None).to_dict(*args, **options)


def _list_rows(request: Any) -> Table:
    """Return the rows of a request; one empty row where there is none, or no table.

    MLflow passes on the columns of the signature alone: of other columns not even rows are left.
    """
    try:
        table = pd.DataFrame(request)
        table = table.loc[:, ~table.columns.duplicated()]
    except Exception:
        logger.info("a request that is no table", exc_info=True)
        return [{}]
    columns = {str(name): list(table[name]) for name in table.columns}
    rows = [{name: cells[at] for name, cells in columns.items()} for at in range(len(table))]
    return rows or [{}]


def serve_classifier(folder: Path, limits: ServingLimits) -> Predictor:
    """Load an SEM classifier; its predictor returns a row per frame."""
    from ncm_kedro.datasets.models.classifier import CLASSIFIER_FILE, read_classifier
    from ncm_kedro.params.sem_classify import ClassifyParams
    from ncm_kedro.params.sem_ingest import ReadingParams
    from ncm_kedro.sem.audit.exclusion import reject_unusable
    from ncm_kedro.sem.inference.classify import (
        build_frame_classifier,
        describe_prediction,
        describe_problem,
    )
    from ncm_kedro.sem.io.pixel_size import PARAMETER
    from ncm_kedro.sem.io.reading import read_micrograph

    classifier = read_classifier(folder / CLASSIFIER_FILE)
    own_um = classifier.settings.pixel_size_um
    span_um = (own_um / limits.max_scale, own_um * limits.max_scale)
    served = build_frame_classifier(
        classifier, ClassifyParams(max_scale=limits.max_scale, max_tiles=limits.max_tiles)
    )

    def predict(row: Row) -> Row:
        data = _read_bytes(row, limits)
        if "pixel_size_um" in row:
            given_um = _read_number(row, "pixel_size_um", *span_um)
        else:
            given_um = own_um
        reading = ReadingParams.model_validate(
            {"max_megapixels": limits.max_megapixels, "pixel_size": {"fallback_um": given_um}}
        )
        with _own_words("pixel_size_um as a number where the frame carries no scale"):
            frame = read_micrograph(data, reading, where="image")
        reject_unusable(frame.flags, "image")
        size = frame.pixel_size
        answer = describe_prediction(
            classifier, served.classify_frame(frame.image_yx, size.value_um, "image")
        )
        is_assumed = size.source == PARAMETER and "pixel_size_um" not in row
        source = "model" if is_assumed else "request" if size.source == PARAMETER else size.source
        return {**answer, "pixel_size_um": size.value_um, "pixel_size_source": source}

    def answer(rows: Table) -> pd.DataFrame:
        nothing = {"pixel_size_um": None, "pixel_size_source": None}
        return pd.DataFrame(
            [
                {**describe_problem(classifier, found), **nothing}
                if isinstance(found, str)
                else found
                for found in (_attempt(predict, row, at, limits) for at, row in enumerate(rows))
            ]
        )

    return answer


def serve_detector(folder: Path, limits: ServingLimits) -> Predictor:
    """Load a particle detector; its predictor returns a row per particle."""
    from ncm_kedro.params.sem_ingest import ReadingParams
    from ncm_kedro.params.tomo_segment import SectionSegmentParams
    from ncm_kedro.sem.io.decoding import decode_image
    from ncm_kedro.tomo.detector.detector import load_detector
    from ncm_kedro.tomo.detector.sections import segment_section

    detector = load_detector(folder)
    reading = ReadingParams(max_megapixels=limits.max_megapixels)
    span_px = (detector.particle_px / limits.max_scale, detector.particle_px * limits.max_scale)

    def predict(row: Row) -> Table:
        data = _read_bytes(row, limits)
        how = SectionSegmentParams(particle_px=_read_number(row, "particle_px", *span_px))
        with _own_words("a grey section as PNG, TIFF or JPEG"):
            raster = decode_image(data, "image", reading)
            grey_yx: NDArray[Any] = raster.grey_yx
            if raster.is_inverted:
                grey_yx = -grey_yx.astype(np.float32)
            found = segment_section(grey_yx, detector, how)
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

    def answer(rows: Table) -> pd.DataFrame:
        particles = []
        for at, row in enumerate(rows):
            found = _attempt(predict, row, at, limits)
            if isinstance(found, str):
                found = [{**dict.fromkeys(_SECTION_COLUMNS), "problem": found}]
            particles += [{"row": at, **particle} for particle in found]
        return pd.DataFrame(particles, columns=["row", *_SECTION_COLUMNS])

    return answer


def serve_attribution(folder: Path, limits: ServingLimits) -> Predictor:
    """Load a damage attribution; its predictor returns a row per particle."""
    from ncm_kedro.damage.model import SAMPLE, predict_particles, read_model

    model = read_model(folder)

    def answer(rows: Table) -> pd.DataFrame:
        taken = rows[: limits.max_rows]
        values = {name: [_to_number(row.get(name)) for row in taken] for name in model.inputs}
        samples = [_to_text(row.get(SAMPLE)) for row in taken]
        particles = pd.DataFrame(values, dtype=np.float64)
        particles[SAMPLE] = samples
        found = predict_particles(model, particles)
        rest = pd.DataFrame(index=range(len(taken), len(rows)), columns=found.columns)
        rest = rest.assign(outside="", problem=_too_many(limits))
        return found if rest.empty else pd.concat([found, rest.astype(found.dtypes)])

    return answer


_PREDICTORS: dict[str, Callable[[Path, ServingLimits], Predictor]] = {
    "sem_classifier": serve_classifier,
    "particle_detector": serve_detector,
    "damage_attribution": serve_attribution,
}


def _attempt(predict: Callable[[Row], Any], row: Row, at: int, limits: ServingLimits) -> Any:
    """Return what a row is answered with, or its problem as text."""
    if at >= limits.max_rows:
        return _too_many(limits)
    try:
        return predict(row)
    except NcmError as error:
        return str(error)
    except Exception:
        logger.warning("row %d of a request", at, exc_info=True)
        return str(_problem("row", "something that cannot be worked on", "a sound image"))


@contextmanager
def _own_words(or_else: str) -> Iterator[None]:
    """Replace an error about a file's content by what was expected instead."""
    try:
        yield
    except NcmError as error:
        logger.info("%s", error)
        raise FrameError(
            "image",
            found="content that cannot be used",
            expected=error.expected,
            action=f"send another file, or {or_else}",
        ) from None


def _too_many(limits: ServingLimits) -> str:
    return str(_problem("row", f"more rows than {limits.max_rows}", f"at most {limits.max_rows}"))


def _problem(where: str, found: str, expected: str) -> FrameError:
    return FrameError(where, found=found, expected=expected, action="correct or split the request")


def _read_bytes(row: Row, limits: ServingLimits) -> bytes:
    """Return the image file of a row.

    Raises
    ------
    FrameError
        If there is none, or it is too large.
    """
    given = row.get("image")
    if isinstance(given, str):
        try:
            given = base64.b64decode("".join(given.split()), validate=True)
        except (binascii.Error, ValueError):
            given = None
    if not isinstance(given, bytes | bytearray) or not given:
        raise _problem("image", "no bytes", "the content of an image file, base64 in JSON")
    if len(given) > limits.max_megabytes * _MEGA:
        size = f"{len(given) / _MEGA:.1f} MB"
        raise _problem("image", size, f"a file of at most {limits.max_megabytes:g} MB")
    if _has_many_pages(bytes(given)):
        raise _problem("image", f"more than {_MAX_PAGES} pages", "a single image")
    return bytes(given)


def _has_many_pages(data: bytes) -> bool:
    """Tell a TIFF file whose mere list of pages would take long; a damaged one fails later."""
    import tifffile

    if not data.startswith((b"II", b"MM")):
        return False
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            return bool(file.pages[_MAX_PAGES].offset)
    except Exception:  # noqa: BLE001  (whatever is in it: an IndexError where there are fewer)
        return False


def _read_number(row: Row, name: str, low: float, high: float) -> float | None:
    """Return an optional number of a row; None where it is empty.

    Raises
    ------
    FrameError
        If it is no number, or out of range.
    """
    given = row.get(name)
    if given is None or given is pd.NA or (isinstance(given, float) and math.isnan(given)):
        return None
    value = _to_number(given)
    if not low <= value <= high:
        expected = f"a number from {low:.4g} to {high:.4g}"
        raise _problem(name, "a value out of range, or no number", expected)
    return value


def _to_number(given: object) -> float:
    is_number = isinstance(given, int | float | np.integer | np.floating)
    if not is_number or isinstance(given, bool):
        return math.nan
    try:
        return float(given)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf


def _to_text(given: object) -> str | None:
    if given is None or given is pd.NA or (isinstance(given, float) and math.isnan(given)):
        return None
    return given if isinstance(given, str) else ""


mlflow.models.set_model(ServedModel())
