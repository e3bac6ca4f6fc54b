"""Records over time whose capacities are known exactly."""

import numpy as np
import pandas as pd

from ncm_kedro.electrochemistry.capacity import integrate_records, sum_cycles
from ncm_kedro.params.cycling import CyclingParams

RISE_V = {1: (3.4, 4.3), -1: (4.2, 3.0), 0: (3.6, 3.6)}


def make_steps(steps, *, interval_s=60.0, start=True):
    """Records of (sign, mA, s, cycle) steps; without `start`, none at the start of a step."""
    parts, begin = [], 0.0
    for sign, current_ma, length_s, cycle in steps:
        time = np.append(np.arange(0.0 if start else interval_s, length_s, interval_s), length_s)
        low, high = RISE_V[sign]
        parts.append(pd.DataFrame({
            "time_s": begin + time, "current_ma": float(sign * current_ma), "cycle": float(cycle),
            "voltage_v": low + (high - low) * time / length_s,
        }))  # fmt: skip
        begin += length_s
    series = pd.concat(parts, ignore_index=True)
    return series.assign(row=np.arange(2, 2 + len(series)), sign=np.nan, usable=True)


def add_up(series, **settings):
    params = CyclingParams(**settings)
    return sum_cycles(integrate_records(series, params), series, params)
