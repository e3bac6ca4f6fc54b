"""Targets against StarDist's own code and against a disc."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.draw import disk
from stardist.geometry import star_dist
from stardist.utils import edt_prob

from ncm_kedro.tomo.training.crops import compute_targets


def draw_discs(rng, size=96, count=14):
    labels = np.zeros((size, size), np.int32)
    for number in range(1, count + 1):
        labels[disk(rng.uniform(0, size, 2), rng.uniform(4, 20), shape=labels.shape)] = number
    return labels


@pytest.mark.parametrize(("n_rays", "grid"), [(32, 2), (8, 1), (16, 4)])
def test_equals_stardist(n_rays, grid):
    labels = draw_discs(np.random.default_rng(3))
    targets = compute_targets(labels, n_rays, grid)
    expected = star_dist(labels.astype(np.uint16), n_rays, grid=(grid, grid))
    np.testing.assert_allclose(targets.dist_yxk, expected, atol=1e-3)
    np.testing.assert_allclose(targets.prob_yx, edt_prob(labels)[::grid, ::grid], atol=1e-6)


def test_disc_has_equal_rays_at_its_centre():
    labels = np.zeros((101, 101), np.int32)
    labels[disk((50, 50), 30.5)] = 1
    targets = compute_targets(labels, 32, 1)
    np.testing.assert_allclose(targets.dist_yxk[50, 50], 30.5, atol=0.8)
    assert targets.prob_yx[50, 50] == 1
    assert targets.prob_yx[50, 90] == 0
    assert not targets.dist_yxk[labels == 0].any()


def test_rays_end_at_the_image_edge():
    targets = compute_targets(np.ones((20, 30), np.int32), 4, 1)
    right, down, left, up = targets.dist_yxk[10, 10]
    assert (right, down, left, up) == pytest.approx((19.5, 9.5, 10.5, 10.5))
