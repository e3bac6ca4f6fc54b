"""What kedro-viz shows of a data set: it goes by the names of these types."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NewType

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

ImagePreview = NewType("ImagePreview", str)
"""Base64 of a PNG file."""
TablePreview = NewType("TablePreview", dict[str, Any])
"""Columns, index and data of the first rows."""
JSONPreview = NewType("JSONPreview", str)
"""JSON, shown as a tree that unfolds."""
HTMLPreview = NewType("HTMLPreview", str)
"""A fragment of HTML or Markdown; kedro-viz removes scripts and styles."""
_WIDTH_PX = 900
_MIN_HEIGHT_PX = 600  # kedro-viz stretches what is flatter than its panel


def list_first_rows(table: pd.DataFrame, nrows: int) -> TablePreview:
    """Return the first rows in JSON types: kedro-viz fails on a date that is missing."""
    rows = table.head(nrows).to_json(orient="split", date_format="iso", date_unit="s")
    return TablePreview(json.loads(rows))


def draw_sheet(images: Iterable[Image], columns: int = 1) -> ImagePreview:
    """Lay images out in rows on one sheet.

    Parameters
    ----------
    images
        In any size; wide ones are reduced.
    columns
        How many stand beside each other.
    """
    from PIL import Image

    cell_px = _WIDTH_PX // columns
    cells = list(images)
    for cell in cells:
        cell.thumbnail((cell_px, cell.height))
    rows = [cells[first : first + columns] for first in range(0, len(cells), columns)]
    heights = [max(cell.height for cell in row) for row in rows]
    sheet = Image.new("RGB", (_WIDTH_PX, max(sum(heights), _MIN_HEIGHT_PX)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for place, cell in enumerate(row):
            sheet.paste(cell, (place * cell_px, top))
        top += height
    buffer = io.BytesIO()
    sheet.quantize(128).save(buffer, format="png")
    return ImagePreview(base64.b64encode(buffer.getvalue()).decode("ascii"))
