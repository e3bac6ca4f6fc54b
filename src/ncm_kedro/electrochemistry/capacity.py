"""From current over time to charge: by record, by cycle, and against voltage.

Which cycles cannot be right; they are listed with a reason, never mended.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.electrochemistry.reading import FloatArray
from ncm_kedro.electrochemistry.summary import BadRow, Cell
from ncm_kedro.errors import TableError
from ncm_kedro.params.cycling import CyclingParams

SECONDS_PER_HOUR = 3600.0
_BOUNDARY_FACTOR = 1.5
_MIN_CYCLES = 3


def integrate_records(series: pd.DataFrame, params: CyclingParams) -> pd.DataFrame:
    """Return the charge that passed up to each usable record since the one before.

    Within a half cycle (records of one sign in a row) the current is integrated by the trapezoid
    rule. The interval in which the sign changes belongs to the later record, at its current: exact
    for a constant current. Where it is longer than 1.5 times the half cycle's median interval, the
    cell may have rested unrecorded, and the interval counts nothing.

    Parameters
    ----------
    series
        Records, as `ncm_kedro.electrochemistry.reading.read_export` returns them.

    Returns
    -------
    DataFrame
        Usable records, with ``sign`` (1 charge, -1 discharge, 0 rest), ``run`` (number of the half
        cycle or rest), ``passed_mah`` (never negative), ``gap_s`` (time since the record before in
        the same half cycle, else 0) and ``cycle``, counted from the current where there was none.

    Raises
    ------
    TableError
        If the voltage falls on charge and rises on discharge: the sign is the other way round.
    """
    records = series[series["usable"]].reset_index(drop=True)
    current = np.abs(records["current_ma"].to_numpy())
    sign = _find_signs(records, params)
    same = np.zeros(len(records), dtype=bool)
    same[1:] = sign[1:] == sign[:-1]
    run = np.cumsum(~same)
    interval_s = np.diff(records["time_s"].to_numpy(), prepend=records["time_s"].iloc[0])
    _check_signs(records["voltage_v"].to_numpy(), sign, same)

    inside = pd.Series(np.where(same, interval_s, np.nan)).groupby(run).transform("median")
    near = interval_s <= _BOUNDARY_FACTOR * inside.to_numpy()
    before = np.concatenate([current[:1], current[:-1]])
    mean_ma = np.where(same, 0.5 * (current + before), np.where(near, current, 0.0))
    records["sign"], records["run"] = sign, run
    records["passed_mah"] = np.where(sign == 0, 0.0, mean_ma * interval_s / SECONDS_PER_HOUR)
    records["gap_s"] = np.where(same & (sign != 0), interval_s, 0.0)
    if records["cycle"].isna().all():
        records["cycle"] = _count_cycles(sign)
    return records.astype({"cycle": "int64"})


def sum_cycles(
    records: pd.DataFrame, series: pd.DataFrame, params: CyclingParams
) -> tuple[pd.DataFrame, pd.Series[str]]:
    """Return charge and discharge capacity per cycle, and why a cycle is rejected.

    A cycle number that comes back after another one gives a second row.

    Returns
    -------
    cycles : DataFrame
        ``row`` (of the first record), ``cycle``, ``charge_capacity_mah``,
        ``discharge_capacity_mah`` (NaN where there was no charge or discharge).
    reasons : Series
        Empty where the cycle is sound.
    """
    visit = (records["cycle"] != records["cycle"].shift()).astype("int64").cumsum()
    grouped = records.groupby(visit, sort=True)
    cycles = grouped.agg(row=("row", "first"), cycle=("cycle", "first")).reset_index(drop=True)
    for name, sign in (("charge", 1), ("discharge", -1)):
        passed = records["passed_mah"].where(records["sign"] == sign)
        total = passed.groupby(visit).sum(min_count=1).to_numpy()
        cycles[f"{name}_capacity_mah"] = np.where(total > 0.0, total, np.nan)
    gap_s = grouped["gap_s"].max().reset_index(drop=True)
    gaps = gap_s.map("no record for {:.0f} s within a half cycle".format)
    reasons = gaps.where(gap_s > params.gap_max_s, "")
    reasons = reasons.mask(cycles["discharge_capacity_mah"].isna(), "no discharge recorded")
    if _is_cut_short(records, visit, params):
        reasons.iloc[-1] = "the file ends before the discharge does"
    unusable = pd.Series(_count_unusable(series, cycles))
    words = unusable.map("records that cannot be used: {}".format)
    return cycles, reasons.mask(unusable > 0, words)


def pick_curves(records: pd.DataFrame, params: CyclingParams) -> pd.DataFrame:
    """Return voltage against the charge of each half cycle, for the chosen cycles.

    Parameters
    ----------
    params
        Which cycles, and how many records of each half cycle.

    Returns
    -------
    DataFrame
        ``cycle, half`` (``charge`` or ``discharge``), ``capacity_mah, voltage_v``.
    """
    chosen = records[records["cycle"].isin(params.curve_cycles) & (records["sign"] != 0)]
    parts = []
    for _, half in chosen.groupby(["cycle", "sign"], sort=True):
        count = min(len(half), params.curve_points)
        kept = np.unique(np.linspace(0, len(half) - 1, count).round().astype(np.int64))
        passed = half["passed_mah"].cumsum()
        part = pd.DataFrame({"capacity_mah": passed, "voltage_v": half["voltage_v"]}).iloc[kept]
        part.insert(0, "half", "charge" if half["sign"].iloc[0] > 0 else "discharge")
        part.insert(0, "cycle", half["cycle"].iloc[0])
        parts.append(part)
    columns = ["cycle", "half", "capacity_mah", "voltage_v"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _find_signs(records: pd.DataFrame, params: CyclingParams) -> NDArray[np.int64]:
    current = records["current_ma"].to_numpy()
    direction = 1.0 if params.positive_current == "charge" else -1.0
    stated = records["sign"].to_numpy()
    sign = np.where(np.isnan(stated), direction * np.sign(current), stated)
    return np.where(np.abs(current) <= params.rest_current_ma, 0.0, sign).astype(np.int64)


def _check_signs(voltage_v: FloatArray, sign: NDArray[np.int64], same: NDArray[np.bool_]) -> None:
    rise_v = np.diff(voltage_v, prepend=voltage_v[0])
    if float(np.sum((sign * rise_v)[same])) < 0.0:
        raise TableError(
            "the current's sign",
            found="a voltage that falls on charge and rises on discharge",
            expected="the opposite",
            action="set cycling.positive_current to the cycler's convention",
        )


def _count_cycles(sign: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return cycle numbers from 1; each charge after a discharge starts one."""
    active = np.flatnonzero(sign)
    starts = np.zeros(len(sign), dtype=np.int64)
    starts[active[1:][(sign[active[1:]] > 0) & (sign[active[:-1]] < 0)]] = 1
    return 1 + np.cumsum(starts)


