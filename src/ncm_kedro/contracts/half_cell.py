"""Contracts of the tables of `half_cell`."""

from __future__ import annotations

from typing import ClassVar

import pandera.pandas as pa
from pandera.typing import Series

_HALVES = ("charge", "discharge")
_BALANCE = 1e-6  # of all lithium: what a half-cycle may lose


class HalfCellSteps(pa.DataFrameModel):
    """A row per time step of a case."""

    cycle: Series[int] = pa.Field(ge=1)
    half: Series[str] = pa.Field(isin=_HALVES)
    step: Series[int] = pa.Field(ge=0)
    time_s: Series[float] = pa.Field(gt=0, unique=True)
    voltage_v: Series[float]
    capacity_fraction: Series[float] = pa.Field(ge=0)
    imbalance: Series[float] = pa.Field(ge=-_BALANCE, le=_BALANCE)

    class Config:
        """A step is listed once."""

        unique: ClassVar[list[str]] = ["cycle", "half", "step"]


class HalfCellParticles(pa.DataFrameModel):
    """A row per time step and particle."""

    cycle: Series[int] = pa.Field(ge=1)
    half: Series[str] = pa.Field(isin=_HALVES)
    step: Series[int] = pa.Field(ge=0)
    time_s: Series[float] = pa.Field(gt=0)
    particle: Series[int] = pa.Field(ge=1)
    name: Series[str]
    stoichiometry: Series[float] = pa.Field(ge=0, le=1.01)
    stress_mpa: Series[float]
    surface_stoichiometry: Series[float] = pa.Field(ge=-0.01, le=1.05)
    current_a_m2: Series[float]
    gap_nm: Series[float] = pa.Field(ge=0)
    damage: Series[float] = pa.Field(ge=0, le=1 + 1e-9)
    debonded_fraction: Series[float] = pa.Field(ge=0, le=1 + 1e-9)
    activity: Series[float]

    class Config:
        """A particle is listed once in a step."""

        unique: ClassVar[list[str]] = ["cycle", "half", "step", "particle"]


class HalfCellCycles(pa.DataFrameModel):
    """A row per complete cycle of a case."""

    cycle: Series[int] = pa.Field(ge=1, unique=True)
    charge_capacity: Series[float] = pa.Field(ge=0)
    discharge_capacity: Series[float] = pa.Field(ge=0)
    activity_spread: Series[float] = pa.Field(ge=0)
    synchrony: Series[float] = pa.Field(ge=0, le=1 + 1e-9, nullable=True)
    rank_correlation: Series[float] = pa.Field(ge=-1 - 1e-9, le=1 + 1e-9, nullable=True)
    isolated_fraction: Series[float] = pa.Field(ge=0, le=1)
    damage_mean: Series[float] = pa.Field(ge=0, le=1 + 1e-9)
    damage_spread: Series[float] = pa.Field(ge=0)
    imbalance: Series[float] = pa.Field(ge=0, le=_BALANCE)


class HalfCellDebonding(pa.DataFrameModel):
    """A row per particle, first to debond first."""

    particle: Series[int] = pa.Field(ge=1, unique=True)
    name: Series[str]
    cycle: Series[float] = pa.Field(ge=1, nullable=True)
    time_s: Series[float] = pa.Field(gt=0, nullable=True)
    debonded_fraction: Series[float] = pa.Field(ge=0, le=1 + 1e-9)
    damage: Series[float] = pa.Field(ge=0, le=1 + 1e-9)


class HalfCellOutlines(pa.DataFrameModel):
    """A row per simulated particle of a segmented sample."""

    name: Series[str]
    sample: Series[str]
    particle_id: Series[int] = pa.Field(gt=0, unique=True)
    area_um2: Series[float] = pa.Field(gt=0)
    area_kept: Series[float] = pa.Field(gt=0, le=1.2)


class HalfCellDamagePairs(pa.DataFrameModel):
    """A row per simulated particle: simulated beside measured damage."""

    name: Series[str]
    particle_id: Series[int] = pa.Field(gt=0, unique=True)
    simulated: Series[float] = pa.Field(ge=0, le=1 + 1e-9, nullable=True)
    measured: Series[float] = pa.Field(ge=0, le=1, nullable=True)


class HalfCellSweepRuns(pa.DataFrameModel):
    """A row per electrode of a sweep; one that failed has its problem."""

    run: Series[int] = pa.Field(ge=0, unique=True)
    setting: Series[str]
    value: Series[float] = pa.Field(nullable=True)
    electrode: Series[int] = pa.Field(ge=0)
    end: Series[str] = pa.Field(isin=("complete", "dead", "no solution", ""))
    problem: Series[str]


class HalfCellSweepCycles(HalfCellCycles):
    """A row per electrode and complete cycle of a sweep."""

    cycle: Series[int] = pa.Field(ge=1)
    run: Series[int] = pa.Field(ge=0)

    class Config:
        """A cycle of a run is listed once."""

        unique: ClassVar[list[str]] = ["run", "cycle"]


class HalfCellSweepSummary(pa.DataFrameModel):
    """Means over electrodes by setting, value, cycle and quantity; cycle 0 holds changes."""

    setting: Series[str]
    value: Series[float] = pa.Field(nullable=True)
    cycle: Series[int] = pa.Field(ge=0)
    quantity: Series[str]
    mean: Series[float] = pa.Field(nullable=True)
    low: Series[float] = pa.Field(nullable=True)
    high: Series[float] = pa.Field(nullable=True)
    n: Series[int] = pa.Field(ge=0)
