"""Contracts of the tables of `sem_studies`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

from ncm_kedro.contracts.sem import SPLITS
from ncm_kedro.params.sem_studies import STUDIES


class SemStudy(pa.DataFrameModel):
    """A row per point and model; where a point was not run, a row with the reason alone."""

    study: Series[str] = pa.Field(isin=STUDIES)
    point: Series[str]
    value: Series[float] = pa.Field(nullable=True)
    model: Series[str] = pa.Field(nullable=True)
    balanced_accuracy: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    low: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    high: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    accuracy: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    composition_accuracy: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    state_accuracy: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    best_epoch: Series[pd.Int64Dtype] = pa.Field(ge=1, nullable=True)
    seconds_per_epoch: Series[float] = pa.Field(gt=0, nullable=True)
    n_train_crops: Series[pd.Int64Dtype] = pa.Field(gt=0, nullable=True)
    n_test_crops: Series[pd.Int64Dtype] = pa.Field(gt=0, nullable=True)
    n_test_areas: Series[pd.Int64Dtype] = pa.Field(gt=0, nullable=True)
    train_ground_mm2: Series[float] = pa.Field(gt=0, nullable=True)
    test_disjoint_crops: Series[float] = pa.Field(gt=0, nullable=True)
    leaking: Series[pd.BooleanDtype] = pa.Field(nullable=True)
    not_run: Series[str] = pa.Field(nullable=True)

    @pa.dataframe_check
    def _scored_or_explained(cls, table: pd.DataFrame) -> pd.Series:
        explained: pd.Series = table["not_run"].notna() == table["balanced_accuracy"].isna()
        return explained

    class Config:
        """A point is tried once with each model."""

        unique: ClassVar[list[str]] = ["point", "model"]


class SemGreyLevels(pa.DataFrameModel):
    """A row per class and split; means and distances in grey levels."""

    study: Series[str] = pa.Field(eq="grey_levels")
    point: Series[str] = pa.Field(unique=True)
    class_: Series[str] = pa.Field(alias="class")
    split: Series[str] = pa.Field(isin=SPLITS)
    n_crops: Series[int] = pa.Field(gt=0)
    grey_mean: Series[float] = pa.Field(ge=0, le=255)
    grey_std: Series[float] = pa.Field(ge=0)
    clipped_fraction: Series[float] = pa.Field(ge=0, le=1)
    distance_to_train: Series[float] = pa.Field(ge=0, le=255)
    nearest_class: Series[str]
    distance_to_nearest_class: Series[float] = pa.Field(ge=0, le=255)


def validate_studies(tables: Mapping[str, pd.DataFrame]) -> None:
    """Check the tables of studies by name.

    Raises
    ------
    pandera.errors.SchemaError
        A table does not satisfy its contract.
    """
    for name, table in tables.items():
        model = SemGreyLevels if name == "grey_levels" and "class" in table else SemStudy
        model.validate(table)
