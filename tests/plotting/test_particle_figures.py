"""Figures of particle attributes show what the tables and volumes hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from ncm_kedro.params.particle_features import ParticleFigureParams
from ncm_kedro.particles.columns import ATTRIBUTE_NAMES
from ncm_kedro.particles.statistics import compare_samples
from ncm_kedro.plotting.axes import colour_samples, estimate_density, name_attribute
from ncm_kedro.plotting.numbers import state_p
from ncm_kedro.plotting.particles.distributions import (
    plot_crack_profiles,
    plot_distributions,
    plot_stages,
    run_median,
    summarise_profiles,
)
from ncm_kedro.plotting.particles.pairs import plot_pairs, plot_truth_scatter
from ncm_kedro.plotting.particles.sheet import choose_particles, cut_particles, plot_contact_sheet


def make_attributes(sample, count=60, seed=0, damage=0.05):
    rng = np.random.default_rng(seed)
    values = {name: rng.gamma(4.0, 0.2, count) for name in ATTRIBUTE_NAMES}
    values["damage"] = np.clip(rng.gamma(2.0, damage, count), 0, 1)
    return pd.DataFrame(
        {
            "sample": sample, "particle_id": np.arange(1, count + 1),
            "touches_border": np.arange(count) % 3 == 0, "voxel_count": 500,
            "orientation_defined": True, **values,
        }
    )  # fmt: skip


def list_tomograms(*samples):
    return pd.DataFrame({"sample": samples, "cycles": np.arange(len(samples), dtype=float)})


def draw(figure, tmp_path):
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "figure.png", dpi=40)
    return figure


def texts_of(figure):
    titles = [axes.get_title() for axes in figure.axes]
    inside = [text.get_text() for axes in figure.axes for text in axes.texts]
    legend = [text.get_text() for box in figure.legends for text in box.get_texts()]
    return titles + inside + legend


def test_names_carry_their_unit():
    assert name_attribute("volume_std_um3", {}) == "volume std / µm³"
    assert name_attribute("yaw_deg", {}) == "yaw / °"
    assert name_attribute("damage", {}) == "damage"
    assert name_attribute("distance_nearest_um", {}) == "distance nearest / µm"


def test_isotropy_of_the_papers_preset_is_an_angle(tmp_path):
    tables = {"a": make_attributes("a")}
    for preset, title in (
        ("corrected", "orientation isotropy"),
        ("paper", "orientation isotropy / °"),
    ):
        tables["a"].attrs["preset"] = preset
        assert name_attribute("orientation_isotropy", tables) == title
        assert texts_of(draw(plot_distributions(tables), tmp_path))[23] == title
        assert name_attribute("damage", tables) == "damage"


def test_every_sample_has_its_own_colour():
    for count in range(9):
        colours = colour_samples([f"s{n}" for n in range(count)])
        assert len(set(colours.values())) == len(colours) == count


def test_density_stays_within_the_values():
    values = np.random.default_rng(0).exponential(size=20_000)
    places, density = estimate_density(values)
    assert values.min() <= places.min() < places.max() <= values.max()
    assert density.max() == 1.0
    near = density[places < 3.0] / density[0]
    np.testing.assert_allclose(near, np.exp(-places[places < 3.0]), atol=0.12)


def test_distributions_have_a_panel_per_attribute_and_its_median(tmp_path):
    tables = {"a": make_attributes("a"), "b": make_attributes("b", seed=1)}
    tables["b"]["contact"] = np.nan
    tables["a"]["roll_deg"] = 7.0
    figure = draw(plot_distributions(tables), tmp_path)
    assert len(figure.axes) == 24
    assert "a: 40 complete" in texts_of(figure)
    panel = next(axes for axes in figure.axes if axes.get_title() == "damage")
    medians = [line.get_ydata()[0] for line in panel.lines if line.get_gid() == "median"]
    whole = [table.loc[~table["touches_border"], "damage"].median() for table in tables.values()]
    np.testing.assert_allclose(medians, whole)
    contact = next(axes for axes in figure.axes if axes.get_title() == "contact")
    assert sum(line.get_gid() == "median" for line in contact.lines) == 1


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_stages_print_their_statistics(count, tmp_path):
    tables = {f"s{n}": make_attributes(f"s{n}", seed=n, damage=0.03 * 4**n) for n in range(count)}
    params = ParticleFigureParams(resamples=100)
    comparison = compare_samples(tables, list_tomograms(*tables), params)
    figure = draw(plot_stages(tables, comparison), tmp_path)
    titles = [axes.get_title() for axes in figure.axes]
    assert sum("δ" in title for title in titles) == 4 * (count > 1)
    if count == 2:
        found = comparison.set_index("attribute").loc["damage"]
        assert f"δ = {found['cliffs_delta']:+.2f} ({found['effect']})" in titles[3]
        assert state_p(found["p_holm"]) in titles[3]
    if count == 5:
        assert titles[3].count("→") == 4
        assert "5 s4: 40 complete" in texts_of(figure)


def list_bars(figure):
    panel = next(axes for axes in figure.axes if axes.get_title().startswith("damage against"))
    return [
        np.array(path).T
        for bars in panel.containers
        for path in bars.lines[2][0].get_segments()
        if len(path)
    ]


def test_damage_has_bars_where_particles_are_few(tmp_path):
    table = make_attributes("a").assign(damage_uncertainty=0.1)
    table.loc[1, "damage_uncertainty"] = np.nan
    none = compare_samples({}, list_tomograms("a"), ParticleFigureParams(resamples=100))
    bars = list_bars(draw(plot_stages({"a": table}, none), tmp_path))
    whole = table[~table["touches_border"]]
    ends = {round(x[0], 9): y for x, y in bars}
    assert len(ends) == len(whole) - 1
    for _, row in whole[whole["damage_uncertainty"].notna()].iterrows():
        expected = np.clip([row["damage"] - 0.1, row["damage"] + 0.1], 0, 1)
        np.testing.assert_allclose(ends[round(row["volume_um3"], 9)], expected)
    for other in (
        table.drop(columns="damage_uncertainty"),
        make_attributes("a", 460).assign(damage_uncertainty=0.1),
        table[:0],
    ):
        assert not list_bars(draw(plot_stages({"a": other}, none), tmp_path))


def make_profiles(attributes, shells=4):
    """Particles of 100 voxels a shell; damage rises by 0.1 a shell and by 0.01 a particle."""
    ids = np.repeat(attributes["particle_id"].to_numpy(), shells)
    shell = np.tile(np.arange(shells), len(attributes))
    return pd.DataFrame(
        {
            "sample": "a", "particle_id": ids, "shell": shell, "depth_low": shell / shells,
            "depth_high": (shell + 1) / shells, "voxel_count": 100,
            "crack_voxels": 10 * shell + ids,
        }
    )  # fmt: skip


def test_profiles_are_those_of_whole_particles():
    table = make_attributes("a", 9)
    profiles = make_profiles(table)
    last = (profiles["shell"] == 3) & (profiles["particle_id"] == 2)
    profiles.loc[last, ["voxel_count", "crack_voxels"]] = 0
    profiles.loc[profiles["particle_id"] == 9, ["voxel_count", "crack_voxels"]] *= 3
    found = summarise_profiles(profiles, table)
    whole = np.array([2, 3, 5, 6, 8, 9])
    np.testing.assert_allclose(found["depth"], [0.125, 0.375, 0.625, 0.875])
    assert found["particles"].tolist() == [6, 6, 6, 5]
    pooled = 0.01 * (whole[:-1].sum() + 27) / 8
    np.testing.assert_allclose(found["damage"][:3], pooled + 0.1 * np.arange(3))
    np.testing.assert_allclose(found["middle"], [0.055, 0.155, 0.255, 0.36])
    np.testing.assert_allclose(
        found.loc[0, ["low", "high"]].astype(float), 0.01 * np.quantile(whole, [0.25, 0.75])
    )
    assert summarise_profiles(profiles[:0], table).empty
    assert summarise_profiles(profiles, table.assign(touches_border=True)).empty


def test_profiles_are_drawn_by_sample(tmp_path):
    tables = {"a": make_attributes("a", 9), "b": make_attributes("b", 9)}
    profiles = {"a": make_profiles(tables["a"])}
    (axes,) = draw(plot_crack_profiles(profiles, tables), tmp_path).axes
    (line,) = [line for line in axes.lines if line.get_gid() == "pooled"]
    found = summarise_profiles(profiles["a"], tables["a"])
    np.testing.assert_allclose(line.get_xydata(), found[["depth", "damage"]])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a: 6 complete"]
    empty = draw(plot_crack_profiles({"a": profiles["a"][:0]}, tables), tmp_path)
    assert "no complete particle with a\nprofile" in texts_of(empty)


def test_samples_without_particles_leave_their_place_empty(tmp_path):
    tables = {"a": make_attributes("a")[:0], "b": make_attributes("b")}
    comparison = compare_samples(
        tables, list_tomograms("a", "b"), ParticleFigureParams(resamples=100)
    )
    figure = draw(plot_stages(tables, comparison), tmp_path)
    assert "a: 0 complete" in texts_of(figure)
    none = {"a": tables["a"]}
    assert texts_of(draw(plot_distributions(none), tmp_path)).count("no value") == 24
    assert "no complete particle" in texts_of(draw(plot_stages(none, comparison), tmp_path))
    draw(plot_pairs(none, ("damage", "volume_um3")), tmp_path)


def test_running_median_follows_a_step():
    places = np.random.default_rng(0).random(400)
    where, low, middle, high = run_median(places, (places > 0.5).astype(float))
    assert (middle[where < 0.4] == 0).all()
    assert (middle[where > 0.6] == 1).all()
    assert (low <= high).all()
    assert run_median(places[:19], places[:19]).shape == (4, 0)


@pytest.mark.parametrize(
    ("value", "text"), [(np.nan, "p n/a"), (0.0, "p < 1e-12"), (0.031, "p = 0.031"), (1.0, "p = 1")]
)
def test_p_values_are_quoted(value, text):
    assert state_p(value) == text


def test_pairs_write_rank_correlations_of_whole_particles(tmp_path):
    table = make_attributes("a")
    table["damage"] = np.where(table["touches_border"], 0.0, -np.exp(table["volume_um3"]))
    table["z_um"] = 3.0
    figure = draw(plot_pairs({"a": table}, ("z_um", "volume_um3", "damage")), tmp_path)
    assert len(figure.axes) == 9
    assert [text for text in texts_of(figure) if text in ("n/a", "-1.00")] == [
        "n/a",
        "n/a",
        "-1.00",
    ]


def make_pairs(count=40):
    rng = np.random.default_rng(2)
    pairs = pd.DataFrame({"touches_border": np.arange(count) % 4 == 0})
    for name in (
        "volume_um3", "equivalent_diameter_um", "damage", "elongation", "touching_particles",
        "x_um", "y_um", "z_um",
    ):  # fmt: skip
        pairs[f"{name}_true"] = rng.random(count) + 1
        pairs[f"{name}_measured"] = pairs[f"{name}_true"] * 1.1
    return pairs


def test_truth_states_number_bias_and_correlation(tmp_path):
    pairs = make_pairs()
    pairs.loc[pairs["touches_border"], "damage_measured"] = 9.0
    pairs.loc[1, "damage_measured"] = np.nan
    figure = draw(plot_truth_scatter(pairs), tmp_path)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[0] == "n = 30, bias +10.0% ± 0.0%, r = 1.000"
    assert titles[2].startswith("n = 29, bias +0.1")
    assert sum(line.get_gid() == "identity" for line in figure.axes[0].lines) == 1
    empty = draw(plot_truth_scatter(pd.DataFrame()), tmp_path)
    assert texts_of(empty).count("no particle with a ground truth") == 6
    border = draw(plot_truth_scatter(pairs[pairs["touches_border"]]), tmp_path)
    assert "no complete particle" in texts_of(border)


def measure_balls(labels, cracks, voxel_um):
    """Attribute table as far as the contact sheet needs it."""
    rows = []
    for number in np.unique(labels[labels > 0]):
        place = np.argwhere(labels == number)
        border = (place == 0).any() or (place == np.array(labels.shape) - 1).any()
        centre = (place.mean(axis=0) + 0.5) * voxel_um
        rows.append(
            {
                "particle_id": int(number), "touches_border": bool(border), "z_um": centre[0],
                "y_um": centre[1], "x_um": centre[2], "elongation": np.nan,
                "volume_um3": len(place) * np.prod(voxel_um),
                "damage": float(cracks[labels == number].mean()),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def test_the_most_and_least_damaged_are_chosen_once():
    table = make_attributes("a", 12)
    most, least = choose_particles(table, 3)
    whole = table[~table["touches_border"]].sort_values("damage")
    assert most["damage"].tolist() == whole["damage"].tolist()[::-1][:3]
    assert least["damage"].tolist() == whole["damage"].tolist()[:3]
    most, least = choose_particles(table[:5], 8)
    assert not set(most["particle_id"]) & set(least["particle_id"])
    assert len(most) + len(least) == 3
    assert [len(part) for part in choose_particles(table[:0], 8)] == [0, 0]


def test_sections_hold_the_particle_and_little_else(sample, packing, tmp_path):
    labels_zyx, cracks_zyx, _ = packing
    image, _, labels = sample
    table = measure_balls(labels_zyx, cracks_zyx, labels.voxel_size_um)
    whole = table[~table["touches_border"]]
    cuts = cut_particles(whole, labels, image)
    for cut, (_, row) in zip(cuts, whole.iterrows(), strict=True):
        plane = int(row["z_um"] / labels.voxel_size_um[0])
        assert cut.inside_yx.sum() == (labels_zyx[plane] == cut.particle_id).sum()
        marked = (labels_zyx[plane] == cut.particle_id) & (cracks_zyx[plane] > 0)
        assert cut.cracks_yx.sum() == marked.sum()
        radius_px = (3 * row["volume_um3"] / (4 * np.pi)) ** (1 / 3) / labels.voxel_size_um[2]
        assert max(cut.inside_yx.shape) <= 2 * 1.3 * radius_px + 5
        assert cut.image_yx.shape == cut.inside_yx.shape
    most, least = choose_particles(table, 10)
    figure = draw(
        plot_contact_sheet(
            cut_particles(most, labels, image), cut_particles(least, labels, None), title="cyc10"
        ),
        tmp_path,
    )
    first = most.iloc[0]
    assert f"{first['particle_id']:.0f}: {first['damage']:.1%}" in texts_of(figure)
    assert sum(bool(axes.images) for axes in figure.axes) == len(most) + len(least)


@pytest.mark.parametrize("elongation", [np.nan, 6.0])
def test_sections_of_long_and_bent_particles_are_not_cropped(elongation, write_sample, tmp_path):
    labels_zyx = np.zeros((5, 80, 120), np.uint32)
    labels_zyx[1:4, 38:42, 3:115] = 1
    labels_zyx[1:4, 10:42, 3:6] = 1
    labels_zyx[1:4, 60:79, 60:63] = 2
    labels_zyx[0, 0, 0] = 3
    labels = write_sample(tmp_path, "long", labels_zyx, voxel_um=(0.2, 0.1, 0.1))
    table = measure_balls(labels_zyx, labels_zyx * 0, labels.voxel_size_um)
    cuts = cut_particles(table.assign(elongation=elongation), labels, None)
    for cut, (_, row) in zip(cuts, table.iterrows(), strict=True):
        plane = int(row["z_um"] / 0.2)
        assert cut.inside_yx.sum() == (labels_zyx[plane] == cut.particle_id).sum()
    assert cuts[1].inside_yx.shape[0] <= 1.3 * 19 + 3
    assert cuts[2].inside_yx.size <= 9


def test_labels_without_cracks_and_an_empty_sheet(packing, write_sample, tmp_path):
    labels_zyx, cracks_zyx, _ = packing
    labels = write_sample(tmp_path, "bare", labels_zyx)
    table = measure_balls(labels_zyx, cracks_zyx, labels.voxel_size_um)
    cuts = cut_particles(table[:2], labels, None)
    assert not any(cut.cracks_yx.any() for cut in cuts)
    draw(plot_contact_sheet(cuts, [], title="bare"), tmp_path)
    assert "no complete particle" in texts_of(draw(plot_contact_sheet([], [], title="e"), tmp_path))
