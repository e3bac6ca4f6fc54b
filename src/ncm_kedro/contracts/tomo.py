"""Contracts of the tomography tables and volumes."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

CHANGE_KINDS = ("deleted", "added", "merged", "split", "reshaped", "renumbered", "rearranged")


class TomogramTable(pa.DataFrameModel):
    """A row per sample that was found, also of those that were rejected."""

    sample: Series[str] = pa.Field(unique=True)
    file: Series[str]
    fingerprint: Series[str] = pa.Field(nullable=True)
    size_z_vx: Series[pd.Int64Dtype] = pa.Field(gt=0, nullable=True, coerce=True)
    size_y_vx: Series[pd.Int64Dtype] = pa.Field(gt=0, nullable=True, coerce=True)
    size_x_vx: Series[pd.Int64Dtype] = pa.Field(gt=0, nullable=True, coerce=True)
    dtype: Series[str] = pa.Field(nullable=True)
    voxel_z_um: Series[float] = pa.Field(gt=0, nullable=True)
    voxel_y_um: Series[float] = pa.Field(gt=0, nullable=True)
    voxel_x_um: Series[float] = pa.Field(gt=0, nullable=True)
    voxel_size_source: Series[str] = pa.Field(nullable=True)
    warnings: Series[str] = pa.Field(nullable=True)
    cycles: Series[float] = pa.Field(ge=0, nullable=True, coerce=True)
    c_rate: Series[float] = pa.Field(gt=0, nullable=True, coerce=True)
    axis_to_collector: Series[str] = pa.Field(nullable=True)
    field_of_view_fraction: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    grey_unit: Series[str] | None = pa.Field(nullable=True)
    """Unit of the grey values where they have one, as e/A3; tables of earlier runs lack it."""
    grey_low: Series[float] = pa.Field(nullable=True)
    grey_median: Series[float] = pa.Field(nullable=True)
    grey_high: Series[float] = pa.Field(nullable=True)
    rejected_reason: Series[str] = pa.Field(nullable=True)


class ParticleListTable(pa.DataFrameModel):
    """A row per particle; places in um from the volume's first corner, its box in voxels."""

    sample: Series[str]
    particle_id: Series[int] = pa.Field(gt=0, coerce=True)
    z_um: Series[float] = pa.Field(ge=0)
    y_um: Series[float] = pa.Field(ge=0)
    x_um: Series[float] = pa.Field(ge=0)
    z_start_vx: Series[int] = pa.Field(ge=0, coerce=True)
    y_start_vx: Series[int] = pa.Field(ge=0, coerce=True)
    x_start_vx: Series[int] = pa.Field(ge=0, coerce=True)
    z_stop_vx: Series[int] = pa.Field(ge=0, coerce=True)
    y_stop_vx: Series[int] = pa.Field(ge=0, coerce=True)
    x_stop_vx: Series[int] = pa.Field(ge=0, coerce=True)
    voxel_count: Series[int] = pa.Field(gt=0, coerce=True)
    volume_um3: Series[float] = pa.Field(gt=0)
    equivalent_diameter_um: Series[float] = pa.Field(gt=0)
    touches_border: Series[bool]
    probability: Series[float] = pa.Field(ge=0, le=1)
    disagreement: Series[float] = pa.Field(ge=0, le=1)
    crack_fraction: Series[float] = pa.Field(ge=0, le=1)
    neck_uncertainty: Series[float] = pa.Field(ge=0, le=1)
    inner_radius_um: Series[float] = pa.Field(ge=0, nullable=True)

    class Config:
        """A particle is listed once."""

        unique: ClassVar[list[str]] = ["sample", "particle_id"]


class SegmentationScores(pa.DataFrameModel):
    """A row per sample and method, against known labels."""

    sample: Series[str]
    method: Series[str]
    n_true: Series[int] = pa.Field(ge=0, coerce=True)
    n_predicted: Series[int] = pa.Field(ge=0, coerce=True)
    ap_50: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    ap_70: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    ap_90: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    panoptic_quality: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    precision: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    recall: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    mean_iou: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    splits: Series[int] = pa.Field(ge=0, coerce=True)
    merges: Series[int] = pa.Field(ge=0, coerce=True)
    surface_mean_um: Series[float] = pa.Field(ge=0, nullable=True)
    surface_p95_um: Series[float] = pa.Field(ge=0, nullable=True)

    class Config:
        """A method is scored once on a sample."""

        unique: ClassVar[list[str]] = ["sample", "method"]


class ReviewLog(pa.DataFrameModel):
    """A row per change that was made by hand."""

    sample: Series[str]
    time: Series[str]
    user: Series[str]
    kind: Series[str] = pa.Field(isin=CHANGE_KINDS)
    particles_before: Series[str]
    particles_after: Series[str]
    voxels_changed: Series[int] = pa.Field(ge=0, coerce=True)
    original_fingerprint: Series[str]
