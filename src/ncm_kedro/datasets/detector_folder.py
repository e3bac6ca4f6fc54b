"""A particle detector as a folder of files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from ncm_kedro.tomo.detector import Detector, load_detector


class DetectorFolderDataset(AbstractDataset[Path, Detector]):
    """Saves a copy of a detector's folder, loads the detector in it.

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

    def save(self, data: Path) -> None:
        """Copy the folder, then put it in the place of the former one."""
        partial = self._filepath.with_name(f"{self._filepath.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(data, partial)
        if self._filepath.is_dir():
            shutil.rmtree(self._filepath)
        partial.rename(self._filepath)

    def load(self) -> Detector:
        """Load the detector.

        Raises
        ------
        ModelError
            If the folder holds none, or a damaged one.
        """
        return load_detector(self._filepath)

    def _exists(self) -> bool:
        return (self._filepath / "config.json").is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
