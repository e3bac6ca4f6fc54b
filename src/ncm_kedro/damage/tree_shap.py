"""Exact SHAP values of forests, for attributes or for groups of attributes.

The values are the path-dependent ones of Lundberg et al. (2020): what the forest would answer
without an attribute is taken along both ways of its splits, weighed by the particles that went
there in training. No background sample is needed, and correlated attributes share their worth by
how the trees use them. A group is a single player of the game: its value is that of knowing all of
its attributes together (the quotient game of Owen 1977), and not the sum of theirs.

All answers of a leaf are kept by which players go its way, after Yang (2021), arXiv:2109.09847.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.damage.forest import Forest
from ncm_kedro.damage.tree_shap_kernels import MAX_PLAYERS, add_shapley, list_paths
from ncm_kedro.errors import SettingsError

FloatArray = NDArray[np.float64]

_CHUNK = 2048  # rows at a time, so that their columns stay in the processor's cache


def explain_forest(
    forest: Forest, values_np: FloatArray, players: Sequence[Sequence[int]]
) -> tuple[FloatArray, float]:
    """Share each answer of a forest out between the players.

    Parameters
    ----------
    forest
        What answered.
    values_np
        (N, P), rows of attributes.
    players
        Columns of each player; every column belongs to one.

    Returns
    -------
    (N, players) array, float
        SHAP values in the unit of the answers, and what the forest answers knowing nothing. Both
        together sum to the answer.

    Raises
    ------
    SettingsError
        If there are more players than bits to mark them.
    """
    if len(players) > MAX_PLAYERS:
        raise SettingsError(
            "explain_forest",
            found=f"{len(players)} attributes or groups",
            expected=f"at most {MAX_PLAYERS}",
            action="leave attributes out, or explain them in groups",
        )
    player_of = np.zeros(values_np.shape[1], dtype=np.int32)
    for number, columns in enumerate(players):
        player_of[list(columns)] = number
    paths = list_paths(
        forest.feature, forest.threshold, forest.left, forest.right, forest.value, forest.cover,
        player_of,
    )  # fmt: skip
    values_pn = np.ascontiguousarray(values_np.T, dtype=np.float64)
    worth = [
        add_shapley(np.ascontiguousarray(values_pn[:, start : start + _CHUNK]), paths, len(players))
        for start in range(0, values_pn.shape[1], _CHUNK)
    ]
    return np.concatenate(worth, axis=1).T, float(forest.value[:, 0].mean())
