"""The page on particles states what was measured, how, and what limits it."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from page_text import BLANK_PNG, list_captions, list_headings, list_warnings, read_text
from test_particle_figures import make_attributes, make_pairs, make_profiles

from ncm_kedro.params.particle_features import AttributeParams, ParticleFigureParams
from ncm_kedro.particles.statistics import compare_samples
from ncm_kedro.plotting.particles.report import draw_particles, render_particle_report

PARAMS = ParticleFigureParams(
    resamples=100, shown_particles=2, pair_attributes=("volume_um3", "damage")
)


def make_details(attributes, flags=""):
    ids = attributes["particle_id"]
    return pd.DataFrame({"particle_id": ids, "equivalent_diameter_um": 5.0, "flags": flags})


def list_tomograms(*samples, **columns):
    table = pd.DataFrame(
        {
            "sample": samples, "cycles": 10.0 * np.arange(1, len(samples) + 1), "c_rate": 5.0,
            "voxel_z_um": 0.1, "voxel_y_um": 0.1, "voxel_x_um": 0.1, "field_of_view_fraction": 0.9,
        }
    )  # fmt: skip
    return table.assign(**columns)


def make_page(
    attributes,
    table=None,
    *,
    flags="",
    pairs=None,
    quantities=None,
    volumes=None,
    profiles=None,
    blank=None,
    **more,
):
    table = list_tomograms(*attributes) if table is None else table
    comparison = compare_samples(attributes, table, PARAMS)
    figures = blank if blank is not None else draw_particles(
        attributes=attributes, table=table, comparison=comparison, volumes=volumes or {},
        pairs=pd.DataFrame() if pairs is None else pairs, params=PARAMS, profiles=profiles or {},
    )  # fmt: skip
    return render_particle_report(
        attributes=attributes,
        details={name: make_details(rows, flags) for name, rows in attributes.items()},
        table=table,
        comparison=comparison,
        quantities=pd.DataFrame() if quantities is None else quantities,
        figures=figures,
        **{"params": AttributeParams(), "confidence": PARAMS.confidence, **more},
    )


BLANK = dict.fromkeys(("stages", "distributions", "pairs"), BLANK_PNG)


def make_two():
    return {"a": make_attributes("a"), "b": make_attributes("b", seed=1)}


def test_page_of_two_samples(sample):
    attributes = {
        "late": make_attributes("late", seed=1, damage=0.3), "early": make_attributes("early"),
    }  # fmt: skip
    attributes["late"]["volume_um3_uncertainty"] = 0.01
    attributes["late"]["roughness_outer_uncertainty"] = 9.0
    quantities = pd.DataFrame(
        [("early", "Porosity", np.nan, "1", "inactive_solid_fraction is not set")],
        columns=["sample", "quantity", "value", "unit", "basis"],
    )
    profiles = {"late": make_profiles(attributes["late"])}
    page = make_page(
        attributes, list_tomograms("early", "late"), pairs=make_pairs(), quantities=quantities,
        volumes={"early": (sample[0], sample[2])}, rejections={"third <b>": "no labels"},
        profiles=profiles, confidence=0.9,
    )  # fmt: skip
    text = read_text(page)
    for words in (
        "2 samples with 120 measured particles, 80 of them complete", "1 sample rejected",
        "early (a) and late (b)", "third <b>", "no labels", "closing_um", "confidence of 90 %",
        "inactive_solid_fraction is not set", "late, complete particles", "not tested",
    ):  # fmt: skip
        assert words in text, words
    assert "third &lt;b&gt;" in page
    assert any(line.endswith("of early, cut in the xy plane through the centre; number and damage "
                             "of the complete particle. Yellow: outline of the label; red: marked "
                             "cracks and voids. A section may miss what the volume holds")
               for line in list_captions(page))  # fmt: skip
    assert page.count("data:image/webp;base64,") == 6
    assert len(list_headings(page)) == 9
    assert [line for line in list_warnings(page) if line.startswith("late: ")][-1].count(
        "roughness outer"
    ) == 1
    assert "nan" not in text.lower()
    assert "http" not in text


def test_page_of_one_sample_compares_nothing():
    page = make_page({"only": make_attributes("only")}, params=AttributeParams(preset="paper"))
    text = read_text(page)
    assert "1 sample with 60 measured particles" in text
    assert "(a) and" not in text
    assert "in degrees" in text
    assert page.count("<img ") == 3


def test_page_of_many_samples_shows_the_first_pairs():
    names = [f"s{n}" for n in range(4)]
    attributes = {name: make_attributes(name, seed=n) for n, name in enumerate(names)}
    page = make_page(attributes, blank=BLANK)
    assert "6 pairs were compared; the first 4 are shown" in read_text(page)
    assert sum("(a) and" in caption for caption in list_captions(page)) == 4


@pytest.mark.parametrize("attributes", [{}, {"empty": make_attributes("empty")[:0]}])
def test_page_without_particles_says_so(attributes):
    page = make_page(attributes, list_tomograms("empty"))
    assert len(list_warnings(page)) == 1
    assert "<img" not in page


def test_an_empty_sample_beside_another():
    page = make_page({"a": make_attributes("a")[:0], "b": make_attributes("b")}, blank=BLANK)
    assert list_warnings(page)[0].startswith("a: no particle")
    assert "a (a) and b (b)" in list_captions(page)


@pytest.mark.parametrize(
    ("columns", "flags", "table", "parts"),
    [
        ({"touches_border": True}, "", {}, ["only 0 particles", "100% of the particles"] * 2),
        ({"electron_density": np.nan}, "", {}, ["no grey values"] * 2),
        ({}, "", {"field_of_view_fraction": [np.nan, 0.9]}, ["no field of view"]),
        ({}, "small,too_large", {}, ["100% of the particles are too large"] * 2),
        ({}, "pieces", {}, ["100% of the particles consist of"] * 2),
        ({}, "", {"voxel_z_um": [0.1, 0.3]}, ["(0.1 to 0.144 um)"]),
        ({}, "", {"c_rate": [0.1, 5.0]}, ["(0.1, 5)"]),
        ({}, "", {"cycles": [1.0, np.nan]}, ["not given for b"]),
    ],
)
def test_what_limits_the_conclusions_is_warned_of(columns, flags, table, parts):
    attributes = {name: rows.assign(**columns) for name, rows in make_two().items()}
    sound = list_warnings(make_page(make_two(), blank=BLANK))
    assert len(sound) == 1
    page = make_page(attributes, list_tomograms("a", "b", **table), flags=flags, blank=BLANK)
    found = [line for line in list_warnings(page) if line not in sound]
    assert len(found) == len(parts), found
    assert all(part in line for part, line in zip(parts, found, strict=True)), found


def test_samples_measured_differently_are_named():
    tables = make_two()
    for table, closing in zip(tables.values(), (0.4, 0.8), strict=True):
        table.attrs["settings"] = {"preset": "corrected", "closing_um": closing}
    line = list_warnings(make_page(tables, blank=BLANK))[-1]
    assert "closing_um differ" in line
    assert "preset" not in line


def test_units_and_large_differences_are_written_in_full():
    attributes = make_two()
    for rows in attributes.values():
        rows.attrs["preset"] = "paper"
    attributes["b"]["volume_um3"] += 54321.0
    text = read_text(make_page(attributes, blank=BLANK))
    assert re.search(r"\+5432\d \(\+5432\d to \+5432\d\)", text)
    for name in ("volume / µm³", "yaw / °", "orientation isotropy / °"):
        assert name in text
