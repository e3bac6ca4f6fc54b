"""How raw tomograms become volumes."""

from __future__ import annotations

from pydantic import Field

from ncm_kedro.params.base import FrozenParams


class TomoVolumeParams(FrozenParams):
    """What is measured while a tomogram is copied; grey values themselves are never changed."""

    find_field_of_view: bool = True
    """Whether constant grey at the sides is taken as outside the field of view."""

    outside_noise_levels: float = Field(default=2.0, ge=0, le=32)
    """By how much constant grey may waver, as JPEG makes it (levels of 255 over the grey range;
    levels as such for 8-bit data of more than 32 levels)."""

    outside_margin: float = Field(default=0.25, gt=0, le=1)
    """Largest share of a constant region that may lie within the convex hull of the rest (no
    unit). What an image circle leaves out lies beyond it; a saturated particle or a pore not."""

    grey_samples: int = Field(default=4_000_000, ge=10_000, le=200_000_000)
    """Voxels, on a lattice through the volume, from which percentiles are taken."""

    slab_memory_mb: int = Field(default=512, ge=16, le=65_536)
    """Memory for the part of the raw file that one worker holds at a time (MB); a compressed
    section larger than it is decoded more than once."""
