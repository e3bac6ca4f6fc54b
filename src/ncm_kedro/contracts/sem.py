"""Contracts of the SEM tables (names and order: the project's contract on data sets)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

from ncm_kedro.params.sem_studies import STUDIES
from ncm_kedro.sem.crops.regions import SPLITS
from ncm_kedro.sem.explain.crops import KINDS

PIXEL_SIZE_SOURCES = ("frame_table", "metadata", "scale_bar", "parameter")


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
    mosaic_scale: Series[float] = pa.Field(gt=0)
    mosaic_angle_deg: Series[float] = pa.Field(ge=-180, le=180)
    mosaic_mirrored: Series[bool]
    flat_fraction: Series[float] = pa.Field(ge=0, le=1)
    clipped_fraction: Series[float] = pa.Field(ge=0, le=1)
    sharpness: Series[float] = pa.Field(ge=0)
    flags: Series[str]
    excluded: Series[bool]
    exclusion_reason: Series[str] = pa.Field(nullable=True)
    pixel_size_other_um: Series[float] = pa.Field(gt=0, nullable=True)


class SemOverlaps(pa.DataFrameModel):
    """A row per pair of frames that show a common region."""

    frame_a: Series[str]
    frame_b: Series[str]
    dx_px: Series[float]
    dy_px: Series[float]
    scale: Series[float] = pa.Field(gt=0)
    angle_deg: Series[float] = pa.Field(ge=-180, le=180)
    mirrored: Series[bool]
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
    cell: Series[str]


class SemCropPredictions(pa.DataFrameModel):
    """A row per test crop; a column ``p_<class>`` per class follows."""

    crop_id: Series[str] = pa.Field(unique=True)
    frame_id: Series[str]
    area: Series[str]
    class_: Series[str] = pa.Field(alias="class")
    predicted: Series[str]
    probability: Series[float] = pa.Field(ge=0, le=1)


class SemTestPredictions(SemCropPredictions):
    """The same from the network, with its prediction sets and its OOD flag."""

    prediction_set: Series[str]
    set_size: Series[int] = pa.Field(ge=1)
    unknown: Series[bool]
    ood_p_value: Series[float] = pa.Field(ge=0, le=1)
    energy: Series[float]
    feature_distance: Series[float]


class SemOODPredictions(pa.DataFrameModel):
    """A row per tile of frames that were excluded as another material; may be empty."""

    frame_id: Series[str]
    area: Series[str]
    predicted: Series[str]
    probability: Series[float] = pa.Field(ge=0, le=1)
    unknown: Series[bool]
    frame_is_ood: Series[bool]
    ood_p_value: Series[float] = pa.Field(ge=0, le=1)
    energy: Series[float]
    feature_distance: Series[float]


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
    ood_p_value: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    energy: Series[float] = pa.Field(nullable=True)
    feature_distance: Series[float] = pa.Field(nullable=True)
    problem: Series[str] = pa.Field(nullable=True)


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
    ood_p_value: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    energy: Series[float] = pa.Field(nullable=True)
    feature_distance: Series[float] = pa.Field(nullable=True)


class AdditiveRejected(pa.DataFrameModel):
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
    low: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    high: Series[float] = pa.Field(ge=0, le=1, nullable=True)
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


MAPS = ("cam", "guided")
STRENGTHS = ("ratio", "control", "untrained", "ceiling", "boundary", "inside", "between")


class SemExplainedCrops(pa.DataFrameModel):
    """A row per chosen test crop and class that is explained for it."""

    kind: Series[str] = pa.Field(isin=KINDS)
    crop_id: Series[str]
    frame_id: Series[str]
    area: Series[str]
    class_: Series[str] = pa.Field(alias="class")
    predicted: Series[str]
    probability: Series[float] = pa.Field(ge=0, le=1)
    runner_up: Series[str]
    margin: Series[float] = pa.Field(ge=0, le=1)
    target: Series[str]
    target_rank: Series[int] = pa.Field(isin=(1, 2))
    p_target: Series[float] = pa.Field(ge=0, le=1)


class SemAttention(SemExplainedCrops):
    """The same, with where the maps lie; null where a map is empty or a region is missing."""

    boundary_fraction: Series[float] = pa.Field(ge=0, le=1)
    strengths: Series[float] = pa.Field(
        alias=rf"^({'|'.join(MAPS)})_({'|'.join(STRENGTHS)})$", regex=True, ge=0, nullable=True
    )
    shares: Series[float] = pa.Field(
        alias=rf"^({'|'.join(MAPS)})_p$", regex=True, ge=0, le=1, nullable=True
    )


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
    best_epoch: Series[pd.Int64Dtype] = pa.Field(ge=0, nullable=True)
    seconds_per_epoch: Series[float] = pa.Field(gt=0, nullable=True)
    n_train_crops: Series[pd.Int64Dtype] = pa.Field(gt=0, nullable=True)
    n_test_crops: Series[pd.Int64Dtype] = pa.Field(gt=0, nullable=True)
    n_test_areas: Series[pd.Int64Dtype] = pa.Field(gt=0, nullable=True)
    train_area_mm2: Series[float] = pa.Field(gt=0, nullable=True)
    test_disjoint_crops: Series[float] = pa.Field(gt=0, nullable=True)
    leaking: Series[pd.BooleanDtype] = pa.Field(nullable=True)
    skipped: Series[str] = pa.Field(nullable=True)

    @pa.dataframe_check
    def _scored_or_explained(cls, table: pd.DataFrame) -> pd.Series:
        explained: pd.Series = table["skipped"].notna() == table["balanced_accuracy"].isna()
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


# By the names of their data sets, for the pattern of the catalog.
sem_test_predictions = SemTestPredictions
sem_baseline_predictions = SemCropPredictions
sem_ood_predictions = SemOODPredictions
