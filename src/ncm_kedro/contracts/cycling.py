"""Contracts of the tables of `cycling`."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series


class CyclingCycles(pa.DataFrameModel):
    """A row per sound cycle of a cell."""

    cell_id: Series[str]
    composition: Series[str] = pa.Field(nullable=True)
    class_: Series[str] = pa.Field(alias="class", nullable=True)
    electrolyte: Series[str] = pa.Field(nullable=True)
    cycle: Series[int] = pa.Field(ge=0)
    charge_capacity_mah_g: Series[float] = pa.Field(ge=0, nullable=True)
    discharge_capacity_mah_g: Series[float] = pa.Field(ge=0, nullable=True)
    charge_capacity_mah: Series[float] = pa.Field(ge=0, nullable=True)
    discharge_capacity_mah: Series[float] = pa.Field(ge=0, nullable=True)
    retention_percent: Series[float] = pa.Field(ge=0, nullable=True)
    coulombic_efficiency_percent: Series[float] = pa.Field(ge=0, nullable=True)
    file: Series[str]

    class Config:
        """A cycle of a cell is listed once."""

        unique: ClassVar[list[str]] = ["cell_id", "cycle"]


class CyclingCurves(pa.DataFrameModel):
    """A row per retained record of a voltage curve."""

    cell_id: Series[str]
    composition: Series[str] = pa.Field(nullable=True)
    class_: Series[str] = pa.Field(alias="class", nullable=True)
    cycle: Series[int] = pa.Field(ge=0)
    half: Series[str] = pa.Field(isin=("charge", "discharge"))
    capacity_mah: Series[float] = pa.Field(ge=0)
    capacity_mah_g: Series[float] = pa.Field(ge=0, nullable=True)
    voltage_v: Series[float]


class CyclingBadRows(pa.DataFrameModel):
    """A row per rejected row or cycle."""

    file: Series[str]
    row: Series[int] = pa.Field(ge=1)
    cell_id: Series[str]
    cycle: Series[pd.Int64Dtype] = pa.Field(nullable=True)
    reason: Series[str] = pa.Field(str_length={"min_value": 1})


class CyclingFiles(pa.DataFrameModel):
    """A row per file; one that could not be used has a problem."""

    file: Series[str] = pa.Field(unique=True)
    cell_id: Series[str]
    source: Series[str] = pa.Field(nullable=True)
    cycles_from: Series[str] = pa.Field(isin=("file", "current"), nullable=True)
    n_cycles: Series[int] = pa.Field(ge=0)
    n_excluded: Series[int] = pa.Field(ge=0)
    problem: Series[str] = pa.Field(nullable=True)


class CyclingSummary(pa.DataFrameModel):
    """Mean and standard deviation over cells, by group, cycle and quantity."""

    by: Series[str] = pa.Field(isin=("composition", "class"))
    group: Series[str]
    quantity: Series[str]
    cycle: Series[int] = pa.Field(ge=0)
    mean: Series[float]
    sd: Series[float] = pa.Field(ge=0, nullable=True)
    n: Series[int] = pa.Field(ge=1)
    n_cells: Series[int] = pa.Field(ge=1)


class CyclingCells(pa.DataFrameModel):
    """A row per cell."""

    cell_id: Series[str] = pa.Field(unique=True)
    composition: Series[str] = pa.Field(nullable=True)
    class_: Series[str] = pa.Field(alias="class", nullable=True)
    electrolyte: Series[str] = pa.Field(nullable=True)
    mass_mg: Series[float] = pa.Field(gt=0, nullable=True)
    area_cm2: Series[float] = pa.Field(gt=0, nullable=True)
    nominal_capacity_mah: Series[float] = pa.Field(gt=0, nullable=True)
    n_cycles: Series[int] = pa.Field(ge=0)
    n_excluded: Series[int] = pa.Field(ge=0)
    first_cycle: Series[pd.Int64Dtype] = pa.Field(nullable=True)
    last_cycle: Series[pd.Int64Dtype] = pa.Field(nullable=True)
    missing_cycles: Series[str]
    reference_capacity_mah_g: Series[float] = pa.Field(ge=0, nullable=True)
    reference_capacity_mah_cm2: Series[float] = pa.Field(ge=0, nullable=True)
    last_retention_percent: Series[float] = pa.Field(ge=0, nullable=True)
    note: Series[str]


class CyclingFrames(pa.DataFrameModel):
    """A row per pair of a class of SEM frames and a cell, unmatched ones included."""

    status: Series[str] = pa.Field(isin=("matched", "frames without a cell", "cell without frames"))
    matched_by: Series[str] = pa.Field(isin=("cell_id", "class"), nullable=True)
    class_: Series[str] = pa.Field(alias="class", nullable=True)
    cell_id: Series[str] = pa.Field(nullable=True)
    n_frames: Series[int] = pa.Field(ge=0)
    last_cycle: Series[pd.Int64Dtype] = pa.Field(nullable=True)
    reference_capacity_mah_g: Series[float] = pa.Field(nullable=True)
    last_retention_percent: Series[float] = pa.Field(nullable=True)


# By the names of their data sets, for the pattern of the catalog.
cycling_cycles, cycling_curves, cycling_cells = CyclingCycles, CyclingCurves, CyclingCells
cycling_files, cycling_bad_rows = CyclingFiles, CyclingBadRows
