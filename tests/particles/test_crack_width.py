"""Width of cracks against known shapes, a search over all balls, and other cuts of the same."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ncm_kedro.particles.kernels import crack_width
from ncm_kedro.particles.kernels.crack_width import map_crack_width, measure_crack_width

UNIT = (1.0, 1.0, 1.0)


def make_slab(width, normal, edge=34, offset=0.21, voxel=UNIT):
    """A flat crack through a cube; its middle is away from the cube's faces."""
    normal = np.asarray(normal, dtype=float) / np.linalg.norm(normal)
    axes = [(np.arange(edge) - edge / 2) * step for step in voxel]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return np.abs(grid @ normal - offset) < width / 2


def read_middle(slab, voxel=UNIT, margin=11):
    cut = (slice(margin, -margin),) * 3
    return map_crack_width(slab, voxel)[cut][slab[cut]]


def halve(mask, combine):
    for axis in range(3):
        near = combine(np.delete(mask, -1, axis), np.delete(mask, 0, axis))
        finer = np.repeat(mask, 2, axis)[
            tuple(slice(0, -1 if a == axis else None) for a in range(3))
        ]
        odd = tuple(slice(1, None, 2) if a == axis else slice(None) for a in range(3))
        finer[odd] = near
        mask = finer
    return mask


def search_widths(crack, voxel):
    """Largest ball around each voxel, by looking at every centre and every solid point."""
    padded = np.pad(crack, 1)
    half = np.asarray(voxel) / 2
    centres = np.argwhere(halve(padded, np.logical_and))
    solid = np.argwhere(~halve(padded, np.logical_or))
    voxels = np.argwhere(padded)
    width = np.zeros(len(voxels))
    for centre in centres:
        away = (solid - centre) * half
        distance = np.linalg.norm(away, axis=1)
        radius = distance.min()
        nearest = away[distance <= radius * (1 + 1e-5)]
        extent = (np.linalg.norm(nearest * np.asarray(voxel), axis=1) / radius).max()
        inside = np.linalg.norm((2 * voxels - centre) * half, axis=1) < radius * (1 - 1e-5)
        width[inside] = np.maximum(width[inside], 2 * radius - extent)
    found = np.zeros(padded.shape)
    found[tuple(voxels.T)] = width
    return found[1:-1, 1:-1, 1:-1]


def test_nothing_there():
    assert np.isnan(measure_crack_width(np.zeros((5, 6, 7), bool), UNIT)).all()
    assert np.isnan(measure_crack_width(np.zeros((0, 6, 7), bool), UNIT)).all()
    assert measure_crack_width(np.ones((1, 1, 1), bool), UNIT) == (1.0, 1.0)


@pytest.mark.parametrize(("width", "axis"), [(1, 0), (2, 1), (3, 2), (7, 0), (16, 1)])
def test_flat_crack_along_an_axis_is_exact(width, axis):
    crack = np.zeros((44, 44, 44), bool)
    np.moveaxis(crack, axis, 0)[5 : 5 + width] = True
    found = np.moveaxis(map_crack_width(crack, UNIT), axis, 0)[5 : 5 + width, 12:-12, 12:-12]
    np.testing.assert_allclose(found, width, rtol=1e-5)
    assert measure_crack_width(crack, UNIT)[1] == pytest.approx(width)


@pytest.mark.parametrize(("axis", "edge"), [(0, 0.4), (1, 0.2), (2, 0.3)])
def test_flat_crack_of_oblong_voxels(axis, edge):
    crack = np.zeros((40, 40, 40), bool)
    np.moveaxis(crack, axis, 0)[5:9] = True
    found = np.moveaxis(map_crack_width(crack, (0.4, 0.2, 0.3)), axis, 0)[5:9, 14:-14, 14:-14]
    np.testing.assert_allclose(found, 4 * edge, rtol=1e-5)


