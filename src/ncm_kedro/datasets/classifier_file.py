"""A trained classifier in one safetensors file: weights, with the settings in its header."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from kedro.io import AbstractDataset
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.classifier import ClassifierSettings, SemClassifier

CLASSIFIER_FILE = "sem_classifier.safetensors"
_SETTINGS_KEY = "ncm_sem_classifier"


def write_classifier(path: Path, classifier: SemClassifier) -> None:
    """Write the file beside its place and move it there, so that a kill leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    weights = {name: np.ascontiguousarray(array) for name, array in classifier.weights.items()}
    save_file(weights, partial, {_SETTINGS_KEY: classifier.settings.model_dump_json()})
    os.replace(partial, path)


def read_classifier(path: Path) -> SemClassifier:
    """Read a classifier.

    Raises
    ------
    ModelError
        The file is missing, damaged or something else.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}
        settings = ClassifierSettings.model_validate_json(header[_SETTINGS_KEY])
    except (OSError, SafetensorError, KeyError, ValidationError) as error:
        raise ModelError(
            path,
            found=f"no SEM classifier ({type(error).__name__}: {error})",
            expected="a file that the training wrote",
            action="run `kedro run --pipeline tune_train`",
        ) from error
    return SemClassifier(settings, weights)


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
