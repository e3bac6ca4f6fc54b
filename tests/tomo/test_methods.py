"""Baselines on volumes where they work, and the scores of every method."""

import numpy as np
import pytest
from instance_cases import draw_balls, store_volume

from ncm_kedro.contracts.tomo import SegmentationScores
from ncm_kedro.errors import StoreError
from ncm_kedro.params.tomo_segment import TomoComputeParams, TomoInstanceParams, TomoScoringParams
from ncm_kedro.tomo.scoring.methods import (
    label_otsu_watershed,
    link_slices,
    name_method,
    plan_baseline_methods,
    score_samples,
    split_name,
)
from ncm_kedro.tomo.scoring.score import score_labels
from ncm_kedro.tomo.volumes.volume import VolumeTarget

UM = (0.5, 0.5, 0.5)


def make_balls():
    labels = draw_balls((40, 44, 80), [(20, 22, 18), (20, 22, 42), (20, 22, 65)], [12, 12, 10])
    grey = np.where(labels > 0, 180.0, 60.0)
    return labels, grey + np.random.default_rng(0).normal(0, 10, labels.shape)


def test_otsu_and_distance_watershed_part_balls():
    labels, grey = make_balls()
    grey[18:22, 20:24, 16:20] = 60.0
    found = label_otsu_watershed(grey, voxel_size_um=UM, min_distance_um=3.0)
    assert score_labels(labels, found, voxel_size_um=UM).ap_70 == 1.0
    assert found[20, 22, 18] > 0


def test_a_constant_volume_holds_nothing():
    assert not label_otsu_watershed(np.full((8, 8, 8), 5), voxel_size_um=UM).any()


def test_baselines_read_inverted_grey_values_as_the_detector_did(tmp_path):
    labels, grey = make_balls()
    dark = np.clip(240 - grey, 0, 255).astype(np.uint8)
    volume = store_volume(tmp_path / "grey", dark, voxel_um=UM)
    probability = store_volume(
        tmp_path / "probability",
        dark,
        attributes={"contrast": "dark", "grey_limits": [0.0, 255.0], "distance_step_um": 0.1},
        extras={"distance": dark},
    )
    plans = plan_baseline_methods(
        volume, probability, None, instances=TomoInstanceParams(),
        scoring=TomoScoringParams(paper_fusion=False, slice_linking=False),
        compute=TomoComputeParams(workers=1),
    )  # fmt: skip
    target = VolumeTarget(np.zeros(dark.shape, np.uint32), {}, tmp_path)
    plans[0].write(target)
    assert score_labels(labels, target.array, voxel_size_um=UM).ap_70 == 1.0


def test_sections_are_linked_to_balls():
    labels, grey = make_balls()
    calls = iter(labels)

    def segment(section_yx):
        section = next(calls).astype(np.int32)
        return np.where(section > 0, 4 - section, 0)  # names differ from section to section

    found = link_slices(grey, segment, voxel_size_um=UM)
    scores = score_labels(labels, found, voxel_size_um=UM)
    assert (scores.n_predicted, scores.ap_90) == (3, 1.0)


def test_a_gap_starts_a_new_particle():
    labels = np.zeros((9, 10, 10), np.uint32)
    labels[:, 2:8, 2:8] = 1
    labels[4] = 0
    calls = iter(labels)
    found = link_slices(labels, lambda _: next(calls), voxel_size_um=UM, min_volume_um3=0)
    assert [int(section.max()) for section in found] == [1, 1, 1, 1, 0, 2, 2, 2, 2]


SHAPE = (12, 24, 24)


def draw_truth():
    truth = np.zeros(SHAPE, np.int32)
    truth[2:10, 2:10, 2:10] = 1
    truth[2:10, 12:20, 12:20] = 2
    truth[0, 23, 23] = 3  # too small to count
    return truth


def test_methods_get_the_scores_that_they_deserve(tmp_path):
    truth = draw_truth()
    perfect = np.where(truth == 3, 0, truth)
    joined = np.where(perfect > 0, 7, 0)
    labels = {name: store_volume(tmp_path / name, perfect) for name in ("a", "b_c", "unknown")}
    others = {
        name_method("b_c", "paper"): store_volume(tmp_path / name_method("b_c", "paper"), joined)
    }
    scores = score_samples(
        ["a", "b_c", "unknown"],
        labels,
        others,
        {"a": truth, "b_c": truth},
        TomoScoringParams(min_volume_um3=2),
    )
    SegmentationScores.validate(scores)
    assert scores[["sample", "method"]].to_numpy().tolist() == [
        ["a", "default"], ["b_c", "default"], ["b_c", "paper"],
    ]  # fmt: skip
    assert scores["ap_90"].tolist() == [1.0, 1.0, 0.0]
    assert scores["merges"].tolist() == [0, 0, 1]
    assert scores["n_true"].tolist() == [2, 2, 2]


def test_without_a_truth_there_are_no_rows(tmp_path):
    labels = {"a": store_volume(tmp_path / "a", draw_truth())}
    scores = score_samples(["a"], labels, {}, {}, TomoScoringParams())
    SegmentationScores.validate(scores)
    assert scores.empty


def test_a_truth_of_another_shape_is_refused(tmp_path):
    labels = {"a": store_volume(tmp_path / "a", draw_truth())}
    with pytest.raises(StoreError, match="known labels of a"):
        score_samples(["a"], labels, {}, {"a": draw_truth()[:-1]}, TomoScoringParams())


def test_names_of_methods_can_be_split():
    for sample in ("cyc10", "a__b", "x_"):
        assert split_name(name_method(sample, "slice_linking")) == (sample, "slice_linking")
