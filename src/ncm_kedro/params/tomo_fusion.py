"""Settings for the particle probability fused from sections in three directions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ncm_kedro.params.base import FrozenParams


class TomoFusionParams(FrozenParams):
    """How sections are scaled, cut and fused."""

    particle_diameter_um: float | None = Field(default=None, gt=0)
    """Median diameter of a particle, which is scaled to what the network was trained around (um);
    null: measured on sections through the volume."""

    keep_scale_within: float = Field(default=1.25, ge=1, le=4)
    """Factor by which the wanted scale may differ from that of a volume with cubic voxels before
    the volume is resampled (no unit)."""

    max_enlargement: float = Field(default=3.0, ge=1, le=8)
    """Largest factor by which a volume of small particles is enlarged (no unit)."""

    distance_fusion: Literal["mean", "median"] = "mean"
    """How the distances to the outline of three directions become one."""

    min_probability: float = Field(default=0.05, ge=0, lt=1)
    """Probability in a section below which its distance counts as 0 (no unit): the network learns
    no distance outside particles."""

    slab_vx: int = Field(default=64, ge=32, le=512, multiple_of=32)
    """Thickness of a slab of sections, and edge of a chunk on disk, on the working grid (voxels);
    memory and the work that a kill can lose grow with it."""

    tile_px: int = Field(default=1024, ge=64, le=8192, multiple_of=16)
    """Edge of the tiles that larger sections are cut into (px); memory grows with its square."""

    batch_px: int = Field(default=1_000_000, ge=10_000)
    """Pixels that go through the network at once (px); at least one section or tile."""
