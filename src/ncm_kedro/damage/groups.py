"""Attributes that say nearly the same, to be explained with as one group."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from ncm_kedro.particles.columns import ATTRIBUTE_NAMES, ATTRIBUTES

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
    """Name a group by the paper names of its attributes.

    Parameters
    ----------
    names
        Attributes.
    """
    return " + ".join(_PAPER_NAMES[name] for name in names)
