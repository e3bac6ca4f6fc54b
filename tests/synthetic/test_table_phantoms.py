"""Table phantoms: contract, real geometry, a simulated damage model, and its leaky attributes."""

from __future__ import annotations

import time
import zlib
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.special import logit

from ncm_kedro.contracts.particles import (
    validate_attributes,
    validate_contacts,
    validate_details,
)
from ncm_kedro.contracts.tomo import TomogramTable
from ncm_kedro.params.synthesise import (
    ParticleTableParams,
    TableElectrodeParams,
    TableSampleParams,
)
from ncm_kedro.params.tomo_phantoms import DamageLawParams
from ncm_kedro.particles import axes as neighbours
from ncm_kedro.particles.axes import find_angles
from ncm_kedro.particles.columns import ATTRIBUTE_NAMES, IDENTITY_COLUMNS
from ncm_kedro.synthetic.particle_tables import (
    DRIVERS,
    TABLE_COLUMNS,
    ParticleTablePhantom,
    draw_neighbour_noise,
    draw_particle_tables,
)
from ncm_kedro.synthetic.table_columns import UNCERTAINTY_SHARES
from ncm_kedro.synthetic.table_electrode import (
    Electrode,
    list_contacts,
    measure_density,
    pack_electrode,
)

LAW = ["depth", "contact", "size"]
NULL_LAW = DamageLawParams(depth=0, contact=0, size=0)


@cache
def draw(seed: int = 1, particles: int = 2000, **settings: Any) -> ParticleTablePhantom:
    settings.setdefault("samples", ("cyc10",))
    names = settings.pop("samples")
    samples = {name: ParticleTableParams().samples[name] for name in names}
    return draw_particle_tables(
        ParticleTableParams(samples=samples, particles=particles, **settings), seed
    )


def make_balls(centres_um: list[list[float]], radius_um: float, extent_um: float) -> Electrode:
    count = len(centres_um)
    return Electrode(
        np.array(centres_um, np.float64),
        np.full((count, 3), radius_um),
        np.tile(np.eye(3), (count, 1, 1)),
        np.full(3, extent_um),
    )


def keep_whole(phantom: ParticleTablePhantom, sample: str = "cyc10") -> pd.DataFrame:
    table = phantom.attributes[sample]
    return table[~table["touches_border"]]


