"""Damage by shell in balls of known fractions."""

from __future__ import annotations

from itertools import pairwise

import edt
import numpy as np
import pytest

from ncm_kedro.particles.cutouts import count_shells

RADIUS = 40
BINS = 8


@pytest.fixture(scope="module")
def ball():
    axis = np.arange(-RADIUS - 2, RADIUS + 3)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    filled = z**2 + y**2 + x**2 <= RADIUS**2
    return (z, y, x), filled, edt.edt(filled, parallel=1)


def share_of_shell(low, high):
    """Share of a ball between two normalised depths."""
    return (1 - low) ** 3 - (1 - high) ** 3


def test_shells_of_a_ball(ball):
    _, filled, depth = ball
    voxels, cracks = count_shells(depth, filled, np.zeros_like(filled), BINS)
    edges = np.linspace(0, 1, BINS + 1)
    expected = [share_of_shell(a, b) for a, b in pairwise(edges)]
    assert voxels.sum() == filled.sum()
    assert not cracks.any()
    np.testing.assert_allclose(voxels / filled.sum(), expected, rtol=0.2, atol=0.012)


def test_central_void_is_in_the_core(ball):
    (z, y, x), filled, depth = ball
    void = z**2 + y**2 + x**2 < (0.22 * RADIUS) ** 2
    voxels, cracks = count_shells(depth, filled, void, BINS)
    assert cracks.sum() == void.sum()
    assert not cracks[:-2].any()
    assert cracks[-1] == voxels[-1]
    assert cracks[-2] < voxels[-2]


def test_radial_slab(ball):
    """Inside a sheet of width w through the centre lies the fraction w / 2r of a shell at r."""
    (z, _, _), filled, depth = ball
    sheet = filled & (np.abs(z) <= 3)
    voxels, cracks = count_shells(depth, filled, sheet, BINS)
    radius = RADIUS * (1 - (np.arange(BINS) + 0.5) / BINS)
    wide = radius > 7
    np.testing.assert_allclose((cracks / voxels)[wide], 7 / (2 * radius[wide]), rtol=0.1)


def test_cracks_outside_do_not_count(ball):
    _, filled, depth = ball
    voxels, cracks = count_shells(depth, filled, np.ones_like(filled), BINS)
    np.testing.assert_array_equal(cracks, voxels)


def test_scale_of_depth_does_not_matter(ball):
    (z, _, _), filled, depth = ball
    one = count_shells(depth, filled, z > 4, BINS)
    other = count_shells(depth * np.float32(0.125), filled, z > 4, BINS)
    np.testing.assert_array_equal(one, other)


def test_small_and_odd_ones():
    one = np.ones((1, 1, 1), bool)
    for depth in (0.0, 1.0, np.inf):
        voxels, cracks = count_shells(np.full((1, 1, 1), depth, np.float32), one, one, 3)
        np.testing.assert_array_equal(voxels, [0, 0, 1])
        np.testing.assert_array_equal(cracks, [0, 0, 1])
    nothing = count_shells(np.zeros((2, 2, 2), np.float32), ~np.ones((2, 2, 2), bool), one, 3)
    assert not np.any(nothing)
    assert [len(part) for part in count_shells(np.zeros((1, 1, 1), np.float32), one, one, 0)] == [
        0,
        0,
    ]
