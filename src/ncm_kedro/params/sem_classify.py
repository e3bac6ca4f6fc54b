"""Settings of `sem_classify`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ncm_kedro.params.base import FrozenParams


class ClassifyParams(FrozenParams):
    """How whole frames are classified."""

    overlap: float = Field(default=0.0, ge=0.0, lt=0.9)
    """Least overlap of neighbouring tiles, as a share of a tile; tiles always cover the frame."""

    pixel_size_tolerance: float = Field(default=0.02, ge=0.0, lt=0.5)
    """Relative difference in pixel size up to which a frame is not resampled."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs."""

    threads: int = Field(default=2, ge=1, le=64)
    """Threads that cut tiles."""

    sheet_frames: int = Field(default=24, ge=1, le=200)
    """Frames on the overlay sheet; the least certain ones are shown first."""
