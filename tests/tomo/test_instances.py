"""Labels of particles: exactly blockwise, touching balls separated, damage retained."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import zarr
from instance_cases import (
    draw_balls,
    pack_balls,
    perfect_maps,
    run_labels,
    store_case,
    store_volume,
)
from scipy.ndimage import gaussian_filter

from ncm_kedro.errors import StoreError
from ncm_kedro.params.tomo_segment import RefineParams, TomoComputeParams, TomoInstanceParams
from ncm_kedro.tomo.instances.instances import plan_labels
from ncm_kedro.tomo.scoring.score import score_labels

FLOODED = TomoInstanceParams(refine=RefineParams(enabled=False))


def image(labels, solid, rng, noise=8.0):
    grey = np.where(solid & (labels > 0), 180.0, 60.0)
    noisy = gaussian_filter(grey, 0.6) + rng.normal(0, noise, grey.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def noisy_case(tmp_path_factory):
    """A few touching and lone balls; smooth noise, for many watershed regions."""
    rng = np.random.default_rng(3)
    centres = [(14, 15, 16), (14, 15, 35), (30, 24, 24), (36, 44, 20), (20, 40, 50), (2, 30, 60)]
    labels = draw_balls((45, 57, 71), centres, [9, 10, 8, 11, 9, 8])
    prob, dist = perfect_maps(labels)
    wave = gaussian_filter(rng.normal(0, 1, labels.shape), 1.5)
    wave *= 12 / wave.std()
    prob = np.where(prob > 0, np.clip(prob + wave, 0, 255), 0).astype(np.uint8)
    grey = image(labels, np.ones(labels.shape, bool), rng)
    folder = tmp_path_factory.mktemp("noisy")
    return labels, store_case(folder, grey, prob, dist)


@pytest.mark.parametrize("fusion", ["watershed", "paper"])
def test_blocks_do_not_show(noisy_case, tmp_path, fusion):
    _, case = noisy_case
    params = TomoInstanceParams(fusion=fusion, threshold=0.35)
    whole = run_labels(tmp_path / "whole", case, params, edge=128)
    assert whole[0].max() >= 4
    cut = run_labels(tmp_path / "cut", case, params, edge=16, workers=3)
    np.testing.assert_array_equal(cut, whole)


def test_noisy_maps_find_each_ball_once(noisy_case, tmp_path):
    truth, case = noisy_case
    labels, _ = run_labels(tmp_path, case)
    scores = score_labels(truth, labels, voxel_size_um=(1, 1, 1))
    assert (scores.ap_70, scores.splits, scores.merges) == (1.0, 0, 0)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """160 balls, each touching its neighbours."""
    labels = draw_balls((96, 96, 96), pack_balls(96, 160, 7.5), [7.5] * 160)
    prob, dist = perfect_maps(labels)
    grey = image(labels, np.ones(labels.shape, bool), np.random.default_rng(0))
    return labels, store_case(tmp_path_factory.mktemp("packed"), grey, prob, dist)


def test_touching_balls_are_parted(packed, tmp_path):
    truth, case = packed
    labels, _ = run_labels(tmp_path, case, FLOODED)
    scores = score_labels(truth, labels, voxel_size_um=(1, 1, 1))
    assert scores.n_predicted == 160
    assert (scores.ap_50, scores.ap_90) == (1.0, 1.0)


def test_threshold_and_components_cannot_part_and_outline_both(packed, tmp_path):
    truth, case = packed
    for threshold in (0.3, 0.5):
        params = TomoInstanceParams(
            fusion="paper", threshold=threshold, refine=RefineParams(enabled=False)
        )
        labels, _ = run_labels(tmp_path / f"{threshold}", case, params)
        assert score_labels(truth, labels, voxel_size_um=(1, 1, 1)).ap_90 < 0.05


@pytest.mark.parametrize("unsure", [1, 3])
def test_a_detector_that_is_unsure_of_many_particles_is_named(tmp_path, caplog, unsure):
    """Of four balls some have a peak of 0.7 and a mean probability of 0.2."""
    centres = [(14, 14, 14), (14, 14, 42), (14, 42, 14), (14, 42, 42)]
    labels = draw_balls((28, 56, 56), centres, [9] * 4)
    prob, dist = perfect_maps(labels)
    core = draw_balls(labels.shape, centres, [3] * 4) > 0
    prob[(labels <= unsure) & (labels > 0)] = 45
    prob[(labels <= unsure) & core] = 180
    grey = image(labels, np.ones(labels.shape, bool), np.random.default_rng(2))
    with caplog.at_level(logging.WARNING):
        found, _ = run_labels(tmp_path, store_case(tmp_path, grey, prob, dist))
    assert found.max() == 4 - unsure
    assert zarr.open_array(tmp_path / "labels", mode="r").attrs["debris"] == unsure
    assert ("the detector is unsure" in caplog.text) == (unsure == 3)


def make_damaged():
    """A hollow ball, and one that a thin crack opens from the rim to the centre."""
    labels = draw_balls((48, 48, 96), [(24, 24, 24), (24, 24, 70)], [17, 17])
    z, y, x = np.indices(labels.shape)
    void = (z - 24) ** 2 + (y - 24) ** 2 + (x - 24) ** 2 <= 7**2
    crack = (np.abs(y - 24) <= 1) & (x > 70) & (np.abs(z - 24) <= 12) & (labels == 2)
    return labels, void | crack


def test_voids_and_cracks_stay_inside_the_hull(tmp_path):
    truth, missing = make_damaged()
    prob, dist = perfect_maps(truth)
    grey = np.where((truth > 0) & ~missing, 180, 60).astype(np.uint8)
    params = TomoInstanceParams(refine=RefineParams(smoothing_vx=0))
    labels, cracks = run_labels(tmp_path, store_case(tmp_path, grey, prob, dist), params, edge=32)
    assert labels.max() == 2
    for number, tolerance in ((1, 0.02), (2, 0.05)):  # an open crack loses a voxel at its mouth
        true = truth == number
        found = labels == np.bincount(labels[true]).argmax()
        assert (true & found).sum() / (true | found).sum() > 0.97
        volume = (missing & true).sum()
        assert abs(int(cracks[found].sum()) - volume) <= tolerance * volume


def test_outlines_follow_the_grey_values(tmp_path):
    """A watershed outline that is two voxels too wide or too narrow is moved to the edge."""
    truth = draw_balls((48, 48, 48), [(24, 24, 24)], [14])
    grey = image(truth, np.ones(truth.shape, bool), np.random.default_rng(1))
    for radius in (12.2, 15.8):
        prob, dist = perfect_maps(draw_balls(truth.shape, [(24, 24, 24)], [radius]))
        folder = tmp_path / f"{radius}"
        labels, _ = run_labels(folder, store_case(folder, grey, prob, dist))
        scores = score_labels(truth, labels, voxel_size_um=(1, 1, 1))
        assert scores.mean_iou > 0.96


def test_labels_move_with_the_volume(noisy_case, tmp_path):
    _, case = noisy_case
    volume, probability = case
    pad = ((5, 3), (7, 2), (1, 6))
    moved = store_case(
        tmp_path / "moved",
        np.pad(volume.array[:], pad, constant_values=60),
        np.pad(probability.array[:], pad),
        np.pad(probability.extras["distance"][:], pad),
    )
    first, _ = run_labels(tmp_path / "a", case, FLOODED)
    second, _ = run_labels(tmp_path / "b", moved, FLOODED)
    np.testing.assert_array_equal(second[5:-3, 7:-2, 1:-6], first)


def test_small_particles_are_dropped_by_volume(tmp_path):
    truth = draw_balls((40, 40, 64), [(20, 20, 16), (20, 20, 48)], [5, 10])
    maps = perfect_maps(truth, 0.5)
    grey = np.where(truth > 0, 180, 60).astype(np.uint8)
    case = store_case(tmp_path, grey, *maps, voxel_um=(0.5, 0.5, 0.5))
    small_um3 = int((truth == 1).sum()) * 0.125
    for limit, expected in ((small_um3 * 0.8, 2), (small_um3 * 1.2, 1)):
        params = TomoInstanceParams(min_volume_um3=limit)
        labels, _ = run_labels(tmp_path / f"{limit}", case, params)
        assert labels.max() == expected
        assert labels[20, 20, 48] == expected


def test_nothing_outside_the_field_of_view(tmp_path):
    truth = draw_balls((40, 40, 40), [(20, 20, 20)], [12])
    view = np.ones(truth.shape, np.uint8)
    view[:, :, 27:] = 0
    prob, dist = perfect_maps(np.where(view > 0, truth, 0))
    grey = np.where(truth > 0, 180, 60).astype(np.uint8)
    case = store_case(tmp_path, grey, prob, dist, view=view)
    labels, _ = run_labels(tmp_path, case)
    assert labels.max() == 1
    assert not labels[:, :, 27:].any()


@pytest.mark.parametrize("fusion", ["watershed", "paper"])
def test_a_volume_without_particles_gives_empty_labels(tmp_path, caplog, fusion):
    zeros = np.zeros((20, 40, 36), np.uint8)
    case = store_case(tmp_path, zeros + 7, zeros, zeros)
    with caplog.at_level(logging.WARNING):
        labels, cracks = run_labels(tmp_path, case, TomoInstanceParams(fusion=fusion), edge=16)
    assert not labels.any()
    assert not cracks.any()
    assert "no particle found" in caplog.text


def test_a_constant_foreground_is_one_particle(tmp_path):
    ones = np.full((20, 20, 20), 255, np.uint8)
    labels, cracks = run_labels(tmp_path, store_case(tmp_path, ones, ones, ones), edge=16)
    assert (labels == 1).all()
    assert not cracks.any()


def test_oversized_particles_keep_their_outline(packed, tmp_path, caplog):
    _, case = packed
    params = TomoInstanceParams(
        fusion="paper", threshold=0.02, refine=RefineParams(max_cutout_vx=20_000)
    )
    with caplog.at_level(logging.WARNING):
        labels, cracks = run_labels(tmp_path, case, params)
    assert "keep their outlines" in caplog.text
    assert labels.max() == 1
    assert not cracks.any()


def test_the_fingerprint_tells_settings_and_inputs_apart(noisy_case):
    _, (volume, probability) = noisy_case
    compute = TomoComputeParams()
    first = plan_labels(volume, probability, TomoInstanceParams(), compute).fingerprint
    more = TomoComputeParams(workers=5, block_edge_vx=32)
    assert plan_labels(volume, probability, TomoInstanceParams(), more).fingerprint == first
    assert plan_labels(volume, probability, FLOODED, compute).fingerprint != first
    other = replace(volume, attributes={"fingerprint": "other"})
    of_other = {**probability.attributes, "made_from": {"tomogram": "other"}}
    maps = replace(probability, attributes=of_other)
    assert plan_labels(other, maps, TomoInstanceParams(), compute).fingerprint != first
    with pytest.raises(StoreError, match="another tomogram"):
        plan_labels(other, probability, TomoInstanceParams(), compute)


def test_maps_of_another_volume_are_refused(noisy_case, tmp_path):
    _, (volume, probability) = noisy_case
    other = store_volume(tmp_path / "other", np.zeros((8, 8, 8), np.uint8))
    with pytest.raises(StoreError, match="8, 8, 8"):
        plan_labels(volume, other, TomoInstanceParams(), TomoComputeParams())
    made_from = {"made_from": {"tomogram": volume.fingerprint}}
    bare = store_volume(tmp_path / "bare", np.asarray(probability.array[:]), attributes=made_from)
    with pytest.raises(StoreError, match="distance"):
        plan_labels(volume, bare, TomoInstanceParams(), TomoComputeParams())
    plan_labels(volume, bare, TomoInstanceParams(fusion="paper"), TomoComputeParams())
