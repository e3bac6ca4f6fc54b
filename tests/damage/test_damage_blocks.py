"""Blocks of equal count that keep neighbours together, held out and resampled as units."""

import numpy as np
import pytest

from ncm_kedro.damage.grouping import MIN_BLOCK, assign_blocks, assign_folds, draw_blocks
from ncm_kedro.errors import TableError


def scatter(count, seed=0, sides=(100.0, 60.0)):
    return np.random.default_rng(seed).uniform(0, sides, (count, 2))


@pytest.mark.parametrize(("count", "blocks"), [(2000, 16), (999, 7), (203, 12), (64, 16), (50, 3)])
def test_counts_are_equal_within_a_few(count, blocks):
    numbers = assign_blocks(scatter(count), blocks)
    counts = np.bincount(numbers)
    assert len(counts) == blocks
    assert np.ptp(counts) <= 3
    assert counts.min() >= MIN_BLOCK


def test_grid_is_cut_into_its_squares():
    places = np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0)), axis=-1).reshape(-1, 2)
    numbers = assign_blocks(places, 16)
    squares = (places // 2 * [4, 1]).sum(axis=1)
    assert len({*zip(numbers.tolist(), squares.tolist(), strict=True)}) == 16


def test_blocks_do_not_overlap():
    places = scatter(600)
    numbers = assign_blocks(places, 13)
    low = np.array([places[numbers == b].min(axis=0) for b in range(13)])
    high = np.array([places[numbers == b].max(axis=0) for b in range(13)])
    for block in range(13):
        others = np.arange(13) != block
        apart = (low[others] > high[block]) | (high[others] < low[block])
        assert apart.any(axis=1).all()


def test_order_of_rows_does_not_matter():
    places = np.round(scatter(300), 0)
    places = np.unique(places, axis=0)
    order = np.random.default_rng(1).permutation(len(places))
    np.testing.assert_array_equal(assign_blocks(places[order], 9), assign_blocks(places, 9)[order])


def test_few_particles_make_fewer_blocks_but_two():
    assert assign_blocks(scatter(23), 16).max() + 1 == 5
    assert assign_blocks(scatter(3), 16).max() + 1 == 2
    with pytest.raises(TableError, match="1 to cut"):
        assign_blocks(scatter(1), 16)


def test_folds_hold_whole_blocks_and_are_balanced():
    blocks = assign_blocks(scatter(2000), 16)
    dealt = [assign_folds(blocks, 5, np.random.default_rng(seed)) for seed in range(40)]
    for folds in dealt:
        assert set(folds) == set(range(5))
        assert all(len(set(folds[blocks == b])) == 1 for b in range(16))
        assert np.bincount(folds).max() <= 4 * 126
    assert len({tuple(folds) for folds in dealt}) == 40
    together = np.mean([folds[blocks == 0][0] == folds[blocks == 1][0] for folds in dealt])
    assert 0.0 < together < 0.5


def test_fewer_blocks_make_fewer_folds():
    assert assign_folds(np.repeat([3, 8, 9], 5), 5, np.random.default_rng(0)).max() == 2
    with pytest.raises(TableError, match="1 block"):
        assign_folds(np.zeros(9, dtype=np.int64), 5, np.random.default_rng(0))


def test_bag_holds_whole_blocks_as_often_as_drawn():
    blocks = np.repeat(np.arange(20, 30), np.arange(4, 14))
    rng = np.random.default_rng(0)
    times = np.zeros((3000, 10))
    for draw in times:
        rows = draw_blocks(blocks, rng)
        found = np.bincount(rows, minlength=len(blocks))
        assert all(len(set(found[blocks == b])) == 1 for b in range(20, 30))
        draw[:] = [found[blocks == b][0] for b in range(20, 30)]
    assert (times.sum(axis=1) == 10).all()
    # the bootstrap leaves a block out with probability (1 - 1/10)^10
    assert (times == 0).mean() == pytest.approx(0.9**10, abs=0.02)


def test_bag_can_be_cut_again():
    rng = np.random.default_rng(0)
    blocks = np.repeat([4, 7, 9], 6)
    assert min(len(set(blocks[draw_blocks(blocks, rng)])) for _ in range(200)) == 2
    with pytest.raises(TableError, match="1 block"):
        draw_blocks(blocks[:6], rng)
