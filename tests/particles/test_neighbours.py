"""Nearest particles, alignment and packing where they are known."""

import numpy as np
import pytest

from ncm_kedro.particles.axes import (
    find_nearest,
    measure_alignment,
    measure_packing,
    spread_over,
)
from ncm_kedro.particles.measure import Cells

EDGE = 4


def everyone(centre_um):
    return np.ones(len(centre_um), dtype=bool)


def test_the_nearest_are_those_of_all_distances():
    rng = np.random.default_rng(0)
    centre, usable = rng.normal(size=(60, 3)), rng.random(60) < 0.5
    index, distance = find_nearest(centre, usable, 6)
    far = np.linalg.norm(centre[:, None] - centre, axis=2) + np.where(usable, 0, 1e9)
    np.fill_diagonal(far, 1e9)
    np.testing.assert_array_equal(index, np.argsort(far, axis=1)[:, :6])
    np.testing.assert_allclose(distance, np.sort(far, axis=1)[:, :6])


def test_fewer_others_than_wanted_are_none():
    centre = np.random.default_rng(1).normal(size=(7, 3))
    index, distance = find_nearest(centre, everyone(centre), 6)
    assert (index >= 0).all()
    usable = everyone(centre)
    usable[3] = False  # six are left: enough for the seventh, not for themselves
    index, distance = find_nearest(centre, usable, 6)
    assert (index[3] >= 0).all()
    assert np.isfinite(distance[3]).all()
    others = np.arange(7) != 3
    assert (index[others] == -1).all()
    assert np.isnan(distance[others]).all()
    assert np.isnan(spread_over(np.arange(7.0), index)[others]).all()
    assert np.isnan(measure_alignment(np.eye(3)[np.arange(7) % 3], index)[others]).all()
    for number in (0, 1, 6):
        index, distance = find_nearest(centre[:number], everyone(centre[:number]), 6)
        assert index.shape == distance.shape == (number, 6)
        assert np.isnan(distance).all()


def test_particles_with_one_centre_are_neighbours_of_each_other():
    centre = np.array([[1.0, 1, 1], [1, 1, 1], [4, 1, 1], [9, 1, 1]])
    index, distance = find_nearest(centre, everyone(centre), 2)
    np.testing.assert_array_equal(index[:2], [[1, 2], [0, 2]])
    np.testing.assert_allclose(distance[:2], [[0, 3], [0, 3]])


def test_spread_is_over_the_neighbours_with_one_degree_of_freedom_less():
    values = np.array([3.0, 1.0, 4.0, 1.0, 5.0])
    index = np.array([[1, 2, 4], [0, 0, 0], [-1, -1, -1]])
    np.testing.assert_allclose(
        spread_over(values, index), [np.std([1, 4, 5], ddof=1), 0, np.nan], atol=1e-12
    )


def test_alignment_of_parallel_axes_is_1_whatever_their_sign():
    axis = np.tile([0.6, 0.0, 0.8], (7, 1)) * np.array([1, -1, 1, 1, -1, -1, 1])[:, None]
    index = np.array([[1, 2, 3, 4, 5, 6]])
    np.testing.assert_allclose(measure_alignment(axis, index), 1)


def test_alignment_of_axes_in_a_plane_and_along_three_directions():
    index = np.arange(6)[None]
    angle = np.arange(6) * np.pi / 6
    plane = np.stack([np.cos(angle), np.sin(angle), np.zeros(6)], axis=1)
    np.testing.assert_allclose(measure_alignment(plane, index), 0.25)
    np.testing.assert_allclose(measure_alignment(np.eye(3)[np.arange(6) % 3], index), 0, atol=1e-12)


def count_cells(marked):
    total = np.zeros([-(-n // EDGE) for n in marked.shape], np.uint8)
    np.add.at(total, tuple(np.argwhere(marked).T // EDGE), 1)
    return total


def pack(labelled, centre_um, window_um, *, view=None, voxel_um=(1.0, 1.0, 1.0), clipped=True):
    seen = np.ones(labelled.shape, bool) if view is None else view
    cells = Cells((EDGE,) * 3, count_cells(seen), count_cells(labelled & seen))
    grid = labelled.shape, voxel_um
    centre = np.atleast_2d(np.asarray(centre_um, dtype=float))
    return measure_packing(centre, window_um, cells, grid, clipped=clipped)


def weigh_window(shape, centre_um, window_um, voxel_um):
    """Share of each voxel that lies in the window."""
    weight = np.ones(())
    for n, edge, place in zip(shape, voxel_um, centre_um, strict=True):
        low = np.arange(n) * edge
        high = np.minimum(low + edge, place + window_um / 2)
        part = np.clip(high - np.maximum(low, place - window_um / 2), 0, None) / edge
        weight = np.multiply.outer(weight, part)
    return weight


@pytest.mark.parametrize("voxel_um", [(1.0, 1.0, 1.0), (0.5, 1.0, 0.7)])
def test_windows_of_any_size_count_parts_of_voxels(voxel_um):
    """Exact where cells are even: full, empty, or a slope that a cell's face cuts."""
    shape = (18, 23, 30)  # the last cells are smaller
    labelled = np.zeros(shape, bool)
    labelled[4:12, :, 8:] = labelled[16:, 20:] = True
    rng = np.random.default_rng(3)
    centres = rng.uniform(0, np.array(shape) * voxel_um, (20, 3))
    for window_um in (1.7, 6.0, 11.3, 200.0):
        found = pack(labelled, centres, window_um, voxel_um=voxel_um)
        whole = pack(labelled, centres, window_um, voxel_um=voxel_um, clipped=False)
        for row, centre in enumerate(centres):
            weight = weigh_window(shape, centre, window_um, voxel_um)
            exact = (weight * labelled).sum() / weight.sum()
            assert found[row] == pytest.approx(exact, abs=1e-9)
            volume = (weight * labelled).sum() * np.prod(voxel_um)
            assert whole[row] == pytest.approx(volume / window_um**3, abs=1e-9)


def test_what_is_not_seen_counts_neither_way():
    labelled = np.zeros((16, 16, 16), bool)
    labelled[:, :, 8:] = True
    view = np.ones(labelled.shape, bool)
    view[:, :, 12:] = False
    assert pack(labelled, (8, 8, 8), 16.0, view=view)[0] == pytest.approx(4 / 12)
    assert pack(labelled, (8, 8, 14), 3.0, view=view)[0] != 0
    assert np.isnan(pack(labelled, (8, 8, 14), 3.0, view=view)[0])


def test_no_particle_has_no_packing():
    assert pack(np.zeros((8, 8, 8), bool), np.zeros((0, 3)), 4.0).shape == (0,)
