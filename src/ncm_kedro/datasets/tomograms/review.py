"""Folders in which people correct labels by hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from ncm_kedro.tomo.review.edits import EditedLabels, open_edited
from ncm_kedro.tomo.review.review import ReviewProject, write_review
from ncm_kedro.tomo.review.viewer import EDITED


class ReviewFolder(AbstractDataset[Iterable[ReviewProject], dict[str, EditedLabels]]):
    """Writes a project for napari per sample; loads the edits that were saved there.

    Parameters
    ----------
    filepath
        The folder; a folder per sample is made in it.
    metadata
        For plug-ins, not used here.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def save(self, data: Iterable[ReviewProject]) -> None:
        """Write the projects; edits that lie there stay."""
        for project in data:
            write_review(project, self._filepath / project.image.name)

    def load(self) -> dict[str, EditedLabels]:
        """Open the edited labels by sample; none where nobody has edited.

        Raises
        ------
        StoreError
            If edited labels cannot be read.
        """
        stores = sorted(self._filepath.glob(f"*/{EDITED}"))
        return {store.parent.name: open_edited(store) for store in stores}

    def _exists(self) -> bool:
        return self._filepath.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
