"""Settings of the synthetic SEM data set."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from ncm_kedro.params.base import FrozenParams

BANNER_PX = 64
"""Height of the data banner under every frame, as on the SNE-4500M Plus."""

Composition = Annotated[str, Field(pattern=r"^[0-9]{3}$")]
"""Three digits, the parts of nickel, cobalt and manganese."""

State = Annotated[str, Field(pattern=r"^[a-z]+$")]
"""Lower-case name of an ageing state."""


class AdditiveParams(FrozenParams):
    """What an additive does to the particles of an electrode."""

    name: str = Field(default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9.+-]*)?$")
    """Name, as the folder carries it behind `__`; empty for no additive."""
    ageing_signal: float = Field(default=1.0, ge=0.0, le=1.0)
    """Fraction of the damage of its state that an electrode shows; 0: it looks pristine."""
    boundary_jitter: float = Field(default=0.0, ge=0.0, le=0.2)
    """Added to the standard deviation of a particle's boundary radius over its mean."""


class SynthesiseSemParams(FrozenParams):
    """What the synthetic SEM data set holds and how strongly its classes differ."""

    compositions: tuple[Composition, ...] = ("333", "523", "622", "811")
    """Parts of nickel, cobalt and manganese; the mean particle diameter falls with nickel."""
    states: tuple[State, ...] = ("pristine", "formation", "cycled")
    """Ageing states, least damaged first."""
    additives: tuple[AdditiveParams, ...] = Field(default=(AdditiveParams(),), min_length=1)
    """Additives that every class is there with, each by itself."""
    frames_per_class: int = Field(default=48, ge=1, le=2000)
    """Frames per class, shared out over its series."""
    series_per_class: int = Field(default=4, ge=1, le=200)
    """Drift series (disjoint fields of view) per class."""
    width_px: int = Field(default=1280, ge=320, le=4096)
    """Frame width in pixels."""
    height_px: int = Field(default=960, ge=256, le=4096)
    """Frame height in pixels, including the 64-px banner."""
    pixel_size_um: float = Field(default=100.0 / 371.0, ge=0.05, le=2.0)
    """Edge length of a pixel in um; the banner's scale bar is drawn to it."""
    overlap_range: tuple[float, float] = (0.60, 0.97)
    """Smallest and largest fraction of its area that a frame has in common with the one before."""
    class_signal: float = Field(default=1.0, ge=0.0, le=1.0)
    """Strength of the true class difference; 0: all classes share one particle distribution."""
    acquisition_confound: float = Field(default=0.0, ge=0.0, le=1.0)
    """Fraction of series recorded with settings of their class's own session; 0: every session
    records all classes alike, 1: class and session are one, as in the published data."""
    noise: float = Field(default=1.0, ge=0.0, le=3.0)
    """Strength of shot noise, charging bands and scan-line jitter; 0: overlaps are identical."""
    special_cases: bool = True
    """Whether to plant bare, clipped, LCO and badly documented frames and stray files."""
    lco_frames: int = Field(default=4, ge=0, le=500)
    """Frames of LCO plates simulated in the folder of the pristine nickel-richest class."""
    jpeg_quality: int = Field(default=90, ge=50, le=100)
    """JPEG quality, 0-100, of the written frames."""
    seed: int = Field(default=20240115, ge=0)
    """Seed of the whole data set."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that render series; the frames do not depend on it."""

    @model_validator(mode="after")
    def check_consistency(self) -> Self:
        """Check what no single field can: order of ranges, repeats, series without frames."""
        low, high = self.overlap_range
        if not 0.3 <= low < high <= 0.995:
            raise ValueError(f"overlap_range {low, high} must rise within 0.3-0.995")
        for name in ("compositions", "states"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} {values} must name at least one and repeat none")
        names = [additive.name for additive in self.additives]
        if len(set(names)) != len(names):
            raise ValueError(f"additives {names} must repeat no name")
        if self.series_per_class > self.frames_per_class:
            raise ValueError(
                f"series_per_class {self.series_per_class} exceeds frames_per_class "
                f"{self.frames_per_class}; every series needs a frame"
            )
        if any(int(c[0]) + int(c[1]) + int(c[2]) == 0 for c in self.compositions):
            raise ValueError("a composition needs at least one part of a metal")
        return self

    @property
    def view_height_px(self) -> int:
        """Height of the micrograph above the banner in pixels."""
        return self.height_px - BANNER_PX
