"""Settings of `sem_classify`, `evaluate_additives` and the expert survey."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ncm_kedro.params.base import FrozenParams
from ncm_kedro.params.sem_explain import MapWeighting
from ncm_kedro.params.tune_train import ResampledParams


class ClassifyParams(FrozenParams):
    """How whole frames are classified."""

    overlap: float = Field(default=0.0, ge=0.0, lt=0.9)
    """Minimum overlap of neighbouring tiles (fraction of a tile); tiles always cover the frame."""

    pixel_size_tolerance: float = Field(default=0.02, ge=0.0, lt=0.5)
    """Relative difference in pixel size up to which a frame is not resampled."""

    max_scale: float = Field(default=16.0, ge=1)
    """Largest factor by which a frame is enlarged or reduced to the model's pixel size; a frame
    beyond it has a wrong pixel size, or is of another magnification than the model knows."""

    max_tiles: int = Field(default=10_000, ge=1)
    """Most tiles of a frame."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs."""

    threads: int = Field(default=2, ge=1, le=64)
    """Threads that cut tiles."""

    sheet_frames: int = Field(default=24, ge=1, le=200)
    """Frames on the overlay sheet, those of lowest confidence first."""


class SemAdditivesParams(ResampledParams):
    """How a registered classifier is evaluated on unseen electrodes."""

    overlap: float = Field(default=0.0, ge=0.0, lt=0.9)
    """Minimum overlap of neighbouring crops of a frame, as a fraction of a crop."""

    map_pairs: int = Field(default=6, ge=1, le=24)
    """Conditions shown with Grad-CAM, with and without additive side by side."""

    weighting: MapWeighting = "element"
    """Weight of a feature in Grad-CAM: its own gradient (`element`) or its channel's mean gradient
    (`mean`)."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs."""

    @property
    def tiling(self) -> ClassifyParams:
        """How frames are cut and classified."""
        return ClassifyParams(overlap=self.overlap, device=self.device)


class SurveyDrawParams(FrozenParams):
    """Which images are shown, and how."""

    pictures: int = Field(default=19, ge=1, le=200)
    """Images in the survey, evenly distributed over the classes (19 in Oh et al. 2024)."""

    max_side_px: int = Field(default=1280, ge=256, le=4096)
    """Longer side of an image in the page at most; larger ones are reduced (px)."""

    jpeg_quality: int = Field(default=92, ge=50, le=100)
    """Quality of the images in the page, as JPEG encoders count it (no unit)."""

    return_to: str = Field(default="the person who sent you this page", min_length=1)
    """Who the experts send their responses to, such as an e-mail address; shown on the page."""

    seed: int = Field(default=0, ge=0)
    """Seed of the draw and of the order of the images."""


class SurveyScoreParams(FrozenParams):
    """Which returned responses count, and the level of the intervals."""

    min_response_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """Minimum fraction of the images with a response of the expert; a file with fewer responses
    is rejected (no unit)."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Level of the intervals (no unit)."""
