"""The page on particles says what was measured, how, and what could fool its reader."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_particle_figures import make_attributes, make_pairs, make_profiles

from ncm_kedro.params.particle_features import AttributeParams, ParticleFigureParams
from ncm_kedro.particles.statistics.compare import compare_samples
from ncm_kedro.plotting.particles.caveats import (
    list_pair_caveats,
    list_sample_caveats,
    list_setting_caveats,
    list_uncertain,
)
from ncm_kedro.plotting.particles.report import draw_particles, render_particle_report
from ncm_kedro.plotting.particles.tables import format_comparison, say

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
    attributes, table, *, pairs=None, quantities=None, volumes=None, profiles=None, **more
):
    comparison = compare_samples(attributes, table, PARAMS)
    figures = draw_particles(
        attributes=attributes, table=table, comparison=comparison, volumes=volumes or {},
        pairs=pd.DataFrame() if pairs is None else pairs, params=PARAMS, profiles=profiles or {},
    )  # fmt: skip
    return render_particle_report(
        attributes=attributes,
        details={name: make_details(rows) for name, rows in attributes.items()},
        table=table,
        comparison=comparison,
        quantities=pd.DataFrame() if quantities is None else quantities,
        figures=figures,
        **{"params": AttributeParams(), "confidence": PARAMS.confidence, **more},
    )


def test_page_of_two_samples(sample):
    attributes = {
        "late": make_attributes("late", seed=1, damage=0.3), "early": make_attributes("early"),
    }  # fmt: skip
    quantities = pd.DataFrame(
        [("early", "Porosity", np.nan, "1", "inactive_solid_fraction is not set")],
        columns=["sample", "quantity", "value", "unit", "basis"],
    )
    page = make_page(
        attributes, list_tomograms("early", "late"), pairs=make_pairs(), quantities=quantities,
        volumes={"early": (sample[0], sample[2])}, rejections={"third": "no labels"},
    )  # fmt: skip
    for text in (
        "2 samples with 120 measured particles, 80 of them whole", "preset corrected",
        "are no replicates", "early (a) and late (b)", "touch the border", "third", "no labels",
        "closing_um", "docs/attributes.md", "damaged whole particles of early", "not tested",
        "inactive_solid_fraction is not set", "confidence of 95 %",
    ):  # fmt: skip
        assert text in page, text
    assert page.count("data:image/png;base64,") == 5
    assert "nan" not in page.split("<img")[0].lower()
    assert "http" not in page
    for text in ("How far the segmentation", "Where in the particles"):
        assert text not in page


def test_page_with_uncertainties_and_profiles():
    attributes = {name: make_attributes(name, seed=n) for n, name in enumerate("ab")}
    attributes["a"]["volume_um3_uncertainty"] = 0.01
    attributes["a"]["roughness_outer_uncertainty"] = 9.0
    page = make_page(
        attributes, list_tomograms("a", "b"), confidence=0.9,
        profiles={"a": make_profiles(attributes["a"]), "b": make_profiles(attributes["b"])[:0]},
    )  # fmt: skip
    for text in (
        "How far the segmentation could move it", "a, whole particles", "differ in them: roughness "
        "outer.", "Where in the particles the cracks are", "confidence of 90 %",
    ):  # fmt: skip
        assert text in page, text
    assert "b, whole particles" not in page
    assert page.count("data:image/png;base64,") == 4


def test_page_of_one_sample_compares_nothing():
    page = make_page(
        {"only": make_attributes("only")}, list_tomograms("only"),
        params=AttributeParams(preset="paper"),
    )  # fmt: skip
    assert "1 sample with 60 measured particles" in page
    assert "nothing to compare it with" in page
    assert "no replicates" not in page
    assert "known errors included" in page
    assert "in degrees" in page


def test_page_of_many_samples_shows_the_first_pairs():
    names = [f"s{n}" for n in range(4)]
    attributes = {name: make_attributes(name, seed=n) for n, name in enumerate(names)}
    page = make_page(attributes, list_tomograms(*names))
    assert "6 pairs were compared; the first 4 are shown" in page
    assert page.count("(a) and") == 4


@pytest.mark.parametrize("attributes", [{}, {"empty": make_attributes("empty")[:0]}])
def test_page_without_particles_says_so(attributes):
    page = make_page(attributes, list_tomograms("empty"))
    assert ("no particle was measured" if attributes else "No sample was measured") in page
    assert "data:image" not in page


def test_an_empty_sample_beside_another():
    attributes = {"a": make_attributes("a")[:0], "b": make_attributes("b")}
    page = make_page(attributes, list_tomograms("a", "b"))
    assert "a: no particle was measured" in page
    assert "a (a) and b (b)" in page


def test_a_sound_sample_has_no_caveat():
    table = make_attributes("a")
    assert list_sample_caveats(table, make_details(table), {"field_of_view_fraction": 0.9}) == []
    assert list_pair_caveats(["a", "b"], list_tomograms("a", "b")) == []


@pytest.mark.parametrize(
    ("columns", "facts", "text"),
    [
        ({"touches_border": True}, {}, "only 0 particles are whole"),
        ({"touches_border": True}, {}, "100% of the particles are cut by the border"),
        ({"electron_density": np.nan}, {}, "no grey values"),
        ({}, {"field_of_view_fraction": np.nan}, "no field of view is known"),
    ],
)
def test_caveats_of_a_sample(columns, facts, text):
    table = make_attributes("a").assign(**columns)
    facts = {"field_of_view_fraction": 0.9, **facts}
    assert any(text in line for line in list_sample_caveats(table, make_details(table), facts))


@pytest.mark.parametrize(
    ("flags", "text"), [("small,too_large", "too large to be filled"), ("pieces", "fall into")]
)
def test_caveats_of_flags(flags, text):
    table = make_attributes("a")
    (line,) = list_sample_caveats(
        table, make_details(table, flags), {"field_of_view_fraction": 1.0}
    )
    assert text in line


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"voxel_z_um": [0.1, 0.3]}, "voxels differ in size"),
        ({"c_rate": [0.1, 5.0]}, "C-rates differ (0.1, 5)"),
        ({"cycles": [1.0, np.nan]}, "not known of b"),
    ],
)
def test_caveats_of_a_pair(columns, text):
    (line,) = list_pair_caveats(["a", "b"], list_tomograms("a", "b", **columns))
    assert text in line


def test_attributes_moved_beyond_the_spread_are_named():
    weighed = pd.DataFrame(
        [("damage", 9, 0.1, 0.2, 0.5), ("contact", 9, 0.3, 0.2, 1.5), ("x_um", 0, *3 * [np.nan])],
        columns=["attribute", "n", "uncertainty", "spread", "ratio"],
    )
    (line,) = list_uncertain("s", weighed)
    assert line.startswith("s: ")
    assert "in them: contact." in line
    assert list_uncertain("s", weighed[weighed["attribute"] != "contact"]) == []


def test_samples_measured_differently_are_named():
    tables = {"a": make_attributes("a"), "b": make_attributes("b")}
    assert list_setting_caveats({}) == list_setting_caveats(tables) == []
    for table, closing in zip(tables.values(), (0.4, 0.8), strict=True):
        table.attrs["settings"] = {"preset": "corrected", "closing_um": closing}
    (line,) = list_setting_caveats(tables)
    assert "closing_um differ" in line
    assert line in make_page(tables, list_tomograms("a", "b"))


def test_values_are_written_plainly():
    assert [say(value) for value in (True, None, np.nan, 0.123456, 7, "x")] == [
        "yes", "", "", "0.1235", "7", "x",
    ]  # fmt: skip
    attributes = {"a": make_attributes("a"), "b": make_attributes("b", seed=1)}
    for rows in attributes.values():
        rows.attrs["preset"] = "paper"
    attributes["b"]["volume_um3"] += 54321.0
    table = format_comparison(compare_samples(attributes, list_tomograms("a", "b"), PARAMS))
    volume = table.set_index("attribute").loc["volume / µm³"]
    assert volume["b - a (interval)"].startswith("+5432")
    assert "e+" not in volume["b - a (interval)"]
    assert table.set_index("attribute").loc["yaw / °", "p"] == ""
    assert "orientation isotropy / °" in table["attribute"].tolist()
