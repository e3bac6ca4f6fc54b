"""Self-contained HTML pages from Jinja2 templates, with filters for numbers, rows and images."""

from __future__ import annotations

import base64
import io
from typing import Any

import jinja2
import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.plotting import numbers
from ncm_kedro.plotting.axes import write_unit
from ncm_kedro.provenance import cite_run


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
    """Return the rows of a table as mappings."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def encode_image(image: Figure | bytes) -> str:
    """Return a figure or the bytes of a PNG file as a data URI."""
    if isinstance(image, Figure):
        buffer = io.BytesIO()
        image.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
        image = buffer.getvalue()
    return f"data:image/png;base64,{base64.b64encode(image).decode('ascii')}"


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
    "image": encode_image,
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
