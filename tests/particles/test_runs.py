"""Connected parts and enclosed voids against scipy's."""

import numpy as np
import pytest
from scipy import ndimage

from ncm_kedro.particles.kernels.filling import connect_runs, count_connected_components, fill_voids

CORNERS = np.ones((3, 3, 3), int)
SHAPES = [(7, 8, 9), (1, 20, 30), (30, 1, 1), (12, 14, 40), (1, 1, 1)]
ALL_OPEN = np.ones((3, 2), dtype=np.bool_)


def draw(shape, share, seed=0):
    return (np.random.default_rng(seed).random(shape) < share).astype(np.uint8)


@pytest.mark.parametrize("share", [0.0, 0.08, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("wanted", [0, 1])
def test_parts_are_scipys(share, corners, wanted):
    for seed, shape in enumerate(SHAPES):
        marked = draw(shape, share, seed)
        runs, root = connect_runs(marked, wanted, corners)
        parts = np.zeros(shape, int)
        for (z, y, start, stop), part in zip(runs, root, strict=True):
            assert (parts[z, y, start:stop] == 0).all()
            parts[z, y, start:stop] = part + 1
        expected, number = ndimage.label(marked == wanted, CORNERS if corners else None)
        assert ((parts > 0) == (marked == wanted)).all()
        pairs = np.unique(np.stack([parts.ravel(), expected.ravel()]), axis=1)
        assert pairs.shape[1] == number + (parts == 0).any()
        assert len(np.unique(pairs[0])) == pairs.shape[1]


def test_many_runs_outgrow_the_first_table():
    marked = np.indices((20, 20, 20)).sum(axis=0).astype(np.uint8) % 2  # 4000 runs of one voxel
    runs, root = connect_runs(marked, 1, False)
    assert len(runs) == 4000
    assert len(np.unique(root)) == 4000
    assert count_connected_components(marked) == 1


def test_pieces_touch_over_corners():
    marked = np.zeros((4, 4, 4), np.uint8)
    marked[0, 0, 0] = marked[1, 1, 1] = 1
    assert count_connected_components(marked) == 1
    marked[3, 3, 3] = 1
    assert count_connected_components(marked) == 2
    assert count_connected_components(np.zeros((2, 2, 2), np.uint8)) == 0


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
def test_voids_are_scipys(share):
    found = 0
    for seed, shape in enumerate([*SHAPES, (20, 20, 20)]):
        marked = draw(shape, share, seed)
        filled = marked.copy()
        fill_voids(filled, np.zeros_like(marked), ALL_OPEN)
        np.testing.assert_array_equal(filled, ndimage.binary_fill_holes(marked))
        found += int((filled > marked).sum())
    assert found > 0


def test_blocked_voxels_stay_and_let_the_outside_in():
    shell = np.ones((7, 7, 7), np.uint8)
    shell[2:5, 2:5, 2:5] = 0
    blocked = np.zeros_like(shell)
    blocked[3, 3, 3] = 1
    filled = shell.copy()
    fill_voids(filled, blocked, ALL_OPEN)
    assert filled[3, 3, 3] == 0
    assert filled.sum() == 7**3 - 1
    tunnel = shell.copy()
    tunnel[3, 3, 5:] = 0
    blocked[3, 3, 5:] = 1  # another particle stands in the wall: the void is not enclosed
    filled = tunnel.copy()
    fill_voids(filled, blocked, ALL_OPEN)
    np.testing.assert_array_equal(filled, tunnel)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("side", [0, 1])
def test_a_void_at_a_closed_side_is_enclosed(axis, side):
    marked = np.ones((5, 6, 7), np.uint8)
    place = [2, 2, 2]
    place[axis] = (marked.shape[axis] - 1) * side
    marked[tuple(place)] = 0
    blocked = np.zeros_like(marked)
    closed = ALL_OPEN.copy()
    closed[axis, side] = False
    for is_open, whole in [(closed, True), (ALL_OPEN, False), (~closed, False)]:
        filled = marked.copy()
        fill_voids(filled, blocked, is_open)
        assert bool(filled.all()) == whole
