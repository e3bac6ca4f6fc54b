"""Figures as files."""

from __future__ import annotations

from kedro_datasets.matplotlib import MatplotlibDataset


class FigureFileDataset(MatplotlibDataset):
    """Saves a figure as an image file, and loads that file's bytes.

    Takes the arguments of ``MatplotlibDataset``; holds one figure.
    """

    def load(self) -> bytes:
        """Return the content of the image file."""
        with self._fs.open(str(self._get_load_path()), mode="rb") as file:
            return bytes(file.read())
