"""Numbers of a particle table, refused where they cannot be computed with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.errors import TableError


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
