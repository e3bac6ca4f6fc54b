"""The report holds all that it was given, escaped, in one file."""

import base64
import re

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.plotting.report import Section, render_report


def test_page_is_self_contained_and_escaped():
    figure = Figure()
    figure.subplots().plot([0, 1])
    section = Section(
        "Scores <script>",
        text=["plain"],
        warnings=["careful"],
        tables=[("a table", pd.DataFrame({"class": ["811 & co"], "recall": [0.98765]}))],
        figures=[("a figure", figure)],
    )
    page = render_report("Title", "Summary", [section])
    assert "<script>" not in page
    assert "811 &amp; co" in page
    assert "0.988" in page
    picture = re.search(r"data:image/png;base64,([^\"]+)", page)
    assert base64.b64decode(picture.group(1)).startswith(b"\x89PNG")
    assert "http" not in page


def test_a_saved_picture_is_shown_as_it_is():
    saved = b"\x89PNG and more"
    page = render_report("T", "S", [Section("One", figures=[("saved", saved)])])
    picture = re.search(r"data:image/png;base64,([^\"]+)", page)
    assert base64.b64decode(picture.group(1)) == saved


def test_contents_and_headline_come_where_there_is_something_to_find():
    sections = [Section(name) for name in ("One & two", "Three", "Four")]
    page = render_report("T", "S", sections, headline=[("score <b>", "0.5")])
    assert '<a href="#section-1">One &amp; two</a>' in page
    assert '<h2 id="section-3">Four</h2>' in page
    assert re.search(r"<dt>score &lt;b&gt;</dt>\s*<dd>0.5</dd>", page)
    short = render_report("T", "S", sections[:2])
    assert "<nav" not in short
    assert "<dl>" not in short
