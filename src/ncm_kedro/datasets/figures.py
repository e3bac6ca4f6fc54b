"""Figures as files."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import NewType

from kedro_datasets.matplotlib import MatplotlibDataset

ImagePreview = NewType("ImagePreview", str)
"""Base64 of a PNG file; kedro-viz goes by the name."""
_PREVIEW_WIDTH_PX = 900


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
        from PIL import Image

        images = []
        for path in sorted(Path(str(self._get_load_path())).glob("*.png")):
            with Image.open(path) as opened:
                image = opened.convert("RGB")
            image.thumbnail((_PREVIEW_WIDTH_PX, image.height))
            images.append(image)
        height = sum(image.height for image in images)
        sheet = Image.new("RGB", (_PREVIEW_WIDTH_PX, max(height, 1)), "white")
        top = 0
        for image in images:
            sheet.paste(image, (0, top))
            top += image.height
        buffer = io.BytesIO()
        sheet.quantize(128).save(buffer, format="png")
        return ImagePreview(base64.b64encode(buffer.getvalue()).decode("ascii"))
