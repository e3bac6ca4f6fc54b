"""A self-contained HTML page out of text, tables and figures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import pandas as pd
from matplotlib.figure import Figure

_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto;
       padding: 0 1rem; color: #1c2430; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.4rem;
     border-bottom: 1px solid #d5dbe3; padding-bottom: .3rem; }
table { border-collapse: collapse; font-size: .85rem; margin: .8rem 0; display: block;
        overflow-x: auto; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #e4e8ee; text-align: right; }
th:first-child, td:first-child { text-align: left; } thead th { background: #f3f5f8; }
img { max-width: 100%; } figure { margin: 1rem 0; }
figcaption { color: #56606e; font-size: .85rem; }
p, li, dd, figcaption { overflow-wrap: anywhere; }
nav { background: #f3f5f8; padding: .6rem 1rem; font-size: .9rem; }
nav ul { columns: 20rem; column-gap: 2rem; margin: .2rem 0; padding-left: 1.2rem; }
a { color: #1f5a8c; }
dl { display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; gap: .3rem 1.2rem; }
dt { color: #56606e; } dd { margin: 0; }
@media (max-width: 600px) { body { margin: 1rem auto; } h1 { font-size: 1.4rem; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
  figure { overflow-x: auto; } img { max-width: none; width: max(100%, 620px); } }
.warning { background: #fff4d6; border-left: 4px solid #d99a00; padding: .5rem .8rem; }
</style></head><body>
<h1>{{ title }}</h1>
<p>{{ summary }}</p>
{% if headline %}<dl>{% for name, value in headline %}
<dt>{{ name }}</dt><dd>{{ value }}</dd>{% endfor %}</dl>{% endif %}
{% if sections | length > 2 %}<nav aria-label="Contents"><ul>{% for section in sections %}
<li><a href="#section-{{ loop.index }}">{{ section.heading }}</a></li>{% endfor %}
</ul></nav>{% endif %}
{% for section in sections %}
<h2 id="section-{{ loop.index }}">{{ section.heading }}</h2>
{% for line in section.warnings %}<p class="warning">{{ line }}</p>{% endfor %}
{% for line in section.text %}<p>{{ line }}</p>{% endfor %}
{% for caption, table in section.tables %}
<figure>{{ table | safe }}<figcaption>{{ caption }}</figcaption></figure>{% endfor %}
{% for caption, picture in section.pictures %}
<figure><img alt="{{ caption }}" src="data:image/png;base64,{{ picture }}">
<figcaption>{{ caption }}</figcaption></figure>{% endfor %}
{% endfor %}
</body></html>
"""


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it.

    Attributes
    ----------
    heading
        Title of the section.
    text, warnings
        Paragraphs; warnings are set off.
    tables, figures
        Pairs of a caption and a table or figure; a figure may be the bytes of a PNG file.
    """

    heading: str
    text: Sequence[str] = ()
    warnings: Sequence[str] = ()
    tables: Sequence[tuple[str, pd.DataFrame]] = ()
    figures: Sequence[tuple[str, Figure | bytes]] = ()


def render_report(
    title: str,
    summary: str,
    sections: Sequence[Section],
    headline: Sequence[tuple[str, str]] = (),
) -> str:
    """Render an HTML page that needs no other file.

    Parameters
    ----------
    title, summary
        Heading and first paragraph.
    sections
        What follows, in order; more than two get a list of contents.
    headline
        Names and values of what matters most.
    """
    environment = jinja2.Environment(autoescape=True)
    return environment.from_string(_TEMPLATE).render(
        title=title,
        summary=summary,
        headline=headline,
        sections=[_prepare(section) for section in sections],
    )


def _prepare(section: Section) -> dict[str, Any]:
    return {
        "heading": section.heading,
        "text": section.text,
        "warnings": section.warnings,
        "tables": [
            (caption, table.to_html(index=False, border=0, na_rep="", float_format="{:.3f}".format))
            for caption, table in section.tables
        ],
        "pictures": [(caption, _encode(figure)) for caption, figure in section.figures],
    }


def _encode(figure: Figure | bytes) -> str:
    if isinstance(figure, Figure):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
        figure = buffer.getvalue()
    return base64.b64encode(figure).decode("ascii")
