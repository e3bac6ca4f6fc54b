"""Which cycles cannot be right; they are listed with a reason, never mended."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.electrochemistry.records import BadRow, Cell
from ncm_kedro.params.cycling import CyclingParams


def judge_cycles(
    cycles: pd.DataFrame, cells: Mapping[str, Cell], params: CyclingParams
) -> pd.Series[str]:
    """Return why each cycle is left out, empty where it is sound.

    Parameters
    ----------
    cycles
        Columns ``file, row, cell_id, cycle``, the capacities, ``coulombic_efficiency_percent``
        and ``reason`` (what reading found already).
    cells
        By name.
    params
        Limits.
    """
    reasons = cycles["reason"].copy()
    for half in ("discharge", "charge"):
        values = cycles[[f"{half}_capacity_mah", f"{half}_capacity_mah_g"]]
        reasons = _add(reasons, (values < 0.0).any(axis=1), f"{half} capacity below 0")
    twice = cycles.duplicated(["cell_id", "cycle"], keep=False)
    reasons = _add(reasons, twice, "cycle number given more than once for this cell")
    for _, rows in cycles[~twice].groupby(["file", "cell_id"], sort=False):
        out = ~find_increasing(rows["cycle"].to_numpy())
        reasons = _add(reasons, cycles.index.isin(rows.index[out]), "cycle number out of order")
    efficiency = cycles["coulombic_efficiency_percent"]
    odd = (efficiency < params.efficiency_min_percent) | (
        efficiency > params.efficiency_max_percent
    )
    words = "Coulombic efficiency of " + efficiency.map("{:.1f}".format) + " %"
    reasons = reasons.where(~odd | (reasons != ""), words)
    nominal = cycles["cell_id"].map(lambda name: cells[name].nominal_capacity_mah)
    limit = pd.to_numeric(nominal, errors="coerce") * params.nominal_factor_max
    above = cycles["discharge_capacity_mah"] > limit
    return _add(reasons, above, f"more than {params.nominal_factor_max:g} x the nominal capacity")


def list_bad_cycles(cycles: pd.DataFrame) -> list[BadRow]:
    """Return the cycles with a reason as rows of the table of what was left out.

    Parameters
    ----------
    cycles
        With the columns ``file, row, cell_id, cycle, reason``.
    """
    bad = cycles[cycles["reason"] != ""]
    return [
        BadRow(str(file), int(row), str(cell), int(cycle), str(reason))
        for file, row, cell, cycle, reason in zip(
            bad["file"], bad["row"], bad["cell_id"], bad["cycle"], bad["reason"], strict=True
        )
    ]


def find_increasing(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark a longest strictly increasing subsequence: the fewest others stand out of order.

    Parameters
    ----------
    numbers
        (N,).

    Returns
    -------
    ndarray
        (N,), true for members.
    """
    ends: list[int] = []
    places: list[int] = []
    before = np.full(len(numbers), -1)
    for place, number in enumerate(numbers.tolist()):
        length = bisect_left(ends, number)
        before[place] = places[length - 1] if length else -1
        ends[length : length + 1] = [number]
        places[length : length + 1] = [place]
    member = np.zeros(len(numbers), dtype=bool)
    place = places[-1] if places else -1
    while place >= 0:
        member[place] = True
        place = int(before[place])
    return member


def _add(
    reasons: pd.Series[str], where: pd.Series[bool] | NDArray[np.bool_], text: str
) -> pd.Series[str]:
    return reasons.mask(np.asarray(where) & (reasons == "").to_numpy(), text)
