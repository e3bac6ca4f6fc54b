"""Depth, touching particles, crack widths and flags of a scene with known values."""

import numpy as np
import pandas as pd
import pytest
import solids

from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.particles.attributes import FLAGS, tabulate_attributes, tabulate_details
from ncm_kedro.particles.measure import measure_specimen
from ncm_kedro.particles.specimen import Specimen

VOXEL = (0.2, 0.1, 0.1)
PARAMS = AttributeParams(contact_gap_um=0.1, closing_um=0.0, crack_width=True)


def make_scene():
    labels = np.zeros((30, 40, 60), np.uint32)
    labels[6:14, 10:22, 10:22] = 2
    labels[6:14, 10:22, 22:34] = 3  # shares a face with 2
    labels[6:14, 10:22, 35:47] = 5  # a voxel, 0.1 um, from 3
    labels[18:22, 30:34, 50:53] = 6
    labels[24:, 3:12, 3:12] = 7
    labels[17:20, 20:26, 20:26] = labels[23:26, 20:26, 20:26] = 8
    labels[20:23, 3:8, 30:36] = 9
    cracks = np.zeros(labels.shape, np.uint8)
    cracks[8:12, 13:19, 14:17] = 1
    cracks[20:23, 3:8, 30:36] = 1
    return labels, cracks


@pytest.fixture(scope="module")
def scene():
    labels, cracks = make_scene()
    specimen = Specimen("one", labels, VOXEL, cracks=cracks, axis_to_collector="-z")
    return measure_specimen(specimen, PARAMS, TomoComputeParams(workers=1, block_edge_vx=16))


@pytest.fixture(scope="module")
def details(scene):
    return tabulate_details(scene, PARAMS).set_index("particle_id")


def test_diameter_is_that_of_a_ball_of_the_volume(details):
    volume = 8 * 12 * 12 * np.prod(VOXEL)
    assert details.loc[3, "equivalent_diameter_um"] == pytest.approx(np.cbrt(6 * volume / np.pi))


def test_who_touches_whom(details):
    expected = {2: 1, 3: 2, 5: 1, 6: 0, 7: 0, 8: 0, 9: 0}
    assert details["touching_particles"].to_dict() == expected


def test_flags(details):
    expected = {2: "", 3: "", 5: "", 6: "small", 7: "touches_border", 8: "pieces"}
    expected[9] = "small,no_solid"
    assert details["flags"].to_dict() == expected
    assert {flag for row in expected.values() for flag in row.split(",") if flag} < set(FLAGS)


@pytest.mark.parametrize(
    ("gap_um", "flagged"), [(1.7, True), (None, False)], ids=["two lobes", "ball"]
)
def test_damage_by_the_closing_alone_is_said_in_the_row(gap_um, flagged):
    """Two intact balls that overlap: the closing fills their neck."""
    ball = solids.ball(1.0)
    grid = np.stack(np.indices((40, 30, 30)), axis=-1) * 0.1 - np.array([2.0, 1.5, 1.5])
    inside = np.linalg.norm(grid, axis=-1) < 1.0
    if gap_um is not None:
        shift = np.array([gap_um / 2, 0, 0])
        inside = (ball.level(grid - shift) > 0) | (ball.level(grid + shift) > 0)
    labels = inside.astype(np.uint32)
    specimen = Specimen("one", labels, (0.1,) * 3, cracks=np.zeros_like(labels, dtype=np.uint8))
    params = AttributeParams(closing_um=0.4)
    compute = TomoComputeParams(workers=1, block_edge_vx=64)
    measured = measure_specimen(specimen, params, compute)
    damage = tabulate_attributes(measured, params)["damage"].iloc[0]
    assert (tabulate_details(measured, params)["flags"].iloc[0] == "closing") == flagged
    assert (damage > 0.002) == flagged


def test_pieces(details):
    assert details["pieces"].to_dict() == {n: 2 if n == 8 else 1 for n in details.index}


def test_crack_widths(details):
    """A void of 4 x 6 x 3 voxels of 0.2 x 0.1 x 0.1 um is 0.3 um thin."""
    width = details.loc[2, ["crack_width_mean_um", "crack_width_max_um"]].to_numpy(float)
    np.testing.assert_allclose(width, 0.3, atol=0.02)
    without = details.index.difference([2, 9])
    assert details.loc[without, "crack_width_mean_um"].isna().all()


@pytest.mark.parametrize(
    ("towards", "expected"),
    [("-z", 10 * 0.2), ("+z", 20 * 0.2), ("z", 20 * 0.2), ("-y", 1.6), ("+x", 3.2), (None, None)],
)
def test_depth_is_counted_from_the_side_of_the_collector(scene, towards, expected):
    """Of particle 3, whose centre is at 10, 16 and 28 voxels; the volume has 30, 40 and 60."""
    turned = tabulate_details(type(scene)(**{**vars(scene), "axis_to_collector": towards}), PARAMS)
    depth = turned.set_index("particle_id").loc[3, "depth_um"]
    if expected is None:
        assert turned["depth_um"].isna().all()
    else:
        assert depth == pytest.approx(expected)


def test_rows_are_in_order_and_named(scene):
    table = tabulate_details(scene, PARAMS)
    assert table["particle_id"].is_monotonic_increasing
    assert (table["sample"] == "one").all()
    assert table["touching_particles"].dtype == np.int64
    assert isinstance(table.index, pd.RangeIndex)
