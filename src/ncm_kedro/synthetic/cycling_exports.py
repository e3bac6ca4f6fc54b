"""Records over time of planted capacities, in the columns that cyclers write."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

REST_S = 600.0
_HALVES = (("charge", 1.0), ("rest", 0.0), ("discharge", -1.0), ("rest", 0.0))
_MACCOR_STATES = {"charge": "C", "discharge": "D", "rest": "R"}
_NEWARE_STATES = {"charge": "CC Chg", "discharge": "CC DChg", "rest": "Rest"}


def record_cycles(truth: pd.DataFrame, interval_s: float) -> pd.DataFrame:
    """Return the record of a cell at constant current (1 C of its first cycle).

    Every charge, rest and discharge is recorded at its start, at each interval and at its end.

    Parameters
    ----------
    truth
        A row per cycle: ``mass_mg, cycle, charge_capacity_mah_g, discharge_capacity_mah_g``.
    interval_s
        Time between records in s.

    Returns
    -------
    DataFrame
        ``time_s, step_time_s, step, cycle, state, current_ma`` (charge above 0), ``voltage_v``.
    """
    mass_g = truth["mass_mg"].iloc[0] / 1000.0
    current_ma = float(truth["discharge_capacity_mah_g"].iloc[0] * mass_g)
    parts: list[pd.DataFrame] = []
    start_s = 0.0
    columns = ["cycle", "charge_capacity_mah_g", "discharge_capacity_mah_g"]
    for cycle, charge, discharge in truth[columns].itertuples(index=False):
        capacities = {"charge": charge, "discharge": discharge}
        for state, sign in _HALVES:
            length_s = 3600.0 * capacities[state] * mass_g / current_ma if sign else REST_S
            step_time_s = np.append(np.arange(0.0, length_s, interval_s), length_s)
            part = pd.DataFrame({"time_s": start_s + step_time_s, "step_time_s": step_time_s})
            part["step"], part["cycle"], part["state"] = len(parts) + 1, int(cycle), state
            part["current_ma"] = sign * current_ma
            part["voltage_v"] = _find_voltage(state, step_time_s / length_s)
            parts.append(part)
            start_s += length_s
    return pd.concat(parts, ignore_index=True)


def _find_voltage(state: str, done: FloatArray) -> FloatArray:
    """Return the voltage from the share of the half cycle that is done."""
    if state == "charge":
        return 3.55 + 0.55 * done + 0.2 * done**6
    if state == "discharge":
        return 4.25 - 0.55 * done - 0.7 * done**12
    return np.full(len(done), 3.6)


def write_arbin(records: pd.DataFrame) -> bytes:
    """Write CSV in Arbin's columns: time in s, current in A, charge above 0."""
    table = pd.DataFrame(
        {
            "Data_Point": np.arange(1, len(records) + 1),
            "Test_Time(s)": records["time_s"].round(4),
            "Step_Time(s)": records["step_time_s"].round(4),
            "Step_Index": records["step"],
            "Cycle_Index": records["cycle"],
            "Current(A)": (records["current_ma"] / 1000.0).round(9),
            "Voltage(V)": records["voltage_v"].round(5),
        }
    )
    return table.to_csv(index=False).encode()


def write_biologic(records: pd.DataFrame) -> bytes:
    """Write EC-Lab text: header lines, tabs, decimal commas, current in mA, charge above 0."""
    table = pd.DataFrame(
        {
            "mode": 1,
            "time/s": records["time_s"].map("{:.6E}".format),
            "Ecell/V": records["voltage_v"].map("{:.6E}".format),
            "<I>/mA": records["current_ma"].map("{:.8E}".format),
            "cycle number": records["cycle"].map("{:.6E}".format),
        }
    )
    head = "EC-Lab ASCII FILE\r\nNb header lines : 5\r\n\r\nGalvanostatic Cycling\r\n"
    body = table.to_csv(sep="\t", index=False).replace(".", ",")
    return (head + body).encode("cp1252")


def write_maccor(records: pd.DataFrame) -> bytes:
    """Write Maccor's text: tabs, clock times with days, current in A without sign, a state."""
    table = pd.DataFrame(
        {
            "Rec#": np.arange(1, len(records) + 1),
            "Cyc#": records["cycle"],
            "Step": records["step"],
            "TestTime": records["time_s"].map(
                lambda s: f"{int(s // 86400)}d {_write_clock(s % 86400)}"
            ),
            "Amps": (records["current_ma"].abs() / 1000.0).round(9),
            "Volts": records["voltage_v"].round(5),
            "State": records["state"].map(_MACCOR_STATES),
        }
    )
    return ("Today's Date 01/15/2024\r\n" + table.to_csv(sep="\t", index=False)).encode()


def write_neware(records: pd.DataFrame) -> bytes:
    """Write BTSDA's CSV: clock times since the start of the step, current in mA, step types."""
    table = pd.DataFrame(
        {
            "DataPoint": np.arange(1, len(records) + 1),
            "Cycle Index": records["cycle"],
            "Step Index": records["step"],
            "Step Type": records["state"].map(_NEWARE_STATES),
            "Time": records["step_time_s"].map(_write_clock),
            "Current(mA)": records["current_ma"].round(6),
            "Voltage(V)": records["voltage_v"].round(5),
        }
    )
    return table.to_csv(index=False).encode()


WRITERS: dict[str, tuple[str, Callable[[pd.DataFrame], bytes]]] = {
    "Arbin": (".csv", write_arbin),
    "Biologic": (".mpt", write_biologic),
    "Maccor": (".txt", write_maccor),
    "Neware": (".csv", write_neware),
}
"""Suffix and writer by cycler."""


def _write_clock(seconds: float) -> str:
    whole = round(seconds * 1000)
    hours, rest = divmod(whole, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest / 1000:06.3f}"
