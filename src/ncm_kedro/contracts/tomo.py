"""Contracts of the tomography tables and volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

from ncm_kedro.errors import StoreError
from ncm_kedro.tomo.volumes.volume import Volume

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


def validate_tomograms(volumes: Mapping[str, Volume]) -> None:
    """Check that volumes are what the segmentation works on.

    Parameters
    ----------
    volumes
        Volumes by sample.

    Raises
    ------
    StoreError
        If one is not 3-D, holds no numbers, or has no positive voxel size.
    """
    for volume in volumes.values():
        _check_geometry(volume)
        kind = np.dtype(volume.array.dtype)
        if kind.kind not in "uif" or kind.itemsize > 8:
            _refuse(volume, f"values of type {kind}", "whole or floating numbers")


def validate_labels(volumes: Mapping[str, Volume]) -> None:
    """Check that volumes hold labels, and that their extras match.

    Parameters
    ----------
    volumes
        Label volumes by sample.

    Raises
    ------
    StoreError
        If one is not 3-D, is not uint32, has no positive voxel size, or has an extra of another
        shape.
    """
    for volume in volumes.values():
        _check_geometry(volume)
        kind = np.dtype(volume.array.dtype)
        if kind != np.dtype(np.uint32):
            _refuse(volume, f"values of type {kind}", "labels of type uint32, 0 = background")
        for name, extra in volume.extras.items():
            if tuple(extra.shape) != tuple(volume.array.shape):
                _refuse(volume, f"{name} of shape {extra.shape}", f"shape {volume.array.shape}")


def _check_geometry(volume: Volume) -> None:
    if volume.array.ndim != 3:
        _refuse(volume, f"{volume.array.ndim} axes", "the three axes z, y, x")
    sizes = volume.voxel_size_um
    if len(sizes) != 3 or not all(np.isfinite(size) and size > 0 for size in sizes):
        _refuse(volume, f"voxel size {sizes} um", "three positive voxel edges in um")


def _refuse(volume: Volume, found: str, expected: str) -> None:
    raise StoreError(
        volume.path,
        found=found,
        expected=expected,
        action=f"remove this store and run the pipeline that makes {volume.name} again",
    )
