"""Baselines on volumes where they work."""

import numpy as np
from instance_cases import draw_balls

from ncm_kedro.tomo.scoring.baselines import label_otsu_watershed, link_slices
from ncm_kedro.tomo.scoring.score import score_labels

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
