"""Pieces of a sample that are held out, or drawn again, as a whole.

Neighbours resemble each other: a particle whose neighbour was learnt from is no new particle.
Blocks of space keep neighbours on one side (Roberts et al. 2017, Ecography 40, 913).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import TableError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MIN_BLOCK = 4
"""Particles in a block at least, as long as there are two blocks."""


def assign_blocks(positions_nd: FloatArray, blocks: int) -> IntArray:
    """Cut particles into blocks of equal count by cuts across the longer side of each piece.

    This is the k-d tree of Bentley (1975, Communications of the ACM 18, 509), with shares in place
    of medians where the number of blocks is odd.

    Parameters
    ----------
    positions_nd
        (N, D), centres along the axes that are cut (um).
    blocks
        Blocks; fewer where they would hold less than `MIN_BLOCK` particles, at least two.

    Returns
    -------
    ndarray
        (N,), numbers from 0; counts differ by one at most for every cut.

    Raises
    ------
    TableError
        If there are fewer than two particles.
    """
    count = len(positions_nd)
    if count < 2:
        raise TableError(
            "particles",
            found=f"{count} to cut into blocks",
            expected="at least two",
            action="set `min_particles` higher, so that such a sample is set aside",
        )
    numbers = np.zeros(count, dtype=np.int64)
    _cut(positions_nd, np.arange(count), max(2, min(blocks, count // MIN_BLOCK)), 0, numbers)
    return numbers


def assign_folds(blocks_n: IntArray, folds: int, rng: np.random.Generator) -> IntArray:
    """Deal whole blocks out to folds of balanced count.

    Parameters
    ----------
    blocks_n
        (N,), block of each row, of one sample.
    folds
        Folds; fewer where there are fewer blocks.
    rng
        Source of the order in which blocks are dealt.

    Returns
    -------
    ndarray
        (N,), numbers from 0, every one in use.

    Raises
    ------
    TableError
        If there are fewer than two blocks.
    """
    _, inverse, counts = np.unique(blocks_n, return_inverse=True, return_counts=True)
    _require_two(len(counts))
    loads = np.zeros(min(folds, len(counts)), dtype=np.int64)
    fold_of_block = np.empty(len(counts), dtype=np.int64)
    shuffled = rng.permutation(len(counts))
    for block in shuffled[np.argsort(-counts[shuffled], kind="stable")]:
        fold_of_block[block] = np.argmin(loads)
        loads[fold_of_block[block]] += counts[block]
    return fold_of_block[inverse]


def draw_blocks(blocks_n: IntArray, rng: np.random.Generator) -> IntArray:
    """Draw as many blocks as there are, with replacement (block bootstrap).

    Draws of one block alone are drawn anew, so that a block can still be held out of the bag.

    Parameters
    ----------
    blocks_n
        (N,), block of each row, of one sample.
    rng
        Source of the draw.

    Returns
    -------
    ndarray
        Rows in the bag, those of a block as often as it was drawn.

    Raises
    ------
    TableError
        If there are fewer than two blocks.
    """
    _, inverse, counts = np.unique(blocks_n, return_inverse=True, return_counts=True)
    number = len(counts)
    _require_two(number)
    times = np.zeros(number, dtype=np.int64)
    while np.count_nonzero(times) < 2:
        times = np.bincount(rng.integers(number, size=number), minlength=number)
    return np.repeat(np.arange(len(blocks_n)), times[inverse])


def _cut(
    positions_nd: FloatArray, rows: IntArray, blocks: int, first: int, numbers: IntArray
) -> None:
    """Write the numbers of the blocks of some rows, from `first` on."""
    if blocks == 1:
        numbers[rows] = first
        return
    places = positions_nd[rows]
    axis = int(np.argmax(np.ptp(places, axis=0)))
    order = rows[np.lexsort((*np.delete(places, axis, axis=1).T, places[:, axis]))]
    lower = blocks // 2
    cut = round(len(rows) * lower / blocks)
    _cut(positions_nd, order[:cut], lower, first, numbers)
    _cut(positions_nd, order[cut:], blocks - lower, first + lower, numbers)


def _require_two(number: int) -> None:
    if number < 2:
        raise TableError(
            "column block",
            found=f"{number} block",
            expected="at least two, so that one can be held out",
            action="set `blocks` to 2 or more and run the pipeline again",
        )
