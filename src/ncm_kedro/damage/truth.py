"""What was found set beside what was planted, where the samples are phantoms."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

PLANTED_ATTRIBUTES = {"depth": "z_um", "contact": "contact", "size": "volume_um3"}
"""Attribute that measures each driver of the planted law."""

TRUTH_COLUMNS = (
    "sample", "driver", "attribute", "planted_weight", "group", "rank", "explained", "significant",
    "direction", "direction_agrees",
)  # fmt: skip


def judge_planted(
    importance: pd.DataFrame, attributes: pd.DataFrame, truth: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Set the ranks of the planted drivers beside their weights.

    The weight of a driver is taken from the planted damage itself: least squares of its logit on
    the standardised drivers.

    Parameters
    ----------
    importance
        What `significance.tabulate_importance` returned of all samples.
    attributes
        What `significance.tabulate_attributes_alone` returned of all samples.
    truth
        By sample the known particles: ``planted_damage, depth_um, contact_neighbours,
        diameter_um``; those of unknown ones are left out.

    Returns
    -------
    DataFrame
        `TRUTH_COLUMNS`, a row per sample and driver, the largest weight first.
    """
    rows = []
    for sample, particles in truth.items():
        weights = measure_weights(particles)
        own = importance[(importance["sample"] == sample) & (importance["kind"] == "group")]
        alone = attributes[attributes["sample"] == sample].set_index("attribute")
        for driver, weight in sorted(weights.items(), key=lambda item: -abs(item[1])):
            name = PLANTED_ATTRIBUTES[driver]
            holds = own["members"].map(lambda members, name=name: name in members.split(", "))
            found = own[holds.astype(bool)]
            if found.empty:
                continue
            group = found.iloc[0]
            direction = float(alone["direction"].loc[name])
            rows.append(
                (sample, driver, name, weight, group["group"], group["rank"], group["explained"],
                 bool(group["significant"]), direction, direction * weight > 0)
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(TRUTH_COLUMNS))


def measure_weights(particles: pd.DataFrame) -> dict[str, float]:
    """Measure how the planted damage of particles goes with its drivers.

    Parameters
    ----------
    particles
        ``planted_damage, depth_um, contact_neighbours, diameter_um``.

    Returns
    -------
    dict
        By driver the change of the damage's logit for one standard deviation.
    """
    diameter = particles["diameter_um"].to_numpy(dtype=np.float64)
    drivers = {
        "depth": particles["depth_um"].to_numpy(dtype=np.float64),
        "contact": particles["contact_neighbours"].to_numpy(dtype=np.float64) / diameter**2,
        "size": diameter,
    }
    scaled = [(v - v.mean()) / v.std() if np.ptp(v) > 0 else 0 * v for v in drivers.values()]
    planted = particles["planted_damage"].to_numpy(dtype=np.float64)
    logit = np.log(planted / (1.0 - planted))
    weights: FloatArray = np.linalg.lstsq(
        np.column_stack([np.ones(len(logit)), *scaled]), logit, rcond=None
    )[0][1:]
    return {driver: float(weight) for driver, weight in zip(drivers, weights, strict=True)}
