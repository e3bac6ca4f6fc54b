"""A page holds all that it was given, escaped, in one file."""

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from page_text import list_captions, read_text
from PIL import Image
from scipy.ndimage import gaussian_filter

from browser import Browser
from ncm_kedro.plotting import numbers, report

MINUS, NAN = "\N{MINUS SIGN}", float("nan")
JOINED = pd.DataFrame({
    "status": ["matched", "frame alone"], "class": ["811 <script>alert(1)</script>", "333"],
    "cell_id": ["a & b", None], "matched_by": ["cell", None], "mass_mg": [20.12345, np.nan],
    "last_cycle": pd.array([7, None], dtype="Int64"),
})  # fmt: skip


@pytest.fixture
def page():
    return report.render_page(
        "cycling_join.html.j2", joined=JOINED, matched=JOINED[JOINED["status"] == "matched"]
    )


def test_text_is_escaped_and_missing_values_are_empty(page):
    assert "<script>" not in page
    assert "811 &lt;script&gt;" in page
    assert "a &amp; b" in page
    row = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)[-1]
    assert re.findall(r"<td>(.*?)</td>", row) == ["frame alone", "333", "", "", "", ""]
    assert "20.123" in read_text(page)
    assert len(list_captions(page)) == 1


def test_no_number_reads_as_another():
    table = pd.DataFrame({
        "learning_rate": [6e-4, 0.5], "cycles": [10.0, np.nan], "score": [1.0, 0.61234],
        "shift": [-3e-6, 0.0],
    })  # fmt: skip
    cells = [
        [numbers.write_cell(value) for value in row.values()] for row in report.list_rows(table)
    ]
    assert cells == [
        ["0.0006", "10", "1.000", f"{MINUS}3e{MINUS}06"], ["0.500", "", "0.612", "0.000"]
    ]  # fmt: skip


def test_long_tables_fold_sort_by_number_and_are_whole_on_paper(tmp_path):
    mass_mg = [9.0, np.nan, 10.5, 100.0, -1.0, *np.arange(20.0, 32.0)]
    rows = pd.DataFrame({"status": "frame alone", "mass_mg": mass_mg, "class": "811"})
    file = tmp_path / "page.html"
    file.write_text(
        report.render_page("cycling_join.html.j2", joined=rows, matched=JOINED), encoding="utf-8"
    )
    column = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[1].textContent)"
    with Browser(tmp_path) as browser:
        browser.open(file)
        assert browser.evaluate("document.querySelector('details').open") is False
        browser.click("summary")
        expected = [numbers.write_cell(value) for value in sorted(mass_mg[:1] + mass_mg[2:])]
        for order in (expected, expected[::-1]):
            browser.click("th:nth-child(2) button")
            assert browser.evaluate(column) == [*order, ""]
        assert (
            browser.evaluate("document.querySelector('th:nth-child(2)').ariaSort") == "descending"
        )
        browser.click("summary")
        browser.send("Page.printToPDF")
        assert browser.evaluate("document.querySelector('details').open") is True
        assert browser.list_requests() == []
        assert browser.list_errors() == []


def test_few_sections_have_no_contents(page):
    assert "<nav" not in page
    assert "<dl>" not in page
    assert "http" not in page


def decode(picture):
    kind, code = picture.source.split(",")
    assert kind == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(code))).convert("RGB"))


def test_a_figure_is_embedded_at_twice_its_size_on_the_page_and_without_loss():
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([0, 1])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=report.PAGE_DPI, bbox_inches="tight")
    drawn = np.asarray(Image.open(buffer).convert("RGB"))
    for image in (figure, buffer.getvalue()):
        picture = report.encode_picture(image)
        np.testing.assert_array_equal(decode(picture), drawn)
        assert (2 * picture.height, 2 * picture.width) == pytest.approx(drawn.shape[:2], abs=1)


def test_a_micrograph_is_embedded_small_and_close_to_what_it_was():
    rng = np.random.default_rng(1)
    grey = gaussian_filter(rng.normal(size=(400, 600)), 1.0)
    pixels = np.clip(128 + 200 * grey, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    picture = report.encode_picture(buffer.getvalue())
    assert len(picture.source) < 0.7 * len(buffer.getvalue())
    error = decode(picture).astype(float) - pixels[..., None]
    assert np.sqrt((error**2).mean()) < 0.15 * pixels.std()


def test_numbers_are_written_plainly():
    values = (True, None, NAN, 0.123456, 7, "x", pd.NA, (1.5, 2))
    assert [numbers.write_value(value) for value in values] == [
        "yes", "", "", "0.1235", "7", "x", "", "1.5, 2",
    ]  # fmt: skip
    assert [numbers.write_cell(value) for value in (123456, 0.98765, np.int64(5), False)] == [
        "123456", "0.988", "5", "no",
    ]  # fmt: skip
    assert [numbers.write_sign(x) for x in (0.5, -0.5, 0.1, NAN)] == ["+", MINUS, "~", ""]
    assert [numbers.write_number(x, 1) for x in (-0.01, -0.2, None)] == ["0.0", f"{MINUS}0.2", ""]
    assert numbers.write_number(0.0, 1, signed=True) == "0.0"
    assert (numbers.write_p(0.00123), numbers.write_p(NAN)) == ("0.0012", "")


def test_intervals_are_written_where_they_are_known():
    write = numbers.write_interval
    assert write({"r2": 0.5, "r2_low": 0.25, "r2_high": 0.75}, "r2") == "0.50 (0.25 to 0.75)"
    assert write({"value": 0.5, "low": None, "high": None}, digits=1) == "0.5"
    assert write({"value": None}) == write(None) == write({}) == ""
    change = {"x": 0.1, "low": -0.05, "high": 0.2}
    assert write(change, "x", 1, signed=True, percent=True) == f"+10.0 ({MINUS}5.0 to +20.0)"
    large = {"d": 54321.0, "d_low": -2.0, "d_high": 0.12345}
    assert numbers.write_change(large, "d", "d") == "+54321 (-2 to +0.123)"
    assert numbers.write_change({"d": NAN}, "d", "d") == ""
