"""Settings for turning fused maps into labelled particles."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ncm_kedro.params.base import FrozenParams


class RefineParams(FrozenParams):
    """How the outline of each particle is fitted to the grey values.

    Every length acts as at least what it says in voxels too, so that coarse volumes are refined.
    """

    enabled: bool = True
    """False keeps the outlines of the flooding; then no cracks are marked."""
    smoothing_vx: float = Field(default=0.7, ge=0, le=5)
    """Standard deviation of the Gaussian that calms the grey values (voxels; 0: none)."""
    trim_um: float = Field(default=0.25, ge=0, le=20)
    """Depth below the flooded outline down to which dark voxels may be cut off (um)."""
    trim_vx: float = Field(default=3.0, ge=0, le=50)
    """The same depth in voxels; the larger of the two counts."""
    grow_um: float = Field(default=0.15, ge=0, le=20)
    """Distance beyond the flooded outline up to which bright voxels may be taken in (um)."""
    grow_vx: float = Field(default=2.0, ge=0, le=50)
    """The same distance in voxels; the larger of the two counts."""
    closing_um: float = Field(default=0.4, ge=0, le=20)
    """Radius of the closing: cracks that open to the outside keep their mouth within the flooded
    outline if they are less than twice this wide (um)."""
    closing_vx: float = Field(default=4.0, ge=0, le=50)
    """The same radius in voxels; the larger of the two counts."""
    opening_vx: float = Field(default=1.0, ge=0, le=20)
    """Spurs of the outline thinner than twice this are removed (voxels; 0: none)."""
    gap_vx: int = Field(default=2, ge=0, le=20)
    """Blurred voxels beside the outline that do not count as a particle's surrounding (voxels)."""
    shell_vx: int = Field(default=3, ge=1, le=20)
    """Thickness of the surrounding, beyond the gap, that a particle is told from (voxels)."""
    min_crack_vx: int = Field(default=8, ge=1)
    """Smallest connected void or crack that is marked (voxels)."""
    max_cutout_vx: int = Field(default=40_000_000, ge=4096)
    """Particles whose bounding box holds more voxels keep their flooded outline (voxels)."""


class TomoInstanceParams(FrozenParams):
    """How particles are told apart, outlined and sifted."""

    fusion: Literal["watershed", "paper"] = "watershed"
    """``paper``: threshold and connected components, as Li et al. 2022 say; ``watershed``: seeds,
    flooding, and merges checked by the predicted distances."""
    threshold: float = Field(default=0.3, gt=0, lt=1)
    """``paper`` alone: fused probability from which a voxel is particle (0-1). The text gives none;
    of 0.1, 0.15, 0.2, 0.3 and 0.5 this one scored best on phantoms."""
    connectivity: Literal[6, 18, 26] = 26
    """``paper`` alone: neighbours that connect."""
    smoothing_vx: float = Field(default=1.0, ge=0, le=10)
    """``watershed``: standard deviation of the Gaussian over the map that is flooded (voxels)."""
    outline_probability: float = Field(default=0.02, ge=0, lt=1)
    """``watershed``: fused probability that a voxel of a particle must exceed (0-1); it falls to
    nothing at the outline, so that a higher value cuts a share of the radius off."""
    outline_steps: int = Field(default=5, ge=0, le=40)
    """``watershed``: fused distance to the outline that a voxel of a particle must exceed, so that
    one direction alone adds no spur (steps of the stored map, quarters of a voxel of the network's
    grid). The refinement gives the same distance back; without refinement it counts as 0."""
    seed_probability: float = Field(default=0.5, gt=0, lt=1)
    """``watershed``: fused probability that a particle reaches somewhere, and that two parts of
    one particle have all the way between them (0-1)."""
    merge_saddle_share: float = Field(default=0.7, ge=0, le=1)
    """``watershed``: two basins are one particle only if the probability between them falls to no
    less than this share of the lower of the two peaks (no unit)."""
    absorb_share: float = Field(default=0.6, ge=0, le=1)
    """``watershed``: a basin without a seed belongs to a neighbour if the probability between them
    falls to no less than this share of its peak; else it is debris (no unit)."""
    merge_neck_share: float = Field(default=0.5, ge=0, le=1)
    """``watershed``: two basins are two particles if the neck between them is narrower than this
    share of the smaller one's inner radius (no unit)."""
    min_volume_um3: float = Field(default=1.0, ge=0)
    """Smaller particles are dropped (um3); 1 um3 is a ball of 1.24 um."""
    refine: RefineParams = RefineParams()
    """How outlines are fitted to the grey values (see there)."""
