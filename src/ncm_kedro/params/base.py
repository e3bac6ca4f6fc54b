"""What all parameter models share, and the limits of all served models."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class FrozenParams(BaseModel):
    """Immutable settings; an unknown key or a value out of range is an error, not a surprise."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True
    )


class ServingLimits(FrozenParams):
    """What a served model takes in one request; registered with the model as its `model_config`."""

    max_rows: int = Field(default=32, ge=1)
    """Rows of a request that are predicted; further ones get a problem each."""

    max_megabytes: float = Field(default=64.0, gt=0)
    """Largest image file (10^6 bytes)."""

    max_megapixels: float = Field(default=32.0, gt=0)
    """Largest image (10^6 px), compared before it is decoded."""

    max_scale: float = Field(default=8.0, ge=1)
    """Largest factor by which a frame is enlarged or reduced to the model's pixel size."""

    max_tiles: int = Field(default=48, ge=1)
    """Most tiles of a frame; one of 1280 x 960 px has 20 of 300 px."""
