"""How far an outline or a threshold can move an attribute."""

import numpy as np
import pandas as pd
import pytest
import solids

from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.particles.attributes import tabulate_attributes
from ncm_kedro.particles.columns import ATTRIBUTE_NAMES, UNCERTAINTY
from ncm_kedro.particles.specimen import Specimen
from ncm_kedro.particles.variants import add_uncertainty, measure_with_uncertainty

COMPUTE = TomoComputeParams(workers=1, block_edge_vx=32)
EDGE_UM = 0.1


def find_uncertainty(specimen, work, **settings):
    params = AttributeParams(uncertainty=True, **settings)
    found = measure_with_uncertainty(specimen, params, COMPUTE, work)
    table = tabulate_attributes(found, params)
    return add_uncertainty(table, found.variants).iloc[0], found


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    solid = solids.digitise(solids.ball(1.5), margin_vx=6)
    grey = np.full(solid.labels.shape, 90, np.uint8)
    specimen = Specimen("one", solid.labels, solid.voxel_size_um, grey)
    row, found = find_uncertainty(specimen, tmp_path_factory.mktemp("ball"))
    return row, found, solid.exact


def test_volume_moves_by_the_surface_times_a_voxel(ball):
    """A step to face neighbours moves a surface by the largest component of its normal."""
    row, _, exact = ball
    normals = np.random.default_rng(0).normal(size=(100_000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    step = np.abs(normals).max(axis=1).mean() * EDGE_UM
    assert row["volume_um3" + UNCERTAINTY] == pytest.approx(exact.outer * step, rel=0.04)
    # the surface of a ball grows by 8 pi r dr
    growth = 8 * np.pi * 1.5 * step
    assert row["surface_outer_um2" + UNCERTAINTY] == pytest.approx(growth, rel=0.05)


def test_what_an_outline_does_not_move_is_certain(ball):
    row, found, _ = ball
    assert set(found.variants["change"]) == {"wider", "tighter"}
    for name in ("x_um", "y_um", "z_um"):
        assert row[name + UNCERTAINTY] < 0.01
    assert row["electron_density" + UNCERTAINTY] == 0
    assert row["damage" + UNCERTAINTY] < 0.002
    for name in ATTRIBUTE_NAMES:
        if np.isnan(row[name]):
            assert np.isnan(row[name + UNCERTAINTY]), name


def test_a_threshold_moves_the_damage_where_grey_values_lie_near_it(tmp_path):
    """A slit whose walls are half grey: ``less_solid`` takes them, ``more_solid`` nothing."""
    labels = np.zeros((36, 36, 36), np.uint32)
    labels[10:26, 10:26, 10:26] = 1
    cracks = np.zeros(labels.shape, np.uint8)
    cracks[16:20, 13:23, 13:23] = 1
    grey = np.where(cracks > 0, 50, 150).astype(np.uint8)
    specimen = Specimen("one", labels, (EDGE_UM,) * 3, grey, cracks)
    sharp, _ = find_uncertainty(specimen, tmp_path / "sharp")
    blurred_grey = grey.copy()
    blurred_grey[[15, 20], 13:23, 13:23] = 102  # the threshold is at about 100
    blurred = Specimen("one", labels, (EDGE_UM,) * 3, blurred_grey, cracks)
    soft, found = find_uncertainty(blurred, tmp_path / "soft")
    assert set(found.variants["change"]) == {"wider", "tighter", "more_solid", "less_solid"}
    damage = found.variants.set_index("change")["damage"]
    assert damage["more_solid"] == pytest.approx(400 / 16**3)
    assert damage["less_solid"] == pytest.approx(600 / 16**3)
    assert soft["damage"] == pytest.approx(400 / 16**3)
    assert soft["damage" + UNCERTAINTY] > sharp["damage" + UNCERTAINTY]


def test_without_the_wish_nothing_is_varied(tmp_path):
    labels = np.zeros((16, 16, 16), np.uint32)
    labels[4:12, 4:12, 4:12] = 1
    specimen = Specimen("one", labels, (EDGE_UM,) * 3)
    params = AttributeParams()
    found = measure_with_uncertainty(specimen, params, COMPUTE, tmp_path)
    table = tabulate_attributes(found, params)
    assert found.variants.empty
    assert add_uncertainty(table, found.variants) is table


def make_table(values, **shared):
    """A table whose attributes are 1 but for the given ones."""
    rows = [dict.fromkeys(ATTRIBUTE_NAMES, 1.0) | row | shared for row in values]
    return pd.DataFrame(rows)


def test_half_the_span_of_the_table_and_its_variants():
    table = make_table([{"particle_id": 3, "volume_um3": 10.0}, {"particle_id": 7}])
    table.attrs = {"sample": "one"}
    variants = make_table(
        [
            {"particle_id": 3, "volume_um3": 14.0, "damage": 1.5},
            {"particle_id": 3, "volume_um3": 9.0, "damage": 1.2},
            {"particle_id": 5, "volume_um3": 99.0},  # falls off in the variant alone
            {"particle_id": 7},
        ]
    )
    made = add_uncertainty(table, variants).set_index("particle_id")
    assert made.loc[3, "volume_um3" + UNCERTAINTY] == 2.5
    assert made.loc[3, "damage" + UNCERTAINTY] == 0.25
    assert made.loc[3, "contact" + UNCERTAINTY] == 0
    assert made.loc[7, "volume_um3" + UNCERTAINTY] == 0
    assert made.index.tolist() == [3, 7]
    assert made.attrs == {"sample": "one"}
    assert "volume_um3" + UNCERTAINTY not in table


def test_what_is_null_or_lost_has_no_uncertainty():
    table = make_table(
        [{"particle_id": 1, "roughness_outer": np.nan}, {"particle_id": 2}, {"particle_id": 3}]
    )
    variants = make_table(
        [
            {"particle_id": 1},
            {"particle_id": 3, "damage": np.nan},
            {"particle_id": 3, "damage": 2.0},
        ]
    )
    made = add_uncertainty(table, variants).set_index("particle_id")
    assert np.isnan(made.loc[1, "roughness_outer" + UNCERTAINTY])
    assert made.loc[2, [name + UNCERTAINTY for name in ATTRIBUTE_NAMES]].isna().all()
    assert made.loc[3, "damage" + UNCERTAINTY] == 0.5


@pytest.mark.parametrize("name", ["yaw_deg", "pitch_deg", "roll_deg"])
def test_angles_of_axes_turn_by_half_a_circle_into_themselves(name):
    table = make_table([{"particle_id": 1, name: 89.0}])
    variants = make_table([{"particle_id": 1, name: -89.0}, {"particle_id": 1, name: 85.0}])
    made = add_uncertainty(table, variants)
    assert made.loc[0, name + UNCERTAINTY] == pytest.approx((2 + 4) / 2)
