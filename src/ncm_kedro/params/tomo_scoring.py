"""Settings for scoring a segmentation where the truth is known."""

from __future__ import annotations

from pydantic import Field

from ncm_kedro.params.base import FrozenParams


class TomoScoringParams(FrozenParams):
    """Which methods are set beside the default one, and on how large a volume."""

    paper_fusion: bool = True
    """Whether the paper's way (mean, threshold, connected components) is scored too."""
    otsu_watershed: bool = True
    """Whether Otsu's threshold with a distance watershed is scored too."""
    slice_linking: bool = True
    """Whether two-dimensional instances, linked from slice to slice, are scored too."""
    max_voxels: int = Field(default=40_000_000, ge=1)
    """Larger volumes are not scored (voxels): the two last methods hold the whole volume."""
    min_volume_um3: float = Field(default=1.0, ge=0)
    """Smaller known particles do not count (um3); the segmentation drops such, too."""
