"""Which particles and attributes are eligible, which are excluded, and how it is reported."""

import json

import numpy as np
import pandas as pd
import pytest

from ncm_kedro.damage.grouping import list_leaks
from ncm_kedro.damage.preparation import describe_data, prepare_damage, restore_data
from ncm_kedro.errors import SettingsError, TableError, TomogramError
from ncm_kedro.params.damage_attribution import DamageTableParams
from ncm_kedro.particles.columns import ATTRIBUTE_NAMES, IDENTITY_COLUMNS
from ncm_kedro.particles.plan import ParticleTables

PARAMS = DamageTableParams()
LATERAL = ("x_um", "y_um")


ODD = "sphericity below 0.5: no whole particle"


def make_attributes(sample="cyc10", count=120, seed=0, preset="corrected", border=0):
    """Make a table of independent attributes; the last `border` particles touch the border."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal(10, 1, (count, 24)), columns=list(ATTRIBUTE_NAMES))
    table["damage"] = rng.beta(1, 9, count)
    for axis, extent in {"x": 100.0, "y": 60.0, "z": 40.0}.items():
        table[f"{axis}_um"] = rng.uniform(0, extent, count)
    table["vs_ratio"] = (table["sphericity"] / (36 * np.pi)) ** (1 / 6)
    table = table.assign(
        sample=sample, particle_id=np.arange(count) * 3 + 1, voxel_count=5000,
        touches_border=np.arange(count) >= count - border, orientation_defined=True,
    )[[*IDENTITY_COLUMNS, *ATTRIBUTE_NAMES]]  # fmt: skip
    table.attrs["preset"] = preset
    return table


def make_details(attributes, depth_um=None):
    return pd.DataFrame({
        "particle_id": attributes["particle_id"],
        "depth_um": attributes["z_um"] if depth_um is None else depth_um,
    })  # fmt: skip


def make_tomograms(**changes):
    table = pd.DataFrame({
        "sample": ["cyc10", "cyc50"], "cycles": [10.0, 50.0], "voxel_z_um": 0.1, "voxel_y_um": 0.1,
        "voxel_x_um": 0.1, "axis_to_collector": ["-z", "-z"],
    })  # fmt: skip
    return table.assign(**changes)


def prepare(attributes, params=PARAMS, **tomograms):
    details = {sample: make_details(table) for sample, table in attributes.items()}
    return prepare_damage(attributes, details, make_tomograms(**tomograms), params)


def count(data, sample):
    part = data.counts[data.counts["sample"] == sample]
    return dict(zip(part["reason"], part["particles"], strict=True))


def explain_excluded(data):
    return dict(
        zip(data.excluded_attributes["attribute"], data.excluded_attributes["reason"], strict=True)
    )


@pytest.fixture
def both():
    return {"cyc50": make_attributes("cyc50", 90, 1), "cyc10": make_attributes(border=20)}


def test_two_sound_samples(both):
    data = prepare(both)
    leaks = ("electron_density", "homogeneity", "surface_inner_um2", "roughness_inner")
    ineligible = {*leaks, *LATERAL, "damage"}
    assert data.samples == ("cyc10", "cyc50")
    assert data.inputs == tuple(name for name in ATTRIBUTE_NAMES if name not in ineligible)
    assert data.leaking == leaks
    assert ("sphericity", "vs_ratio") in data.groups
    assert sorted(name for group in data.groups for name in group) == sorted(data.inputs)
    assert set(explain_excluded(data)) == {*leaks, *LATERAL}
    assert data.comparable
    assert data.rejections == {}
    assert data.preset == "corrected"
    assert data.notes == ()


def test_rows_are_those_of_the_tables(both):
    rows = prepare(both).rows
    assert rows["sample"].drop_duplicates().tolist() == ["cyc10", "cyc50"]
    assert list(rows)[:7] == ["sample", "particle_id", "block", "damage", "z_um", "y_um", "x_um"]
    for sample, table in both.items():
        part = rows[rows["sample"] == sample].reset_index(drop=True)
        whole = table[~table["touches_border"]].reset_index(drop=True)
        shared = [name for name in rows if name in whole]
        pd.testing.assert_frame_equal(part[shared], whole[shared], check_dtype=False)
    blocks = rows.groupby("sample", sort=False)["block"].unique().map(set)
    assert not blocks["cyc10"] & blocks["cyc50"]
    assert rows["block"].nunique() == 32


def test_every_particle_is_counted_once(both):
    table = both["cyc10"]
    table.loc[[0, 1, 118], "damage"] = np.nan
    table.loc[:9, "yaw_deg"] = np.nan
    table.loc[5:9, "pitch_deg"] = np.nan
    table.loc[40:41, "surface_inner_um2"] = np.nan  # it leaks: its nulls cost no particle
    data = prepare(both)
    assert count(data, "cyc10") == {
        "all": 120, "touches the border": 20, ODD: 0, "no value of damage": 2,
        "no value of yaw_deg, pitch_deg": 5, "no value of yaw_deg": 3, "used": 90,
    }  # fmt: skip
    assert len(data.rows) == 180
    assert data.rows["surface_inner_um2"].isna().sum() == 2
    assert data.rows[list(data.inputs)].notna().all(axis=None)


def test_what_is_no_whole_particle_by_its_shape_is_not_used(both):
    both["cyc10"].loc[:2, "sphericity"] = [0.2, 0.49, 0.5]
    both["cyc10"].loc[[0, 5], "damage"] = np.nan
    data = prepare(both)
    counts = count(data, "cyc10")
    assert (counts[ODD], counts["no value of damage"], counts["used"]) == (2, 1, 97)
    assert data.rows["sphericity"].min() == 0.5
    kept = prepare(both, DamageTableParams(min_sphericity=0))
    assert ODD not in count(kept, "cyc10")
    assert count(kept, "cyc10")["used"] == 98


def test_sphericity_takes_no_particle_where_it_holds_the_damage(both):
    for table in both.values():
        table.attrs["preset"] = "paper"
        table.loc[:4, "sphericity"] = 0.1
    assert ODD not in count(prepare(both), "cyc10")


def test_an_attribute_that_is_mostly_null_in_one_sample_is_left_out_everywhere(both):
    both["cyc50"].loc[:29, "contact"] = np.nan
    both["cyc10"].loc[:29, "elongation"] = np.nan
    both["cyc10"].loc[:30, "roughness_outer"] = np.nan
    data = prepare(both, DamageTableParams(max_undefined=0.3))
    reasons = explain_excluded(data)
    assert reasons["contact"] == "has no value for 33% of the whole particles of cyc50"
    assert "31%" in reasons["roughness_outer"]
    assert "elongation" in data.inputs
    assert not {"contact", "roughness_outer"} & {*data.rows, *data.inputs}
    assert count(data, "cyc10")["used"] == 70
    names = data.excluded_attributes.set_index("attribute")["paper_name"]
    assert names["roughness_outer"] == "RoughOuter"


def test_constant_and_empty_columns_are_left_out_by_name(both):
    both["cyc10"]["contact"] = 0.0
    both["cyc50"]["packing_density"] = np.nan
    both["cyc50"]["roughness_inner"] = np.nan
    # what remains of it once particles without a roughness are gone is constant
    both["cyc10"]["volume_std_um3"] = np.where(np.arange(120) < 5, 2.0, 1.0)
    both["cyc10"].loc[:4, "roughness_outer"] = np.nan
    data = prepare(both)
    reasons = explain_excluded(data)
    assert reasons["contact"] == "is the same for all particles of cyc10"
    assert reasons["packing_density"] == "has no value in cyc50"
    assert reasons["volume_std_um3"] == "is the same for all used particles of cyc10"
    assert data.leaking == ("electron_density", "homogeneity", "surface_inner_um2")


def test_the_paper_preset_keeps_its_leaks_apart(both):
    tables = {s: make_attributes(s, seed=i, preset="paper") for i, s in enumerate(both)}
    data = prepare(tables)
    assert data.leaking == list_leaks("paper")
    assert not set(data.leaking) & set(data.inputs)
    assert not any(len(group) > 1 for group in data.groups)
    everything = prepare(tables, DamageTableParams(attributes="all", lateral_positions=True))
    assert everything.inputs == tuple(name for name in ATTRIBUTE_NAMES if name != "damage")
    assert everything.leaking == ()
    assert everything.excluded_attributes.empty


def test_attributes_can_be_left_out_by_hand(both):
    data = prepare(both, DamageTableParams(excluded_attributes=("contact", "surface_inner_um2")))
    assert explain_excluded(data)["contact"] == "left out by the settings"
    assert data.leaking == ("electron_density", "homogeneity", "roughness_inner")
    with pytest.raises(SettingsError, match="found damage, size"):
        prepare(both, DamageTableParams(excluded_attributes=("damage", "size")))


def test_uncertainty_is_taken_where_every_sample_has_it(both):
    for table in both.values():
        table["damage_uncertainty"] = 0.01
        table["volume_um3_uncertainty"] = 0.5
        table["roughness_inner_uncertainty"] = 0.2
        table["x_um_uncertainty"] = 0.2
    both["cyc10"]["contact_uncertainty"] = 0.1
    both["cyc10"]["elongation_uncertainty"] = 0.1
    both["cyc50"]["elongation_uncertainty"] = np.nan
    both["cyc50"].loc[:6, "volume_um3_uncertainty"] = np.nan
    rows = prepare(both).rows
    assert [name for name in rows if name.endswith("_uncertainty")] == [
        "volume_um3_uncertainty", "damage_uncertainty", "roughness_inner_uncertainty",
    ]  # fmt: skip
    part = rows.loc[rows["sample"] == "cyc50", "volume_um3_uncertainty"]
    assert (part == 0).sum() == 7
    plain = prepare({"cyc10": make_attributes(), "cyc50": both["cyc50"]}).rows
    assert not any(name.endswith("_uncertainty") for name in plain)


def test_small_and_intact_samples_are_set_aside_and_have_no_say(both):
    small = make_attributes("cyc50", 60, 1, border=15).assign(contact=np.nan)
    small.attrs["preset"] = "corrected"
    data = prepare(both | {"cyc50": small})
    assert data.samples == ("cyc10",)
    assert data.rejections == {"cyc50": "45 particles can be used, at least 50 are needed"}
    assert "contact" in data.inputs
    assert not data.comparable
    assert any("only sample" in note for note in data.notes)
    assert count(data, "cyc50") == {
        "all": 60, "touches the border": 15, ODD: 0, "no value of damage": 0,
        "sample set aside": 45, "used": 0,
    }  # fmt: skip
    intact = prepare({"cyc10": make_attributes(), "cyc50": both["cyc50"].assign(damage=0.0)})
    assert "damage of all 90 particles that can be used is 0" in intact.rejections["cyc50"]


def test_a_sample_that_loses_too_many_rows_is_set_aside_after_all(both):
    both["cyc50"].loc[:20, "contact"] = np.nan
    both["cyc50"].loc[21:45, "elongation"] = np.nan
    data = prepare(both, DamageTableParams(max_undefined=0.3))
    assert data.rejections == {"cyc50": "44 particles can be used, at least 50 are needed"}
    assert data.rows["sample"].eq("cyc10").all()


def test_nothing_left_lists_the_reasons(both):
    tables = ParticleTables({"cyc10": make_attributes(count=20)}, {"cyc50": "no labels"})
    with pytest.raises(TableError, match=r"no usable sample.*cyc10: 20 particles can be used"):
        prepare(tables)
    with pytest.raises(TableError, match="no usable sample: no table at all"):
        prepare({})
    params = DamageTableParams(
        excluded_attributes=tuple(n for n in ATTRIBUTE_NAMES if n != "damage")
    )
    with pytest.raises(TableError, match=r"no attribute that may explain.*contact: left out"):
        prepare(both, params)


def test_presets_must_agree(both):
    both["cyc50"].attrs["preset"] = "paper"
    with pytest.raises(SettingsError, match=r"cyc50 .*preset paper, cyc10 .*preset corrected"):
        prepare(both)


@pytest.mark.parametrize(
    ("edges", "said"),
    [([0.1, 0.102], "0.1 x 0.1 x 0.1 um; cyc50: 0.102 x"), ([0.1, np.nan], "cyc50 are not known")],
)
def test_voxel_sizes_that_differ_are_said(both, edges, said):
    data = prepare(both, voxel_z_um=edges)
    assert not data.comparable
    assert any(said in note and "not compared" in note for note in data.notes)
    assert prepare(both, voxel_z_um=[0.1, 0.1005]).comparable


def test_cycles_give_the_order(both):
    assert prepare(both, cycles=[50.0, 10.0]).samples == ("cyc50", "cyc10")
    data = prepare(both, cycles=[np.nan, 10.0])
    assert data.samples == ("cyc50", "cyc10")
    assert any(note.startswith("cycles of cyc10 are not known") for note in data.notes)


def test_depth_is_the_axis_to_the_collector(both):
    data = prepare(both, axis_to_collector="x")
    assert "x_um" in data.inputs
    assert not {"y_um", "z_um"} & set(data.inputs)
    cut = data.rows[data.rows["sample"] == "cyc10"].groupby("block")
    assert (cut["x_um"].agg(np.ptp) > 50).all()
    assert (cut["y_um"].agg(np.ptp) < 40).all()
    unknown = prepare(both, axis_to_collector=None)
    assert "z_um" in unknown.inputs
    assert any("cyc10, cyc50 is not known: z is taken" in note for note in unknown.notes)
    with pytest.raises(TomogramError, match="'up'"):
        prepare(both, axis_to_collector="up")


def test_depth_that_runs_the_other_way_is_turned(both):
    towards = {"cyc10": "-z", "cyc50": "z"}
    details = {s: make_details(t, 40.0 - t["z_um"] if s == "cyc50" else None)
               for s, t in both.items()}  # fmt: skip
    table = make_tomograms(axis_to_collector=list(towards.values()))
    data = prepare_damage(both, details, table, PARAMS)
    part = data.rows[data.rows["sample"] == "cyc50"]
    np.testing.assert_allclose(part["z_um"], 40.0 - both["cyc50"]["z_um"])
    assert any("distance from the collector in cyc10, cyc50" in note for note in data.notes)
    with pytest.raises(TableError, match="no table of sample cyc10"):
        prepare_damage(both, {}, table, PARAMS)


def test_positions_explain_nothing_where_axes_differ(both):
    data = prepare(both, axis_to_collector=["-z", "x"])
    assert not {"x_um", "y_um", "z_um"} & set(data.inputs)
    assert any("cyc10: z, cyc50: x" in note for note in data.notes)


def test_description_survives_json_and_parquet(both, tmp_path):
    small = make_attributes("cyc99", 30)
    data = prepare(both | {"cyc99": small})
    data.rows.to_parquet(tmp_path / "rows.parquet")
    described = json.loads(json.dumps(describe_data(data)))
    back = restore_data(pd.read_parquet(tmp_path / "rows.parquet"), described)
    for name in ("rows", "counts", "excluded_attributes"):
        pd.testing.assert_frame_equal(getattr(back, name), getattr(data, name))
    for name in ("samples", "inputs", "leaking", "groups", "rejections", "notes", "comparable",
                 "preset"):  # fmt: skip
        assert getattr(back, name) == getattr(data, name)
