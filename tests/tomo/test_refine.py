"""Thresholds and outlines of single particles."""

import numpy as np
import pytest
from instance_cases import draw_balls

from ncm_kedro.params.tomo_segment import RefineParams
from ncm_kedro.tomo.instances.refine import (
    RefineLengths,
    balance_otsu,
    fill_voids,
    keep_largest,
    refine_particle,
)


def test_the_threshold_does_not_depend_on_how_thin_the_surrounding_is():
    inside, outside = np.zeros(256), np.zeros(256)
    inside[150:171], outside[50:71] = 1000, 1
    assert balance_otsu(inside, outside) == balance_otsu(inside, outside * 900)
    assert balance_otsu(inside, outside) == pytest.approx(110.5, abs=1)


def test_no_threshold_without_contrast_or_surrounding():
    inside, outside = np.zeros(256), np.zeros(256)
    inside[100] = 5
    assert np.isnan(balance_otsu(inside, outside))
    outside[120] = 5
    assert np.isnan(balance_otsu(inside, outside))


def test_enclosed_voids_are_filled_and_open_ones_are_not():
    mask = draw_balls((24, 24, 24), [(12, 12, 12)], [9]) > 0
    hollow = mask & (draw_balls(mask.shape, [(12, 12, 12)], [5]) == 0)
    np.testing.assert_array_equal(fill_voids(hollow), mask)
    drilled = hollow.copy()
    drilled[12, 12, 12:] = False
    np.testing.assert_array_equal(fill_voids(drilled), drilled)


def test_the_largest_part_is_kept():
    parts = draw_balls((20, 20, 40), [(10, 10, 8), (10, 10, 28)], [4, 6])
    np.testing.assert_array_equal(keep_largest(parts > 0), parts == 2)


def test_a_hollow_particle_that_the_volume_cuts_is_filled():
    ball = draw_balls((30, 60, 60), [(0, 30, 30)], [20])
    void = draw_balls(ball.shape, [(0, 30, 30)], [10]) > 0
    params = RefineParams(smoothing_vx=0)
    filled, crack = refine_particle(
        np.where((ball > 0) & ~void, 180, 60).astype(np.float32), ball, 1, 120.0,
        voxel_size_um=(1, 1, 1),
        reach=RefineLengths.of(params, (1, 1, 1)), params=params,
        at_face=((True, False), (False, False), (False, False)),
    )  # fmt: skip
    assert (filled != (ball > 0)).mean() < 0.002
    np.testing.assert_array_equal(crack, void)


def test_a_neighbour_is_never_taken():
    labels = draw_balls((30, 30, 60), [(15, 15, 18), (15, 15, 41)], [11, 12])
    params = RefineParams()
    bright = np.full(labels.shape, 180, np.float32)
    filled, _ = refine_particle(
        bright, labels, 1, 120.0, voxel_size_um=(1, 1, 1),
        reach=RefineLengths.of(params, (1, 1, 1)),
        params=params,
    )  # fmt: skip
    assert not (filled & (labels == 2)).any()
    assert filled.sum() > (labels == 1).sum()
