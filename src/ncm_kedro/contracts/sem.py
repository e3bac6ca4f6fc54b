"""Contracts of the SEM tables (names and order: the project's contract on data sets)."""

from __future__ import annotations

import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

SPLITS = ("train", "validate", "test")
PIXEL_SIZE_SOURCES = ("scale_bar", "metadata", "parameter")


class SemManifest(pa.DataFrameModel):
    """A row per frame that could be read; excluded frames stay, with their reason."""

    frame_id: Series[str] = pa.Field(unique=True)
    file: Series[str] = pa.Field(unique=True)
    class_: Series[str] = pa.Field(alias="class")
    composition: Series[str]
    state: Series[str]
    additive: Series[str] = pa.Field(nullable=True)
    magnification: Series[float] = pa.Field(gt=0, nullable=True)
    accelerating_voltage_kv: Series[float] = pa.Field(gt=0, nullable=True)
    instrument: Series[str] = pa.Field(nullable=True)
    acquired_at: Series[pa.DateTime] = pa.Field(nullable=True, coerce=True)
    height_px: Series[int] = pa.Field(gt=0)
    width_px: Series[int] = pa.Field(gt=0)
    banner_px: Series[int] = pa.Field(ge=0)
    pixel_size_um: Series[float] = pa.Field(gt=0)
    pixel_size_source: Series[str] = pa.Field(isin=PIXEL_SIZE_SOURCES)
    session: Series[str]
    mosaic: Series[str]
    mosaic_x_px: Series[float]
    mosaic_y_px: Series[float]
    flat_fraction: Series[float] = pa.Field(ge=0, le=1)
    clipped_fraction: Series[float] = pa.Field(ge=0, le=1)
    sharpness: Series[float] = pa.Field(ge=0)
    flags: Series[str]
    excluded: Series[bool]
    exclusion_reason: Series[str] = pa.Field(nullable=True)


class SemOverlaps(pa.DataFrameModel):
    """A row per pair of frames that show common ground."""

    frame_a: Series[str]
    frame_b: Series[str]
    dx_px: Series[float]
    dy_px: Series[float]
    score: Series[float] = pa.Field(gt=0)


class SemCrops(pa.DataFrameModel):
    """A row per crop; the pixels stay in the frame store."""

    crop_id: Series[str] = pa.Field(unique=True)
    frame_id: Series[str]
    x_px: Series[int] = pa.Field(ge=0)
    y_px: Series[int] = pa.Field(ge=0)
    size_px: Series[int] = pa.Field(gt=0)
    split: Series[str] = pa.Field(isin=SPLITS)
    class_: Series[str] = pa.Field(alias="class")
    mosaic: Series[str]
    area: Series[str]


class SemCropPredictions(pa.DataFrameModel):
    """A row per test crop; a column ``p_<class>`` per class follows."""

    crop_id: Series[str] = pa.Field(unique=True)
    frame_id: Series[str]
    area: Series[str]
    class_: Series[str] = pa.Field(alias="class")
    predicted: Series[str]
    probability: Series[float] = pa.Field(ge=0, le=1)


class SemTestPredictions(SemCropPredictions):
    """The same from the network, with its sets of classes and its unknown-sample flag."""

    prediction_set: Series[str]
    set_size: Series[int] = pa.Field(ge=1)
    unknown: Series[bool]
    unknown_p: Series[float] = pa.Field(ge=0, le=1)
    energy: Series[float]
    feature_distance: Series[float] = pa.Field(ge=0)


class SemForeignPredictions(pa.DataFrameModel):
    """A row per tile of frames that were excluded as another material; may be empty."""

    frame_id: Series[str]
    area: Series[str]
    predicted: Series[str]
    probability: Series[float] = pa.Field(ge=0, le=1)
    unknown: Series[bool]
    frame_unknown: Series[bool]
    unknown_p: Series[float] = pa.Field(ge=0, le=1)
    energy: Series[float]
    feature_distance: Series[float] = pa.Field(ge=0)


class SemFramePredictions(pa.DataFrameModel):
    """A row per classified frame; a column ``p_<class>`` per class follows.

    The columns from ``prediction_set`` to ``feature_distance`` are null where a frame could not be
    read, and throughout for a classifier that was registered before it knew them.
    """

    file: Series[str] = pa.Field(unique=True)
    predicted: Series[str] = pa.Field(nullable=True)
    composition: Series[str] = pa.Field(nullable=True)
    state: Series[str] = pa.Field(nullable=True)
    probability: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    n_tiles: Series[int] = pa.Field(ge=0)
    prediction_set: Series[str] = pa.Field(nullable=True)
    set_size: Series[pd.Int64Dtype] = pa.Field(ge=1, nullable=True)
    unknown: Series[pd.BooleanDtype] = pa.Field(nullable=True)
    unknown_p: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    energy: Series[float] = pa.Field(nullable=True)
    feature_distance: Series[float] = pa.Field(ge=0, nullable=True)
    problem: Series[str] = pa.Field(nullable=True)
