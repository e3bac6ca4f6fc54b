"""Self-contained HTML pages from Jinja2 templates, with filters for numbers, rows and images."""

from __future__ import annotations

import base64
import io
from typing import Any, NamedTuple

import jinja2
import pandas as pd
from matplotlib.figure import Figure
from pandas.api.types import is_float_dtype
from PIL import Image

from ncm_kedro.plotting import numbers
from ncm_kedro.plotting.axes import write_unit
from ncm_kedro.provenance import cite_run

PAGE_DPI = 200
"""Resolution of figures on pages and in the folder of figures."""
_ENCODINGS = ({"lossless": True, "quality": 50, "method": 3}, {"quality": 70, "method": 4})
_LOSSLESS_WORTH = 1.5  # times the size; micrographs take more


def render_page(template: str, **values: Any) -> str:
    """Render an HTML page that needs no other file; all text is escaped.

    Parameters
    ----------
    template
        File under ``templates``.
    **values
        What the template shows: plain data, tables, and figures or the bytes of PNG files.
    """
    return _TEMPLATES.get_template(template).render(headings=[], **values)


def list_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as mappings; a column of whole numbers holds integers."""
    for name in filter(lambda name: is_float_dtype(table[name]), table):
        if all(float(value).is_integer() for value in table[name].dropna()):
            values = [value if pd.isna(value) else int(value) for value in table[name]]
            table = table.assign(**{str(name): pd.Series(values, table.index, dtype=object)})
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


class Picture(NamedTuple):
    """An image as a page embeds it.

    Attributes
    ----------
    source
        Data URI of a WebP file.
    width, height
        Size on the page in CSS px: half of the image's own, which dense screens and paper show.
    """

    source: str
    width: int
    height: int


def encode_picture(image: Figure | bytes) -> Picture:
    """Encode a figure or the bytes of an image file; lines without loss, micrographs with little.

    Parameters
    ----------
    image
        A figure, drawn at `PAGE_DPI`, or a file that was.
    """
    if isinstance(image, Figure):
        buffer = io.BytesIO()
        fast = {"compress_level": 1}  # it is read again at once
        image.savefig(buffer, format="png", dpi=PAGE_DPI, bbox_inches="tight", pil_kwargs=fast)
        image = buffer.getvalue()
    with Image.open(io.BytesIO(image)) as opened:
        pixels = opened.convert("RGB")
    exact, lossy = (_write_webp(pixels, **how) for how in _ENCODINGS)
    data = exact if len(exact) < _LOSSLESS_WORTH * len(lossy) else lossy
    width, height = (max(size // 2, 1) for size in pixels.size)
    code = base64.b64encode(data).decode("ascii")
    return Picture(f"data:image/webp;base64,{code}", width, height)


def _write_webp(pixels: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pixels.save(buffer, format="webp", **options)
    return buffer.getvalue()


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("ncm_kedro.plotting"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {
    "cell": numbers.write_cell,
    "change": numbers.write_change,
    "cite": cite_run,
    "picture": encode_picture,
    "interval": numbers.write_interval,
    "number": numbers.write_number,
    "p": numbers.write_p,
    "paper_name": numbers.get_paper_name,
    "percent": "{:.0%}".format,
    "rows": list_rows,
    "sign": numbers.write_sign,
    "value": numbers.write_value,
    "with_unit": write_unit,
}
