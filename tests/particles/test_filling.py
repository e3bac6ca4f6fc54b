"""The closing against scipy's, with a ball as the structuring element."""

import numpy as np
import pytest
from scipy import ndimage

from ncm_kedro.particles.kernels.filling import close_particle

CUBIC, UNEQUAL = (0.1, 0.1, 0.1), (0.2, 0.1, 0.07)


def close(solid, radius_um, voxel_um=CUBIC, label=None, blocked=None):
    label = solid if label is None else label
    blocked = np.zeros_like(solid) if blocked is None else blocked
    return close_particle(solid, label, blocked, np.array(voxel_um, np.float32), radius_um)


def make_ball(radius_um, voxel_um):
    reach = [int(radius_um / edge + 1e-6) for edge in voxel_um]
    steps = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), axis=-1)
    return np.linalg.norm(steps * np.asarray(voxel_um), axis=-1) <= radius_um * (1 + 1e-6)


def close_with_scipy(solid, radius_um, voxel_um, beyond):
    ball = make_ball(radius_um, voxel_um)
    spread = ndimage.binary_dilation(solid, ball)
    return ndimage.binary_erosion(spread, ball, border_value=beyond)


def draw_blobs(shape=(24, 26, 28), seed=0, share=0.4):
    rough = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return (rough > np.quantile(rough, 1 - share)).astype(np.uint8)


@pytest.mark.parametrize("voxel_um", [CUBIC, UNEQUAL])
@pytest.mark.parametrize("radius_um", [0.05, 0.1, 0.15, 0.3, 0.5])
def test_closing_is_scipys(voxel_um, radius_um):
    reach = [int(radius_um / edge) + 2 for edge in voxel_um]  # beyond it is outside
    for seed in (0, 1):
        solid = np.pad(draw_blobs(seed=seed, share=0.15), [(n, n) for n in reach])
        found = close(solid, radius_um, voxel_um)
        expected = close_with_scipy(solid, radius_um, voxel_um, beyond=0)
        np.testing.assert_array_equal(found, expected)
    assert (found.sum() > solid.sum()) == (radius_um >= min(voxel_um))


@pytest.mark.parametrize("voxel_um", [CUBIC, UNEQUAL])
def test_what_lies_beyond_the_array_counts_as_filled(voxel_um):
    solid = draw_blobs(seed=2)
    found = close(solid, 0.3, voxel_um)
    np.testing.assert_array_equal(found, close_with_scipy(solid, 0.3, voxel_um, beyond=1))
    assert (found != close_with_scipy(solid, 0.3, voxel_um, beyond=0)).any()


def test_no_radius_closes_nothing():
    solid = draw_blobs(seed=3)
    np.testing.assert_array_equal(close(solid, 0.0), solid)


def test_marked_cracks_belong_to_the_particle_but_do_not_widen_it():
    """The label stays complete; the closing goes by the solid."""
    label = np.zeros((20, 40, 40), np.uint8)
    label[5:15, 10:30, 10:30] = 1
    solid = label.copy()
    solid[:, 15:] = 0
    found = close(solid, 0.3, label=label)
    np.testing.assert_array_equal(found, label)


def test_blocked_voxels_stay_out():
    solid = np.pad(draw_blobs(seed=4), 6)
    blocked = draw_blobs(solid.shape, seed=5) * (1 - solid)
    free = close(solid, 0.4)
    found = close(solid, 0.4, blocked=blocked)
    assert (free * blocked).sum() > 0
    np.testing.assert_array_equal(found, free * (1 - blocked))


@pytest.mark.parametrize(("width", "is_filled"), [(5, True), (6, True), (7, False)])
def test_cracks_up_to_twice_the_radius_are_filled(width, is_filled):
    """Six voxels are twice the radius of three: no ball from outside reaches between."""
    solid = np.zeros((30, 50, 50), np.uint8)
    solid[8:22, 8:42, 8:42] = 1
    solid[:, 20 : 20 + width, :] = 0
    middle = close(solid, 0.3)[15, 20 : 20 + width, 25]
    assert middle.all() == is_filled
    assert middle.any() == is_filled


def test_inputs_are_left_alone():
    solid, label = draw_blobs(seed=6, share=0.2), draw_blobs(seed=6)
    blocked = np.zeros_like(solid)
    before = solid.copy(), label.copy()
    close(solid, 0.3, label=label, blocked=blocked)
    np.testing.assert_array_equal(solid, before[0])
    np.testing.assert_array_equal(label, before[1])
    assert not blocked.any()
