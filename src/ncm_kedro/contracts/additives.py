"""Contracts of the tables of `evaluate_additives` and `sem_transfer`."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

from ncm_kedro.contracts.sem import SemCropPredictions


class AdditivePredictions(SemCropPredictions):
    """A row per crop of a new electrode; a column ``p_<class>`` per class follows.

    The columns from ``prediction_set`` on are null for a classifier that was registered before it
    knew them.
    """

    file: Series[str]
    composition: Series[str]
    state: Series[str]
    additive: Series[str]
    x_px: Series[float] = pa.Field(ge=0)
    y_px: Series[float] = pa.Field(ge=0)
    size_px: Series[float] = pa.Field(gt=0)
    predicted_composition: Series[str]
    predicted_state: Series[str]
    prediction_set: Series[str] = pa.Field(nullable=True)
    set_size: Series[pd.Int64Dtype] = pa.Field(ge=1, nullable=True)
    unknown: Series[pd.BooleanDtype] = pa.Field(nullable=True)
    unknown_p: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    energy: Series[float] = pa.Field(nullable=True)
    feature_distance: Series[float] = pa.Field(ge=0, nullable=True)


class AdditiveSetAside(pa.DataFrameModel):
    """A row per file of a new electrode that was not used."""

    file: Series[str]
    reason: Series[str] = pa.Field(str_length={"min_value": 1})


class SemTransfer(pa.DataFrameModel):
    """A row per hold-out and model."""

    kind: Series[str] = pa.Field(isin=("state", "composition", "session"))
    held_out: Series[str]
    head: Series[str] = pa.Field(isin=("composition", "state", "class"))
    model: Series[str]
    balanced_accuracy: Series[float] = pa.Field(ge=0, le=1)
    low: Series[float] = pa.Field(ge=0, le=1)
    high: Series[float] = pa.Field(ge=0, le=1)
    in_session: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    in_session_low: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    in_session_high: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    chance: Series[float] = pa.Field(gt=0, lt=1)
    n_train_crops: Series[int] = pa.Field(gt=0)
    n_test_crops: Series[int] = pa.Field(gt=0)
    n_test_areas: Series[int] = pa.Field(gt=0)

    class Config:
        """A hold-out is tried once with each model."""

        unique: ClassVar[list[str]] = ["kind", "held_out", "model"]