def fit_weights(
    truth: pd.DataFrame, sample: TableSampleParams, law: DamageLawParams
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights by least squares on the logit, and their standard errors."""
    design = np.column_stack([np.ones(len(truth)), truth[LAW]])
    target = logit(truth["simulated_damage"] / law.max_damage) / sample.asynchrony
    found, *_ = np.linalg.lstsq(design, target.to_numpy(), rcond=None)
    rest = target - design @ found
    variance = rest @ rest / (len(truth) - design.shape[1])
    errors = np.sqrt(variance * np.diag(np.linalg.inv(design.T @ design)))
    return found[1:], errors[1:]


def test_columns_are_those_of_the_measured_table() -> None:
    assert TABLE_COLUMNS == IDENTITY_COLUMNS + ATTRIBUTE_NAMES
    assert set(DRIVERS.values()) | set(UNCERTAINTY_SHARES) <= set(ATTRIBUTE_NAMES)


@pytest.mark.parametrize("preset", ["corrected", "paper"])
@pytest.mark.parametrize(("seed", "particles", "noise"), [(0, 60, 0), (1, 200, 0.3), (2, 20, 0.05)])
def test_tables_hold_the_contracts(preset: Any, seed: int, particles: int, noise: float) -> None:
    phantom = draw(
        seed, particles, samples=("cyc50", "cyc10"), preset=preset, measurement_noise=noise
    )
    validate_attributes(phantom.attributes)
    validate_details(phantom.details)
    validate_contacts(phantom.contacts)
    TomogramTable.validate(phantom.table)
    assert list(phantom.table["sample"]) == ["cyc10", "cyc50"]
    for name, table in phantom.attributes.items():
        assert len(table) == len(phantom.truth[name]) == particles
        assert table.attrs["sample"] == name
        assert table.attrs["preset"] == table.attrs["settings"]["preset"] == preset
        given = [column for column in table if column.endswith("_uncertainty")]
        expected = [f"{column}_uncertainty" for column in UNCERTAINTY_SHARES]
        assert given == (expected if noise else [])


def test_same_seed_same_tables_whatever_else_is_drawn() -> None:
    one = draw(3, 200)
    samples = {"a": TableSampleParams(), "cyc10": ParticleTableParams().samples["cyc10"]}
    again = draw_particle_tables(ParticleTableParams(samples=samples, particles=200), 3)
    for part in ("attributes", "contacts", "details", "truth"):
        pd.testing.assert_frame_equal(getattr(one, part)["cyc10"], getattr(again, part)["cyc10"])
    assert not np.array_equal(again.attributes["a"]["x_um"], again.attributes["cyc10"]["x_um"])
    assert not np.array_equal(draw(4, 200).truth["cyc10"]["noise"], one.truth["cyc10"]["noise"])


def test_presets_and_laws_share_their_particles() -> None:
    corrected, paper, null = draw(), draw(preset="paper", box_bias=False), draw(law=NULL_LAW)
    pd.testing.assert_frame_equal(corrected.truth["cyc10"], paper.truth["cyc10"])
    same = ["x_um", "y_um", "z_um", "volume_um3", "contact", "packing_density"]
    pd.testing.assert_frame_equal(
        corrected.attributes["cyc10"][same], null.attributes["cyc10"][same]
    )


@pytest.mark.parametrize("preset", ["corrected", "paper"])
@pytest.mark.parametrize("noise", [0, 0.2])
def test_sphericity_is_tied_to_the_ratio(preset: Any, noise: float) -> None:
    table = draw(preset=preset, particles=300, measurement_noise=noise).attributes["cyc10"]
    np.testing.assert_allclose(table["sphericity"], 36 * np.pi * table["vs_ratio"] ** 6, rtol=1e-12)
    surface = table["surface_outer_um2"]
    surface = surface + table["surface_inner_um2"] if preset == "paper" else surface
    ratio = table["volume_um3"] ** (1 / 3) / np.sqrt(surface)
    known = table["vs_ratio"].notna()
    assert known.any()
    np.testing.assert_allclose(table["vs_ratio"][known], ratio[known], rtol=1e-12)


@pytest.mark.parametrize("seed", [1, 2])
def test_packing_density_is_confounded_with_contact_and_drives_nothing(seed: int) -> None:
    phantom = draw(seed)
    whole = keep_whole(phantom)
    assert 0.5 < whole["contact"].corr(whole["packing_density"]) < 0.8
    assert whole["damage"].corr(whole["packing_density"]) > 0.25
    truth = phantom.truth["cyc10"].loc[whole.index]
    design = np.column_stack([np.ones(len(truth)), truth[LAW]])
    rest = [
        values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
        for values in (logit(truth["simulated_damage"] / 0.4), whole["packing_density"])
    ]
    assert abs(np.corrcoef(rest)[0, 1]) < 4 / np.sqrt(len(truth))


@pytest.mark.parametrize(
    "law",
    [
        DamageLawParams(),
        DamageLawParams(depth=0, size=0),
        DamageLawParams(depth=0.8, contact=-0.3, size=0, noise=1),
    ],
)
def test_law_is_found_again(law: DamageLawParams) -> None:
    phantom = draw(samples=("cyc10", "cyc50"), law=law)
    for name, sample in ParticleTableParams().samples.items():
        found, errors = fit_weights(phantom.truth[name], sample, law)
        simulated = np.array([law.depth, law.contact, law.size])
        assert (np.abs(found - simulated) < 3.5 * errors).all()
        assert errors.max() < 0.04
    assert phantom.drivers == {
        DRIVERS[driver]: getattr(law, driver) for driver in DRIVERS if getattr(law, driver) != 0
    }


def test_drivers_of_the_truth_are_attributes_of_the_table() -> None:
    phantom = draw()
    table, truth = keep_whole(phantom), phantom.truth["cyc10"]
    for driver, attribute in DRIVERS.items():
        shown = np.cbrt(table[attribute]) if driver == "size" else table[attribute]
        assert shown.corr(truth[driver].loc[table.index]) == pytest.approx(1)
    np.testing.assert_array_equal(phantom.attributes["cyc10"]["damage"], truth["simulated_damage"])


def test_null_world_has_no_drivers() -> None:
    phantom = draw(law=NULL_LAW, particles=4000)
    whole = keep_whole(phantom)
    free = [name for name in ATTRIBUTE_NAMES if name not in
            ("damage", "surface_inner_um2", "roughness_inner")]  # fmt: skip
    related = whole[free].corrwith(whole["damage"]).abs()
    assert related.max() < 4.5 / np.sqrt(whole[free].notna().sum().min())
    assert phantom.drivers == {}
    assert whole["damage"].std() > 0.01


def test_drift_makes_depth_a_driver() -> None:
    sample = TableSampleParams(drift=0.4)
    params = ParticleTableParams(samples={"a": sample}, law=NULL_LAW)
    phantom = draw_particle_tables(params, 0)
    found, errors = fit_weights(phantom.truth["a"], sample, NULL_LAW)
    assert found[0] == pytest.approx(0.4, abs=3.5 * errors[0])
    assert phantom.drivers == {"z_um": 0.0}


@pytest.mark.parametrize("driver", LAW)
def test_threshold_makes_a_step(driver: Any) -> None:
    law = NULL_LAW.model_copy(update={driver: 0.8})
    truth = draw(threshold_driver=driver, threshold_quantile=0.3, law=law).truth["cyc10"]
    levels = np.sort(truth[driver].unique())
    assert len(levels) == 2
    assert (truth[driver] == levels[0]).mean() == pytest.approx(0.3, abs=0.01)
    plain = draw().truth["cyc10"][driver]
    target = logit(truth["simulated_damage"] / law.max_damage)
    above = truth[driver] == levels[1]
    assert plain[above].min() > plain[~above].max()
    step = target[above].mean() - target[~above].mean()
    assert step == pytest.approx(0.8 * (levels[1] - levels[0]), abs=0.06)
    for side in (above, ~above):
        assert abs(plain[side].corr(target[side])) < 4 / np.sqrt(side.sum())


def test_noise_of_neighbours_is_alike_where_it_is_asked_for() -> None:
    samples = {
        "cyc10": TableSampleParams(),
        "cyc50": TableSampleParams(neighbour_noise=0.8),
    }
    phantom = draw_particle_tables(ParticleTableParams(samples=samples), 0)
    alike = {}
    for name, truth in phantom.truth.items():
        pairs = phantom.contacts[name]
        noise = truth.set_index("particle_id")["noise"]
        assert noise.std() == pytest.approx(0.35, rel=0.1)
        one, other = noise[pairs["particle_id"]], noise[pairs["neighbour_id"]]
        alike[name] = np.corrcoef(one, other)[0, 1]
    assert abs(alike["cyc10"]) < 0.06
    assert alike["cyc50"] > 0.4


def test_noise_of_a_pair_has_the_planted_correlation() -> None:
    triple = np.arange(0, 6000, 3)[:, None] + np.array([0, 1])  # of each three, two touch
    pairs = np.concatenate([triple, triple[:, ::-1]])
    drawn = draw_neighbour_noise(np.random.default_rng(0), 6000, pairs, 0.6).reshape(-1, 3)
    np.testing.assert_allclose(drawn.std(axis=0), 1, rtol=0.05)
    expected = np.array([[1, 0.6, 0], [0.6, 1, 0], [0, 0, 1]])  # both see the same sum
    np.testing.assert_allclose(np.corrcoef(drawn.T), expected, atol=0.08)


def test_damage_leaks_as_in_measured_tables() -> None:
    corrected = keep_whole(draw(law=NULL_LAW))
    paper = keep_whole(draw(law=NULL_LAW, preset="paper", box_bias=False))
    for table in (corrected, paper):
        cracks_um3 = table["damage"] * table["volume_um3"]
        assert table["surface_inner_um2"].corr(cracks_um3) > 0.6
        assert table["roughness_inner"].corr(table["damage"]) > 0.3
        assert abs(table["roughness_outer"].corr(table["damage"])) < 0.1
    leaks = ["electron_density", "homogeneity", "sphericity", "vs_ratio"]
    assert (corrected[leaks].corrwith(corrected["damage"]).abs() < 0.1).all()
    assert (paper[leaks].corrwith(paper["damage"]) < -0.2).all()


def test_the_box_of_the_paper_adds_damage_to_small_particles() -> None:
    biased, plain = draw(preset="paper"), draw(preset="paper", box_bias=False)
    added = biased.attributes["cyc10"]["damage"] - plain.attributes["cyc10"]["damage"]
    radius_vx = biased.details["cyc10"]["equivalent_diameter_um"] / 2 / 0.1
    at = plain.attributes["cyc10"]["damage"].rsub(1)
    for radius, share in ((25, 0.16), (35, 0.11), (50, 0.068), (70, 0.042)):
        near = (radius_vx - radius).abs() < 1.5
        assert (added / at)[near].mean() == pytest.approx(share, rel=0.15)


def test_roughness_of_cracks_is_null_where_there_are_none() -> None:
    sample = TableSampleParams(damage_level=1e-4)
    params = ParticleTableParams(samples={"a": sample}, particles=500, law=DamageLawParams(noise=2))
    table = draw_particle_tables(params, 0).attributes["a"]
    whole = table[~table["touches_border"]]
    bare = whole["surface_inner_um2"] < 20 * params.voxel_size_um**2
    assert bare.any()
    assert not bare.all()
    np.testing.assert_array_equal(whole["roughness_inner"].isna(), bare)


def test_measured_values_scatter_by_their_uncertainty() -> None:
    noise = 0.05
    true, seen = (keep_whole(draw(measurement_noise=share)) for share in (0, noise))
    for name in UNCERTAINTY_SHARES:
        error = (seen[name] - true[name]) / seen[f"{name}_uncertainty"]
        error = error[seen[f"{name}_uncertainty"] > 0]
        # A surface below that of a ball is not measured, which cuts the errors of round particles.
        assert 0.8 < error.std() < 1.1, name
    assert (seen["elongation_uncertainty"] < noise * seen["elongation"]).all()


def test_neighbour_columns_agree_with_the_measurement() -> None:
    params = TableElectrodeParams()
    table = draw(2, 500).attributes["cyc10"]
    centre = table[["z_um", "y_um", "x_um"]].to_numpy()
    whole = ~table["touches_border"].to_numpy()
    near, _ = neighbours.find_nearest(centre, whole, 6)
    far = neighbours.find_nearest(centre, np.ones_like(whole), 6)[1].mean(axis=1)
    inner = whole & (near >= 0).all(axis=1)
    # Centres of particles that the border cuts differ, so compare far from it.
    side = table["x_um"].max()
    place = table[["x_um", "y_um"]]
    inner &= ((place > 30) & (place < side - 30)).all(axis=1).to_numpy()
    assert inner.sum() > 20
    np.testing.assert_allclose(table["distance_nearest_um"][inner], far[inner])
    for name, column in (("volume_um3", "volume_std_um3"), ("elongation", "elongation_std"),
                         ("sphericity", "sphericity_std")):  # fmt: skip
        spread = neighbours.spread_over(table[name].to_numpy(), near)
        np.testing.assert_allclose(table[column][inner], spread[inner])
    assert table["volume_um3"].max() < 4 * params.median_diameter_um**3


def test_angles_and_alignment_agree_with_the_measurement() -> None:
    params = ParticleTableParams(samples={"a": TableSampleParams()}, particles=300, preset="paper")
    electrode = pack_again(params, 5)
    direction = electrode.axes[:, :, ::-1].copy()
    direction[:, 0] *= np.where(direction[:, 0, :1] < 0, -1, 1)
    direction[:, 2] = np.cross(direction[:, 0], direction[:, 1])
    paper = draw_particle_tables(params, 5).attributes["a"]
    angles = find_angles(direction)
    for name, angle in zip(("yaw", "pitch", "roll"), angles, strict=True):
        np.testing.assert_allclose(paper[f"{name}_deg"], angle, atol=1e-9)
    corrected = params.model_copy(update={"preset": "corrected"})
    table = draw_particle_tables(corrected, 5).attributes["a"]
    defined = table["orientation_defined"]
    np.testing.assert_array_equal(table["yaw_deg"].notna(), defined)
    half = electrode.half_um
    assert (half[defined, 0] >= 1.05 * half[defined, 1]).all()
    assert not table.loc[table["elongation"] < 1.05, "orientation_defined"].any()
    index = neighbours.find_nearest(electrode.centre_um, defined.to_numpy(), 6)[0]
    np.testing.assert_allclose(
        table["orientation_isotropy"], neighbours.measure_alignment(direction[:, 0], index)
    )


def pack_again(params: ParticleTableParams, seed: int) -> Electrode:
    """The electrode of sample ``a``, by the stream that the phantom documents for it."""
    rng = np.random.default_rng([seed, zlib.crc32(b"a"), 0])
    return pack_electrode(rng, params.particles, params.electrode)


def test_particles_do_not_overlap_grossly_and_fill_the_slab() -> None:
    params = TableElectrodeParams(packing_fraction=0.42)
    electrode = pack_electrode(np.random.default_rng(0), 2000, params)
    pairs, _ = list_contacts(electrode, 0.1)
    offset = electrode.centre_um[pairs[:, 1]] - electrode.centre_um[pairs[:, 0]]
    distance = np.sqrt((offset**2).sum(axis=1))
    reach = electrode.half_um.min(axis=1)[pairs].sum(axis=1)  # no two lie closer than this
    assert (distance / reach).min() > 0.85
    whole = ~electrode.touches_border
    assert 0.8 < whole.mean() < 0.95
    filled = np.pi / 6 * (electrode.diameter_um[whole] ** 3).sum() / electrode.extent_um.prod()
    assert 0.25 < filled < 0.5


def test_contact_of_two_balls_is_a_cap() -> None:
    apart = make_balls([[20, 20, 16], [20, 20, 24.05], [5, 5, 5]], 4.0, 40)
    pairs, area = list_contacts(apart, 0.1)
    np.testing.assert_array_equal(pairs, [[0, 1], [1, 0]])
    cosine = (8.05**2 + 4**2 - 4.1**2) / (2 * 8.05 * 4)
    np.testing.assert_allclose(area, 2 * np.pi * 16 * (1 - cosine))
    assert len(list_contacts(apart, 0.04)[0]) == 0


def test_contact_outside_the_view_does_not_count() -> None:
    balls = make_balls([[20, 20, -1], [20, 23, -1], [20, 20, 6.9]], 4.0, 40)
    pairs, _ = list_contacts(balls, 0.1)
    assert {tuple(pair) for pair in pairs.tolist()} == {(0, 2), (2, 0)}


def test_density_of_balls_in_windows() -> None:
    balls = make_balls([[20, 20, 20], [2, 2, 2]], 2.0, 40)
    volume = 4 / 3 * np.pi * 8
    np.testing.assert_allclose(
        measure_density(balls, 20, clipped=True), [volume / 8000, volume / 12**3], rtol=0.02
    )
    np.testing.assert_allclose(
        measure_density(balls, 100, clipped=False), 2 * volume / 1e6, rtol=1e-9
    )


def test_density_agrees_with_random_points() -> None:
    electrode = pack_electrode(np.random.default_rng(0), 150, TableElectrodeParams())
    density = measure_density(electrode, 20, clipped=True)
    rng = np.random.default_rng(1)
    for number in range(0, 150, 15):
        low = np.clip(electrode.centre_um[number] - 10, 0, electrode.extent_um)
        high = np.clip(electrode.centre_um[number] + 10, 0, electrode.extent_um)
        point = rng.uniform(low, high, (3000, 3))
        local = np.einsum("nij,pnj->pni", electrode.axes, point[:, None] - electrode.centre_um)
        inside = ((local / electrode.half_um) ** 2).sum(axis=2) < 1
        # Pressed particles overlap a little, which counts twice in one and once in the other.
        assert density[number] == pytest.approx(inside.any(axis=1).mean(), abs=0.05)


def test_surface_of_ellipsoids_and_the_cut_of_the_border() -> None:
    ball = make_balls([[20, 20, 20], [20, 20, 0], [20, 20, 37]], 4.0, 40)
    np.testing.assert_allclose(ball.surface_um2, 4 * np.pi * 16)
    np.testing.assert_array_equal(ball.touches_border, [False, True, True])
    np.testing.assert_allclose(ball.cut_lateral(), [[1, 1], [1, 0], [1, 0.75]])
    long = Electrode(ball.centre_um[:1], np.array([[6.0, 3, 3]]), ball.axes[:1], ball.extent_um)
    eccentricity = np.sqrt(1 - 9 / 36)  # prolate spheroid
    exact = 2 * np.pi * 9 * (1 + 2 / eccentricity * np.arcsin(eccentricity))
    np.testing.assert_allclose(long.surface_um2, exact)


def test_tables_are_consistent_with_each_other() -> None:
    phantom = draw(2, 500)
    table, details = phantom.attributes["cyc10"], phantom.details["cyc10"]
    contacts = phantom.contacts["cyc10"]
    area = contacts.groupby("particle_id")["area_um2"].sum()
    share = area.reindex(table["particle_id"]).fillna(0).to_numpy() / table["surface_outer_um2"]
    np.testing.assert_allclose(table["contact"], np.minimum(share, 1))
    touching = contacts.groupby("particle_id").size().reindex(table["particle_id"]).fillna(0)
    np.testing.assert_array_equal(details["touching_particles"], touching)
    both = set(zip(contacts["particle_id"], contacts["neighbour_id"], strict=True))
    assert {(other, one) for one, other in both} == both
    row = phantom.table.iloc[0]
    for axis in "zyx":
        assert table[f"{axis}_um"].max() <= row[f"size_{axis}_vx"] * row[f"voxel_{axis}_um"]
    np.testing.assert_allclose(table["voxel_count"] * 0.1**3, table["volume_um3"], rtol=0.01)


def test_wrong_settings_are_refused() -> None:
    for model, wrong in (
        (ParticleTableParams, {"samples": {"a b": TableSampleParams()}}),
        (TableElectrodeParams, {"elongation": (0.5, 2)}),
        (TableElectrodeParams, {"thickness_um": 10}),
    ):
        with pytest.raises(ValidationError):
            model(**wrong)


@pytest.mark.slow
def test_twenty_thousand_rows_take_seconds() -> None:
    start = time.process_time()
    draw(0, 20_000)
    assert time.process_time() - start < 20
