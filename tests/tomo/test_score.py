"""Scores against known values."""

import numpy as np
import pytest
from instance_cases import draw_balls

from ncm_kedro.tomo.scoring.score import score_labels
from ncm_kedro.tomo.scoring.surfaces import measure_outline_distances

UM = (0.5, 0.5, 0.5)


def squares(shift=0):
    labels = np.zeros((40, 120), np.uint32)
    for number in range(4):
        labels[10:30, 5 + 24 * number + shift : 25 + 24 * number + shift] = number + 1
    return labels


@pytest.mark.parametrize("shift", [0, 1, 2, 3, 4])
def test_shifted_squares(shift):
    """Squares of 20 px, shifted by s: IoU is (20 - s) / (20 + s)."""
    scores = score_labels(squares(), squares(shift), voxel_size_um=(1.0, 1.0))
    iou = (20 - shift) / (20 + shift)
    assert scores.mean_iou == pytest.approx(iou)
    assert scores.panoptic_quality == pytest.approx(iou)
    assert (scores.ap_50, scores.ap_70, scores.ap_90) == (1.0, float(iou >= 0.7), float(iou >= 0.9))
    assert (scores.splits, scores.merges) == (0, 0)
    assert scores.surface_mean_um <= shift
    assert scores.surface_p95_um == shift


def test_missed_and_invented_labels():
    true, found = squares(), squares()
    found[found == 1] = 0
    found[0:5, 0:5] = 9
    scores = score_labels(true, found, voxel_size_um=(1.0, 1.0))
    assert (scores.n_true, scores.n_predicted) == (4, 4)
    assert (scores.ap_50, scores.precision, scores.recall) == (3 / 5, 3 / 4, 3 / 4)
    assert scores.panoptic_quality == pytest.approx(3 / 4)


def test_splits_and_merges_are_counted():
    true, found = squares(), squares()
    found[10:20][found[10:20] == 1] = 11
    found[found == 3] = 4
    scores = score_labels(true, found, voxel_size_um=(1.0, 1.0))
    assert (scores.splits, scores.merges) == (1, 1)
    back = score_labels(found, true, voxel_size_um=(1.0, 1.0))
    assert (back.splits, back.merges) == (1, 1)
    assert score_labels(true, true, voxel_size_um=(1.0, 1.0)).splits == 0


def test_names_do_not_matter():
    true = draw_balls((30, 30, 60), [(15, 15, 15), (15, 15, 42)], [10, 12])
    found = np.where(true > 0, true * 7 + 100, 0)
    scores = score_labels(true, found, voxel_size_um=UM)
    assert (scores.ap_90, scores.mean_iou, scores.surface_mean_um) == (1.0, 1.0, 0.0)


def test_a_ball_grown_by_two_voxels():
    true = draw_balls((50, 50, 50), [(25, 25, 25)], [14])
    found = draw_balls((50, 50, 50), [(25, 25, 25)], [16])
    scores = score_labels(true, found, voxel_size_um=UM)
    assert scores.mean_iou == pytest.approx((14 / 16) ** 3, abs=0.01)
    assert scores.surface_mean_um == pytest.approx(1.0, abs=0.1)


def test_ignored_labels_take_their_predictions_with_them():
    true, found = squares(), squares(1)
    found[found == 2] = 0
    every = score_labels(true, found, voxel_size_um=(1.0, 1.0))
    assert (every.n_true, every.n_predicted, every.ap_50) == (4, 3, 3 / 4)
    some = score_labels(true, found, voxel_size_um=(1.0, 1.0), ignored_true=[1, 2])
    assert (some.n_true, some.n_predicted, some.ap_50) == (2, 2, 1.0)
    ground = np.zeros(true.shape, np.uint8)
    ground[:, :27] = 1
    rest = score_labels(true, found, voxel_size_um=(1.0, 1.0), ignore_mask=ground)
    assert (rest.n_true, rest.n_predicted) == (3, 2)


def test_nothing_to_find():
    empty = np.zeros((8, 8), np.uint32)
    scores = score_labels(empty, empty, voxel_size_um=(1.0, 1.0))
    assert scores.n_true == scores.n_predicted == 0
    assert np.isnan(scores.ap_50)
    assert score_labels(squares(), np.zeros_like(squares()), voxel_size_um=(1, 1)).ap_50 == 0


def test_outline_distances_are_in_um_along_each_axis():
    first, second = np.zeros((12, 12), bool), np.zeros((12, 12), bool)
    first[3, 2:10] = second[7, 2:10] = True
    far_um = measure_outline_distances(first, second, (0.5, 2.0))
    assert far_um.tolist() == pytest.approx([2.0] * 16)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="differ"):
        score_labels(np.zeros((2, 2)), np.zeros((2, 3)), voxel_size_um=(1, 1))
