"""A folder for the state of long work, so that a killed run goes on where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError


class WorkFolderDataset(AbstractDataset[None, Path]):
    """Loads as the path of a folder that exists; the work in it belongs to the domain.

    Parameters
    ----------
    filepath
        The folder.
    metadata
        For plug-ins, not used here.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """Create the folder where it is missing and return its absolute path."""
        self._filepath.mkdir(parents=True, exist_ok=True)
        return self._filepath.resolve()

    def save(self, data: None) -> NoReturn:
        """Refuse: nothing is saved here by a node."""
        raise DatasetError(f"{self._filepath} is a work folder: nodes only load it")

    def _exists(self) -> bool:
        return self._filepath.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
