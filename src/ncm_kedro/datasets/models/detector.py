"""The particle detector: the registry's, the one that ships with the package, or a folder."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType

from ncm_kedro.atomic_write import replace_folder
from ncm_kedro.datasets.files import FolderDataset
from ncm_kedro.datasets.models.versions import RegisteredModelDataset, make_signature
from ncm_kedro.datasets.previews import JSONPreview
from ncm_kedro.tomo.detector.detector import STARTER_FOLDER, Detector, load_detector

logger = logging.getLogger(__name__)


class RegisteredDetectorDataset(RegisteredModelDataset[Path, Detector]):
    """The particle detector in the registry; saved is a detector's folder.

    Parameters
    ----------
    source
        What is loaded: ``auto`` is the registry's production version or, where there is none,
        the starter model of the package, with a warning; ``starter``; a ``models:/`` or ``runs:/``
        URI; or a folder (one of this project's, or a StarDist model folder as others publish it).
    options
        As for `RegisteredModelDataset`.
    """

    kind = "particle_detector"
    cannot = (
        "be trusted unseen: look at the outlines on your material before you use a number",
        "find particles far smaller or larger than those that it was trained on",
        "see cracks thinner than a pixel",
    )
    expected = "a registered particle detector, or a StarDist model folder"
    action = (
        "set `detector` in conf/local/globals.yml to auto, starter, a models:/ URI or a folder "
        "with config.json and weights, or train one: `kedro run --pipelines tomo_train`"
    )
    without_registry = "; to go on with the starter model set `detector: starter` there"
    requirements = (
        "imagecodecs", "onnx", "onnxruntime", "opencv-python-headless", "openvino", "pillow",
        "scikit-image", "stardist", "tifffile", "torch",
    )  # fmt: skip

    def __init__(self, *, source: str = "auto", **options: Any) -> None:
        uri = None if source in {"auto", "starter"} else source
        super().__init__(model_uri=uri, **options)
        self._source = source

    def load(self) -> Detector:
        """Return the detector to apply.

        Raises
        ------
        ModelError
            If the source names no detector, or the registry does not answer.
        """
        if self._source == "starter":
            return load_detector(STARTER_FOLDER)
        if self._source == "auto" and not self._find()[0]:
            logger.warning("no version of %s is in production: the starter model of the package "
                           "is used", self._model_name)  # fmt: skip
            return load_detector(STARTER_FOLDER)
        if Path(self._source).is_dir():
            return load_detector(Path(self._source))
        return super().load()

    def _write(self, model: Path, folder: Path) -> None:
        shutil.copytree(model, folder, dirs_exist_ok=True)

    def _read(self, folder: Path, number: str | None) -> Detector:
        configuration = next(iter(sorted(folder.rglob("config.json"))), folder / "config.json")
        detector = load_detector(configuration.parent)
        detector.version = number
        return detector

    def _describe_signature(self, model: Path) -> ModelSignature:
        outputs = [
            ColSpec(DataType.long, "row"),
            ColSpec(DataType.long, "particle_id", required=False),
            ColSpec(DataType.double, "y_px", required=False),
            ColSpec(DataType.double, "x_px", required=False),
            ColSpec(DataType.double, "probability", required=False),
            ColSpec(DataType.string, "outline", required=False),
            ColSpec(DataType.string, "problem", required=False),
        ]
        return make_signature(["image", "particle_px"], outputs)

    def _exists(self) -> bool:
        return True


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

    def preview(self) -> JSONPreview:
        """Return the settings."""
        return JSONPreview((self._filepath / "config.json").read_text(encoding="utf-8"))

    def _exists(self) -> bool:
        return (self._filepath / "config.json").is_file()
