import numpy as np
import pandas as pd
import pytest
from page_text import list_captions, list_warnings, read_text

from ncm_kedro.electrochemistry.measure import join_frames
from ncm_kedro.plotting.cycling import plot_cycling, render_cycling_report, render_join_report

GROUPS = ("333", "811")
EMPTY_CURVES = pd.DataFrame(columns=["cell_id", "composition", "class", "cycle", "half",
                                     "capacity_mah", "capacity_mah_g", "voltage_v"])  # fmt: skip


def make_summary():
    rows = [
        {"by": "composition", "group": group, "quantity": quantity, "cycle": cycle,
         "mean": 100.0 - cycle, "sd": 1.0, "n": 2 if cycle == 3 else 3, "n_cells": 3}
        for group in GROUPS
        for quantity in ("discharge_capacity_mah_g", "retention_percent",
                         "coulombic_efficiency_percent")
        for cycle in (1, 2, 3, 4, 6, 7)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def make_curves():
    capacity = np.linspace(0.0, 150.0, 20)
    parts = [
        EMPTY_CURVES.reindex(range(20)).assign(
            cell_id=f"{group}_a", composition=group, cycle=cycle, half=half,
            capacity_mah=capacity / 50, capacity_mah_g=capacity, voltage_v=4.2 - capacity / 150,
        )
        for group in GROUPS for cycle in (1, 10) for half in ("charge", "discharge")
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def draw(summary, curves):
    return plot_cycling(summary, curves, by="composition", reference_cycle=1)


def test_missing_cycles_break_the_line_and_fewer_cells_thin_it():
    axes = draw(make_summary(), EMPTY_CURVES).axes[0]
    thin, thick = axes.lines[0].get_ydata(), axes.lines[1].get_ydata()
    np.testing.assert_array_equal(thin, [99.0, 98.0, 97.0, 96.0, np.nan, 94.0, 93.0])
    np.testing.assert_array_equal(thick, [99.0, 98.0, np.nan, 96.0, np.nan, 94.0, 93.0])


def test_voltage_curves_are_drawn_where_there_are_any():
    assert len(draw(make_summary(), EMPTY_CURVES).axes) == 3
    figure = draw(make_summary(), make_curves())
    assert [axes.get_title() for axes in figure.axes[3:5]] == ["333: 333_a", "811: 811_a"]
    assert [len(axes.lines) for axes in figure.axes[3:5]] == [4, 4]


@pytest.fixture
def cells():
    return pd.DataFrame({
        "cell_id": ["333_a", "b"], "class": ["333", None], "n_cycles": [7, 0],
        "last_cycle": pd.array([7, None], dtype="Int64"), "note": ["", "no cycle that can be used"],
        "reference_capacity_mah_g": [99.0, np.nan], "last_retention_percent": [93.9, np.nan],
        "mass_mg": [20.0, np.nan], "n_excluded": 0, "missing_cycles": ["5", ""],
    })  # fmt: skip


def test_the_page_lists_what_was_left_out(cells):
    summary = make_summary()
    page = render_cycling_report(
        summary=summary,
        cells=cells,
        bad_rows=pd.DataFrame({"file": ["a.csv"], "row": [3], "cell_id": ["333_a"], "cycle": [5],
                               "reason": ["discharge capacity below 0"]}),
        files=pd.DataFrame({"file": ["a.csv", "x.mpr"], "problem": [None, "cut <off>"]}),
        figure=draw(summary, make_curves()),
        by="composition",
        reference_cycle=1,
    )  # fmt: skip
    text = read_text(page)
    assert "1 cell with 7 cycles; 1 row excluded, 1 of 2 files rejected." in text
    assert "discharge capacity below 0" in text
    assert len(list_captions(page)) == 6
    assert "cut &lt;off&gt;" in page
    assert "&lt;NA&gt;" not in page
    assert list_warnings(page) == ["b: no cycle that can be used."]


def test_a_join_by_class_carries_its_warning(cells):
    manifest = pd.DataFrame({"class": ["333", "811"], "excluded": [False, False]})
    page = render_join_report(join_frames(manifest, cells))
    assert "1 cell with frames in 1 class; 2 rows without a counterpart." in read_text(page)
    assert len(list_warnings(page)) == 1