@pytest.mark.parametrize("voxel", [UNIT, (0.4, 0.2, 0.3)])
@pytest.mark.parametrize("smooth", [0.7, 1.5])
def test_as_a_search_over_all_balls(smooth, voxel):
    noise = gaussian_filter(np.random.default_rng(1).normal(size=(11, 12, 13)), smooth)
    crack = noise > np.quantile(noise, 0.6)
    np.testing.assert_allclose(
        map_crack_width(crack, voxel), search_widths(crack, voxel), atol=1e-5
    )


@pytest.mark.parametrize("width", [2, 8])
def test_oblique_cracks(width):
    rng = np.random.default_rng(3)
    ratios = [
        read_middle(make_slab(width, rng.normal(size=3), offset=rng.uniform(-0.5, 0.5))).mean()
        / width
        for _ in range(12)
    ]
    assert np.mean(ratios) == pytest.approx(1, abs=0.06)
    assert np.ptp(ratios) < 0.25


@pytest.mark.parametrize("normal", [(1, 1, 1), (2, 1, 0)])
def test_oblique_crack_of_oblong_voxels(normal):
    voxel = (1.0, 0.5, 0.5)
    found = read_middle(make_slab(4, normal, edge=36, voxel=voxel), voxel)
    assert found.mean() == pytest.approx(4, rel=0.12)


def test_cylinder_and_ball():
    z, y, x = np.mgrid[-20:21, -20:21, -20:21]
    tube = (y**2 + x**2 < 5.5**2) & (np.abs(z) < 19)
    mean, largest = measure_crack_width(tube, UNIT)
    assert largest == pytest.approx(11, rel=0.08)
    assert mean == pytest.approx(11, rel=0.1)
    ball = z**2 + y**2 + x**2 < 7.5**2
    assert measure_crack_width(ball, UNIT)[1] == pytest.approx(15, rel=0.08)


@pytest.mark.parametrize("radius", [12, 25])
def test_wide_voids(radius):
    z, y, x = np.mgrid[-27:28, -27:28, -27:28]
    mean, largest = measure_crack_width(z**2 + y**2 + x**2 < (radius + 0.5) ** 2, UNIT)
    assert largest == pytest.approx(2 * radius + 1, rel=0.05)
    assert mean == pytest.approx(largest, rel=0.05)


def test_wide_void_leaves_a_thin_wall_and_a_thin_crack():
    crack = np.zeros((40, 60, 60), bool)
    crack[2:38, 2:38, 2:29] = True
    crack[2:38, 2:38, 30:58] = True
    crack[19:21, 38:58, 2:29] = True
    found = map_crack_width(crack, UNIT)
    assert 22 < found.max() < 31
    np.testing.assert_allclose(found[19:21, 44:56, 6:25], 2)
    assert (found[crack] > 0).all()
    assert (found[~crack] == 0).all()


def test_scale_and_orientation():
    noise = gaussian_filter(np.random.default_rng(5).normal(size=(30, 26, 28)), 2)
    crack = np.abs(noise) < 0.03
    found = map_crack_width(crack, UNIT)
    np.testing.assert_allclose(map_crack_width(crack, (0.1, 0.1, 0.1)), found * 0.1, rtol=1e-4)
    turned = map_crack_width(np.ascontiguousarray(crack.transpose(2, 0, 1)[::-1]), UNIT)
    np.testing.assert_allclose(turned, found.transpose(2, 0, 1)[::-1], rtol=1e-5)
    padded = map_crack_width(np.pad(crack, 3), UNIT)[3:-3, 3:-3, 3:-3]
    np.testing.assert_allclose(padded, found, rtol=1e-5)


def test_slabs_change_nothing(monkeypatch):
    noise = gaussian_filter(np.random.default_rng(6).normal(size=(90, 20, 22)), 2)
    crack = np.abs(noise) < 0.05
    whole = map_crack_width(crack, (0.2, 0.1, 0.1))
    monkeypatch.setattr(crack_width, "_SLAB_VX", 1)
    np.testing.assert_array_equal(map_crack_width(crack, (0.2, 0.1, 0.1)), whole)
