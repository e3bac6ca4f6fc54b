"""Weights of crops that count areas: crops of one area show nearly the same thing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.params.tune_train import EvaluationParams


def weigh_areas(areas: Sequence[str]) -> NDArray[np.float64]:
    """(N,) weights of crops that give every area the same sum; they add up to 1."""
    _, area, count = np.unique(
        np.asarray(areas, dtype=str), return_inverse=True, return_counts=True
    )
    return np.asarray(1.0 / (count[area] * len(count)), dtype=np.float64)


def draw_areas(
    areas: Sequence[str], strata: NDArray[np.integer], params: EvaluationParams
) -> tuple[NDArray[np.str_], NDArray[np.int64], NDArray[np.float64]]:
    """Draw areas with replacement, each within its stratum.

    Parameters
    ----------
    areas
        (N,) name of the area each crop lies in.
    strata
        (N,) stratum of each crop's area.
    params
        Resamples, seed.

    Returns
    -------
    names
        (A,) areas, sorted.
    area
        (N,) number of each crop's area.
    weights
        (n_bootstrap, A) how often each area was drawn.
    """
    names, first, area = np.unique(
        np.asarray(areas, dtype=str), return_index=True, return_inverse=True
    )
    rng = np.random.default_rng(params.seed)
    stratum = np.asarray(strata)[first]
    weights = np.zeros((params.n_bootstrap, len(names)))
    for value in np.unique(stratum):
        mine = np.flatnonzero(stratum == value)
        chance = np.full(len(mine), 1.0 / len(mine))
        weights[:, mine] = rng.multinomial(len(mine), chance, size=params.n_bootstrap)
    return names, area.astype(np.int64), weights
