"""Settings for the correction of labels by hand."""

from __future__ import annotations

from pydantic import Field

from ncm_kedro.params.base import FrozenParams


class TomoReviewParams(FrozenParams):
    """Which particles are called doubtful; limits do not change any label."""

    max_disagreement: float = Field(default=0.3, gt=0, le=1)
    """Mean range of the probability between the three directions from which a particle is doubtful
    (no unit, 0 to 1)."""

    min_probability: float = Field(default=0.2, ge=0, le=1)
    """Mean fused probability below which a particle is doubtful (no unit, 0 to 1)."""

    max_neck_doubt: float = Field(default=0.5, gt=0)
    """Doubt about a join or a parting from which a particle is doubtful (no unit, 0 to 1)."""

    max_size_factor: float = Field(default=2.5, gt=1)
    """Factor between a whole particle's diameter and the sample's median beyond which it is
    doubtful (no unit)."""

    max_listed: int = Field(default=200, ge=1)
    """Longest list of doubtful particles (count)."""
