"""Figures as files, and partitions with previews."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from kedro_datasets.matplotlib import MatplotlibDataset
from kedro_datasets.partitions import PartitionedDataset

from ncm_kedro.datasets.previews import (
    ImagePreview,
    TablePreview,
    draw_sheet,
    list_first_rows,
)

if TYPE_CHECKING:
    from PIL.Image import Image


class FigureFileDataset(MatplotlibDataset):
    """Saves a figure as an image file, and loads that file's bytes.

    Takes the arguments of ``MatplotlibDataset``; holds one figure.
    """

    def load(self) -> bytes:
        """Return the content of the image file."""
        with self._fs.open(str(self._get_load_path()), mode="rb") as file:
            return bytes(file.read())


class FigureFolderDataset(MatplotlibDataset):
    """Saves figures by name into a folder; previewed as one picture.

    Takes the arguments of ``MatplotlibDataset``.
    """

    def preview(self) -> ImagePreview:
        """Return all figures of the folder, one below the other."""
        files = sorted(Path(str(self._get_load_path())).glob("*.png"))
        return draw_sheet(map(_open_figure, files))


class FigurePartitions(PartitionedDataset):
    """Partitions that are figures, of which kedro-viz shows one.

    Takes the arguments of ``PartitionedDataset``.
    """

    def preview(self, partition: str) -> ImagePreview:
        """Return the figure of that name."""
        return draw_sheet([_open_figure(io.BytesIO(self.load()[partition]()))])


class TablePartitions(PartitionedDataset):
    """Partitions that are tables, of which kedro-viz shows one.

    Takes the arguments of ``PartitionedDataset``.
    """

    def preview(self, partition: str, nrows: int = 10) -> TablePreview:
        """Return the first rows of the table of that name."""
        return list_first_rows(self.load()[partition](), nrows)


def _open_figure(file: Path | io.BytesIO) -> Image:
    from PIL import Image

    with Image.open(file) as opened:
        return opened.convert("RGB")
