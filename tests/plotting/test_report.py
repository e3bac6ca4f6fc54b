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
