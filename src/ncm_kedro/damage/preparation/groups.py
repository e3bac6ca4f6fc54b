"""Attributes that say nearly the same, to be explained with as one group.

Attributes that hold the damage by their definition, and those that are one number twice.

What leaks depends on how it was measured, see ``docs/attributes.md``, "Which attributes carry the
damage".

Numbers of a particle table, refused where they cannot be computed with.
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
    rows
        A row per particle.
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
            action="leave out these attributes, or the particles without a value",
        )
    constant = [n for n, fixed in zip(names, _find_constant(values), strict=True) if fixed]
    if constant:
        raise TableError(
            where,
            found=f"one value alone in {constant} ({len(rows)} rows)",
            expected="columns that vary",
            action="leave out these attributes",
        )
    return values


def _find_constant(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    if not len(values):
        return np.ones(values.shape[1], dtype=np.bool_)
    constant: NDArray[np.bool_] = np.ptp(values, axis=0) == 0
    return constant