def _is_cut_short(records: pd.DataFrame, visit: pd.Series[int], params: CyclingParams) -> bool:
    """Whether the file's last discharge ends well above the others."""
    ends_v = records[records["sign"] < 0].groupby(visit)["voltage_v"].last()
    if len(ends_v) < _MIN_CYCLES or ends_v.index[-1] != visit.iloc[-1]:
        return False
    return bool(ends_v.iloc[-1] > ends_v.iloc[:-1].median() + params.end_voltage_tolerance_v)


def _count_unusable(series: pd.DataFrame, cycles: pd.DataFrame) -> NDArray[np.int64]:
    """Count records that cannot be used in each cycle, by where they stand in the file."""
    lines = series.loc[~series["usable"], "row"].to_numpy()
    place = np.searchsorted(cycles["row"].to_numpy(), lines, side="right") - 1
    return np.bincount(np.maximum(place, 0), minlength=len(cycles))


def check_cycles(
    cycles: pd.DataFrame, cells: Mapping[str, Cell], params: CyclingParams
) -> pd.Series[str]:
    """Return why each cycle is rejected, empty where it is sound.

    Parameters
    ----------
    cycles
        Columns ``file, row, cell_id, cycle``, the capacities, ``coulombic_efficiency_percent``
        and ``reason`` (what reading found already).
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
    """Return the cycles with a reason as rows of the table of rejected rows.

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
