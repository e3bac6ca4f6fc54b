"""Settings of the crop table."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ncm_kedro.params.base import FrozenParams


class SplitParams(FrozenParams):
    """How the imaged area is divided among training, validation and test."""

    by: Literal["mosaic", "frame"] = "mosaic"
    """``mosaic``: disjoint regions; ``frame``: by file as published, which leaks because frames
    overlap."""

    test_fraction: float = Field(default=0.10, gt=0.0, lt=0.5)
    """Fraction of the imaged area (or frames) of each class for the test."""

    validate_fraction: float = Field(default=0.20, gt=0.0, lt=0.5)
    """Fraction of the rest for validation."""

    min_strip_crops: float = Field(default=1.25, ge=1.0, le=10.0)
    """Minimum width of a strip of the imaged area that is cut off for a split (crop edges)."""

    guard_px: int = Field(default=8, ge=2)
    """Width left unused at each cut (px), wider than the error of mosaic positions."""

    whole_mosaic_tolerance: float = Field(default=0.5, ge=0.0, le=1.0)
    """A whole mosaic is given to a split if its fraction misses the requested one by no more than
    this part of it; otherwise a mosaic is cut."""


class CropParams(FrozenParams):
    """Which crops are taken."""

    size_px: int = Field(default=300, ge=16, le=4096)
    """Edge of a crop in the frame (px)."""

    images_per_class: int = Field(default=400, ge=2)
    """Crops per class for training and validation together."""

    test_images_per_class: int = Field(default=100, ge=1)
    """Crops per class for the test."""

    split: SplitParams = SplitParams()
    """How the imaged area is divided (see there)."""

    candidates_per_crop: int = Field(default=8, ge=1, le=100)
    """Random positions drawn per crop, of which the most distant from those chosen is taken."""

    seed: int = Field(default=0, ge=0)
    """Seed of cuts and positions."""
