"""The list of particles against balls that are known."""

import numpy as np
import pandas as pd
import pytest
from instance_cases import STEP_UM, draw_balls, store_volume

from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.tomo.instances.particle_list import list_particles

UM = (0.5, 0.25, 0.25)


@pytest.fixture
def volumes(tmp_path):
    labels = draw_balls((40, 40, 70), [(20, 20, 14), (20, 20, 35), (20, 20, 66)], [10, 10, 8])
    cracks = np.zeros(labels.shape, np.uint8)
    cracks[18:22, 18:22, 12:16] = 1
    view = np.ones(labels.shape, np.uint8)
    view[:, :, :5] = 0
    prob = np.where(labels > 0, 200, 0).astype(np.uint8)
    prob[:, :, 24:26][labels[:, :, 24:26] > 0] = 150
    stored = (
        store_volume(tmp_path / "labels", labels, extras={"cracks": cracks}, voxel_um=UM),
        store_volume(tmp_path / "grey", prob, extras={"field_of_view": view}, voxel_um=UM),
        store_volume(
            tmp_path / "probability", prob,
            extras={"distance": np.full(labels.shape, 9, np.uint8),
                    "disagreement": np.full(labels.shape, 51, np.uint8)},
            attributes={"distance_step_um": STEP_UM}, voxel_um=UM,
        ),
    )  # fmt: skip
    return labels, cracks, stored


def test_each_ball_is_measured(volumes):
    labels, _, stored = volumes
    table = list_particles(*stored, TomoComputeParams(block_edge_vx=32)).set_index("particle_id")
    assert table.index.tolist() == [1, 2, 3]
    count = (labels == 1).sum()
    row = table.loc[1]
    assert row["voxel_count"] == count
    assert row["volume_um3"] == pytest.approx(count * np.prod(UM))
    assert row["equivalent_diameter_um"] == pytest.approx(20 * np.cbrt(np.prod(UM)), rel=0.01)
    assert row[["z_um", "y_um", "x_um"]].tolist() == pytest.approx([10.25, 5.125, 3.625])
    assert row[["z_start_vx", "z_stop_vx", "x_start_vx", "x_stop_vx"]].tolist() == [10, 31, 4, 25]
    assert row["crack_fraction"] == pytest.approx(64 / count)
    assert row["disagreement"] == pytest.approx(0.2)
    assert row["inner_radius_um"] == 9 * STEP_UM
    assert table.loc[2, "crack_fraction"] == 0


def test_the_border_is_the_face_of_the_volume_and_the_edge_of_the_view(volumes):
    _, _, stored = volumes
    table = list_particles(*stored, TomoComputeParams(block_edge_vx=32))
    assert table["touches_border"].tolist() == [True, False, True]


def test_a_neck_is_doubtful_by_its_saddle(volumes):
    _, _, stored = volumes
    table = list_particles(*stored, TomoComputeParams(block_edge_vx=32))
    assert table["neck_uncertainty"].tolist() == pytest.approx([0.75, 0.75, 0.0])


def test_blocks_do_not_show(volumes):
    _, _, stored = volumes
    whole = list_particles(*stored, TomoComputeParams(block_edge_vx=128))
    for edge in (16, 48):
        cut = list_particles(*stored, TomoComputeParams(block_edge_vx=edge))
        pd.testing.assert_frame_equal(cut, whole)


def test_no_particles_give_an_empty_list(volumes, tmp_path):
    _, _, (_, grey, probability) = volumes
    empty = store_volume(tmp_path / "none", np.zeros((40, 40, 70), np.uint32), voxel_um=UM)
    table = list_particles(empty, grey, probability, TomoComputeParams(block_edge_vx=64))
    assert len(table) == 0
    assert "touches_border" in table
