"""Principal axes of known covariances, and angles of known turns."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ncm_kedro.particles.axes import find_angles, find_axes

VOXEL = (0.3, 0.1, 0.2)


def sum_places(places):
    z, y, x = np.asarray(places, dtype=object).T  # whole numbers of any size
    products = [z, y, x, z * z, y * y, x * x, z * y, z * x, y * x]
    return np.array([[len(z), *(sum(p.tolist()) for p in products)]], dtype=np.int64)


def turn_axes(turn):
    """``direction`` of a body whose long, middle and short axis were x, y and z."""
    return turn.as_matrix().swapaxes(-1, -2).reshape(-1, 3, 3)


def test_covariance_and_centre_are_numpys():
    places = np.random.default_rng(0).integers(0, (9, 30, 14), (400, 3))
    axes = find_axes(sum_places(places), VOXEL)
    expected = np.cov((places * VOXEL).T, bias=True)
    np.testing.assert_allclose(axes.spread_um2[0], np.linalg.eigvalsh(expected)[::-1])
    np.testing.assert_allclose(axes.centre_um[0], (places.mean(axis=0) + 0.5) * VOXEL)
    zyx = axes.direction[0][:, ::-1]
    np.testing.assert_allclose(zyx.T @ np.diag(axes.spread_um2[0]) @ zyx, expected, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(axes.direction[0]), 1)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 6, 1), (5, 1, 8)])
def test_flat_particles_have_no_elongation(shape):
    axes = find_axes(sum_places(np.argwhere(np.ones(shape)) + 300), VOXEL)
    assert np.isnan(axes.elongation).all()


def test_large_particles_far_from_the_origin_lose_no_digit():
    """A cube of 1e9 voxels whose coordinates end at 20000."""
    n, first = 1000, 19_000
    line = np.arange(first, first + n)
    s1, s2 = int(line.sum()), int((line**2).sum())
    sums = [n**3, *[s1 * n * n] * 3, *[s2 * n * n] * 3, *[s1 * s1 * n] * 3]
    assert max(sums) < 2**63
    axes = find_axes(np.array([sums], dtype=np.int64), (1.0, 1.0, 1.0))
    np.testing.assert_allclose(axes.spread_um2, (n**2 - 1) / 12, rtol=1e-12)
    np.testing.assert_allclose(axes.centre_um, first + n / 2, rtol=1e-15)


def test_a_small_particle_far_from_the_origin_has_its_exact_covariance():
    near = np.argwhere(np.ones((2, 3, 4)))
    axes = [find_axes(sum_places(near + shift), VOXEL) for shift in (0, 1_000_000)]
    np.testing.assert_array_equal(axes[0].spread_um2, axes[1].spread_um2)


def test_no_particle_is_no_row():
    axes = find_axes(np.zeros((0, 10), np.int64), VOXEL)
    assert axes.direction.shape == (0, 3, 3)
    assert axes.elongation.shape == (0,)
    assert all(angle.shape == (0,) for angle in find_angles(axes.direction))


def test_axes_are_distinct_from_a_ratio_of_lengths_on():
    axes = find_axes(sum_places(np.argwhere(np.ones((10, 11, 12)))), (1.0, 1.0, 1.0))
    for pair, (a, b) in {(0, 1): (12, 11), (1, 2): (11, 10), (0, 2): (12, 10)}.items():
        ratio = np.sqrt((a**2 - 1) / (b**2 - 1))
        assert axes.distinct(*pair, ratio * 0.9999)[0]
        assert not axes.distinct(*pair, ratio * 1.0001)[0]


def test_axes_of_no_length_are_not_distinct():
    voxel = find_axes(sum_places([(3, 4, 5)]), VOXEL)
    line = find_axes(sum_places([(3, 4, x) for x in range(9)]), VOXEL)
    assert line.distinct(0, 1, 1.05)[0]
    assert not line.distinct(1, 2, 1.05)[0]
    assert not voxel.distinct(0, 1, 1.05)[0]


def test_angles_are_those_of_scipy_and_give_the_axes_back():
    turns = Rotation.random(300, rng=np.random.default_rng(1))
    turned = turn_axes(turns)
    turned *= np.sign(turned[:, :1, :1])  # the long axis to positive x, still right-handed below
    turned[:, 2] = np.cross(turned[:, 0], turned[:, 1])
    found = np.stack(find_angles(turned), axis=1)
    expected = Rotation.from_matrix(turned.swapaxes(1, 2)).as_euler("ZYX", degrees=True)
    np.testing.assert_allclose(found[:, :2], expected[:, :2], atol=1e-8)
    apart = (found[:, 2] - expected[:, 2]) % 180
    np.testing.assert_allclose(np.minimum(apart, 180 - apart), 0, atol=1e-8)
    assert (found > -90 - 1e-9).all()
    assert (found <= 90).all()
    back = Rotation.from_euler("ZYX", found, degrees=True).as_matrix().swapaxes(1, 2)
    np.testing.assert_allclose(np.abs((back * turned).sum(axis=2)), 1, atol=1e-12)


def test_half_turns_about_its_axes_change_no_angle_of_a_body():
    shape = np.argwhere(np.ones((3, 5, 9)))
    turn = Rotation.from_euler("ZYX", [40, 25, -30], degrees=True)
    # whole coordinates, so that nothing is rounded
    places = [(shape - shape.mean(axis=0))[:, ::-1]]
    places += [places[0] * sign for sign in ([1, -1, -1], [-1, 1, -1], [-1, -1, 1])]
    angles = []
    for body in places:
        moved = np.rint(turn.apply(body) * 1000).astype(np.int64)[:, ::-1]
        angles.append(
            np.concatenate(find_angles(find_axes(sum_places(moved), (1, 1, 1)).direction))
        )
    np.testing.assert_allclose(angles[0], [40, 25, -30], atol=0.05)
    for other in angles[1:]:
        np.testing.assert_allclose(other, angles[0], atol=1e-6)


def test_the_long_axis_points_to_positive_x_then_y_then_z():
    for step in [(1, 2, 3), (1, 2, -3), (-2, 1, 0), (1, -1, 0), (1, 0, 0), (-3, 0, 1)]:
        places = np.outer(np.arange(-20, 21), step)  # z, y, x
        long = find_axes(sum_places(places), (1.0, 1.0, 1.0)).direction[0, 0]
        first = long[np.flatnonzero(np.abs(long) > 1e-9)[0]]
        assert first > 0, step
        np.testing.assert_allclose(abs(long @ np.array(step)[::-1]), np.linalg.norm(step))


@pytest.mark.parametrize("yaw", [-60.0, 0.0, 20.0, 90.0])
@pytest.mark.parametrize("pitch", [-90.0, 90.0])
def test_an_upright_long_axis_leaves_one_turn_which_yaw_takes(yaw, pitch):
    turn = Rotation.from_euler("ZYX", [yaw, pitch, 0], degrees=True)
    found = np.concatenate(find_angles(turn_axes(turn)))
    assert found[1] == pytest.approx(pitch, abs=1e-6)
    assert found[2] == 0
    assert (found[0] - yaw + 90) % 180 - 90 == pytest.approx(0, abs=1e-6)
