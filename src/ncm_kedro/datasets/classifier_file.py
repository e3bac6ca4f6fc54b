"""A trained classifier in one safetensors file: weights and detector, settings in its header."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from kedro.io import AbstractDataset
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.area_ranks import AreaRanks
from ncm_kedro.learning.classifier import ClassifierSettings, SemClassifier
from ncm_kedro.learning.unknown import UnknownDetector

CLASSIFIER_FILE = "sem_classifier.safetensors"
_SETTINGS_KEY = "ncm_sem_classifier"
_DETECTOR = "unknown_detector/"
_DETECTOR_ARRAYS = ("reference_nd", "location", "spread")


def write_classifier(path: Path, classifier: SemClassifier) -> None:
    """Write the file beside its place and move it there, so that a kill leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    arrays = classifier.weights | _pack_detector(classifier.detector)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(contiguous, partial, {_SETTINGS_KEY: classifier.settings.model_dump_json()})
    os.replace(partial, path)


def read_classifier(path: Path) -> SemClassifier:
    """Read a classifier; one that an earlier version wrote has neither sets nor detector.

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
            expected="a file that the training wrote",
            action="run `kedro run --pipeline tune_train`",
        ) from error
    weights = {name: a for name, a in arrays.items() if not name.startswith(_DETECTOR)}
    return SemClassifier(settings, weights, detector)


def _pack_detector(detector: UnknownDetector | None) -> dict[str, NDArray[np.generic]]:
    if detector is None:
        return {}
    arrays = {name: getattr(detector, name) for name in _DETECTOR_ARRAYS}
    arrays["scores"], arrays["weights"] = detector.ranks.scores, detector.ranks.weights
    arrays["false_alarm_rate"] = np.float64(detector.false_alarm_rate)
    arrays["neighbours"] = np.int64(detector.neighbours)
    return {f"{_DETECTOR}{name}": np.asarray(array) for name, array in arrays.items()}


def _unpack_detector(arrays: dict[str, NDArray[Any]]) -> UnknownDetector | None:
    parts = {
        name.removeprefix(_DETECTOR): array
        for name, array in arrays.items()
        if name.startswith(_DETECTOR)
    }
    if not parts:
        return None
    return UnknownDetector(
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
