"""Settings of the expert survey."""

from __future__ import annotations

from pydantic import Field

from ncm_kedro.params.base import FrozenParams


class SurveyDrawParams(FrozenParams):
    """Which pictures are shown, and how."""

    pictures: int = Field(default=19, ge=1, le=200)
    """Pictures in the quiz, shared out evenly among the classes (19 in Oh et al. 2024)."""

    max_side_px: int = Field(default=1280, ge=256, le=4096)
    """Longer side of a picture in the page at most; larger ones are reduced (px)."""

    jpeg_quality: int = Field(default=92, ge=50, le=100)
    """Quality of the pictures in the page, as JPEG encoders count it (no unit)."""

    return_to: str = Field(default="the person who sent you this page", min_length=1)
    """Who the experts send their answers to, such as an e-mail address; shown on the page."""

    seed: int = Field(default=0, ge=0)
    """Seed of the draw and of the order of the pictures."""


class SurveyScoreParams(FrozenParams):
    """Which returned answers count, and how sure the scores are."""

    min_answered: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the pictures that an expert must have answered at least; a file with fewer answers
    is set aside (no unit)."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Level of the intervals (no unit)."""
