"""What belongs together: attributes in groups, particles in spatial blocks; which attributes leak.

Attributes that correlate strongly are explained as one group. Attributes that contain the damage by
their definition (target leakage) depend on how they were measured, see ``docs/attributes.md``,
"Which attributes carry the damage".

Neighbours resemble each other: a test particle whose neighbour was trained on is no new particle.
Spatial blocks keep neighbours on one side (Roberts et al. 2017, Ecography 40, 913).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from ncm_kedro.errors import SettingsError, TableError
from ncm_kedro.particles.columns import ATTRIBUTE_NAMES, ATTRIBUTES

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_PAPER_NAMES = {attribute.name: attribute.paper_name for attribute in ATTRIBUTES}
_ROUNDING = 1e-9


def group_attributes(
    rows: pd.DataFrame, names: Sequence[str], threshold: float, exact: Iterable[Sequence[str]]
) -> tuple[tuple[str, ...], ...]:
    """Group attributes whose rank correlation is high in every pair.

    Complete linkage on one less the absolute correlation (`correlate_ranks`): no two attributes of
    a group are less alike than `threshold` (Everitt et al. 2011, Cluster Analysis, section 4.2).

    Parameters
    ----------
    rows
        ``sample`` and the attributes, without nulls.
    names
        Attributes to group.
    threshold
        Absolute correlation within a group at least (no unit).
    exact
        Attributes that stay together whatever their correlation.

    Returns
    -------
    tuple
        A partition of `names`; groups, and attributes within them, in the order of Table S1.
    """
    ordered = sorted(names, key=ATTRIBUTE_NAMES.index)
    if len(ordered) < 2:
        return tuple((name,) for name in ordered)
    distance = 1.0 - correlate_ranks(rows, ordered)
    for group in exact:
        same = [ordered.index(name) for name in group if name in ordered]
        if same:
            farthest = distance[same].max(axis=0)
            distance[same], distance[:, same] = farthest, farthest[:, None]
            distance[np.ix_(same, same)] = 0.0
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), method="complete")
    numbers = fcluster(tree, t=1.0 - threshold + _ROUNDING, criterion="distance")
    firsts = dict.fromkeys(numbers.tolist())
    return tuple(
        tuple(name for name, other in zip(ordered, numbers, strict=True) if other == number)
        for number in firsts
    )


def correlate_ranks(rows: pd.DataFrame, names: Sequence[str]) -> NDArray[np.float64]:
    """Average the absolute rank correlations (Spearman 1904) of attributes over samples.

    Parameters
    ----------
    rows
        ``sample`` and the attributes, without nulls.
    names
        Attributes, P of them.

    Returns
    -------
    ndarray
        (P, P), from 0 to 1; 0 in a sample where one of the two is constant.
    """
    found = []
    for _, part in rows.groupby("sample", sort=False):
        ranks_np = part[list(names)].rank().to_numpy(dtype=np.float64)
        ranks_np = ranks_np - ranks_np.mean(axis=0)
        length = np.sqrt((ranks_np**2).sum(axis=0))
        ranks_np = np.divide(ranks_np, length, out=np.zeros_like(ranks_np), where=length > 0)
        found.append(np.minimum(np.abs(ranks_np.T @ ranks_np), 1.0))
    averaged: NDArray[np.float64] = np.mean(found, axis=0)
    return averaged


def label_group(names: Iterable[str]) -> str:
    """Name a group by the paper names of its attributes."""
    return " + ".join(_PAPER_NAMES[name] for name in names)


TARGET = "damage"
"""What is explained."""

_INNER = "it is the walls of cracks"
_ROUGH = "it is measured on the walls of cracks, and has no value without them"
_GREY = "cracks are part of its grey values"
_BLUR = "the walls of cracks blur into its grey values, and so do cracks too thin to be marked"
_WALLS = "its surface includes the walls of cracks"

LEAKS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "corrected": MappingProxyType(
            {
                "electron_density": _BLUR,
                "homogeneity": _BLUR,
                "surface_inner_um2": _INNER,
                "roughness_inner": _ROUGH,
            }
        ),
        "paper": MappingProxyType(
            {
                "electron_density": _GREY,
                "homogeneity": _GREY,
                "surface_inner_um2": _INNER,
                "sphericity": _WALLS,
                "vs_ratio": _WALLS,
                "roughness_inner": _ROUGH,
                "sphericity_std": "the surfaces of its sphericities include the walls of cracks",
            }
        ),
    }
)
"""By preset the attributes that hold the damage, in the order of Table S1, and why."""

EXACT_GROUPS = (("sphericity", "vs_ratio"),)
"""Attributes that are one number: sphericity is 36 pi times the sixth power of vs_ratio."""


def list_leaks(preset: str) -> tuple[str, ...]:
    """List the attributes that hold the damage, in the order of Table S1.

    Parameters
    ----------
    preset
        What the attributes were measured with.

    Raises
    ------
    SettingsError
        If there is no such preset.
    """
    if preset not in LEAKS:
        raise SettingsError(
            "preset of particle_attributes",
            found=repr(preset),
            expected=" or ".join(LEAKS),
            action="run `kedro run --pipelines particle_features` again with one of these presets",
        )
    return tuple(LEAKS[preset])


def take_values(rows: pd.DataFrame, names: Sequence[str]) -> NDArray[np.float64]:
    """Return columns of a particle table as numbers, (N, K).

    Parameters
    ----------
    names
        The K columns.

    Raises
    ------
    TableError
        If a column is missing, named twice, or holds a null, an infinity or one value alone.
    """
    where = "particle table"
    strange = [name for name in names if name not in rows.columns or list(names).count(name) > 1]
    if strange or not len(names):
        raise TableError(
            where,
            found=f"missing or repeated columns {sorted(set(strange))}",
            expected="at least one column, each of them once",
            action="name attributes that the table holds",
        )
    values: NDArray[np.float64] = rows[list(names)].to_numpy(dtype=np.float64, na_value=np.nan)
    undefined = [n for place, n in enumerate(names) if not np.isfinite(values[:, place]).all()]
    if undefined:
        raise TableError(
            where,
            found=f"undefined values in {undefined}",
            expected="a finite number in every row",
            action="exclude these attributes, or the particles without a value",
        )
    constant = [n for n, fixed in zip(names, _find_constant(values), strict=True) if fixed]
    if constant:
        raise TableError(
            where,
            found=f"one value alone in {constant} ({len(rows)} rows)",
            expected="columns that vary",
            action="exclude these attributes",
        )
    return values


def _find_constant(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    if not len(values):
        return np.ones(values.shape[1], dtype=np.bool_)
    constant: NDArray[np.bool_] = np.ptp(values, axis=0) == 0
    return constant


MIN_BLOCK = 4
"""Particles in a block at least, as long as there are two blocks."""


def assign_blocks(positions_nd: FloatArray, blocks: int) -> IntArray:
    """Cut particles into blocks of equal count by cuts across the longer side of each piece.

    This is the k-d tree of Bentley (1975, Communications of the ACM 18, 509), with fractions in
    place of medians where the number of blocks is odd.

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
            action="set `min_particles` higher, so that such a sample is rejected",
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
