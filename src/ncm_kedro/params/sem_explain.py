"""Settings of `sem_explain`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ncm_kedro.params.base import FrozenParams
from ncm_kedro.params.tune_train import ResampledParams

MapWeighting = Literal["element", "mean"]


class CropChoiceParams(FrozenParams):
    """Which test crops are explained."""

    confident: int = Field(default=1, ge=1, le=100)
    """Correct crops of highest probability, per true class."""

    random: int = Field(default=8, ge=1, le=1000)
    """Crops drawn at random, spread over the areas, per true class; the ratios rest on these."""

    misclassified: int = Field(default=1, ge=0, le=100)
    """Wrong crops of highest probability, per true class; the two leading classes are explained."""

    uncertain: int = Field(default=1, ge=0, le=100)
    """Crops whose two leading classes are closest in probability, per true class."""

    crop_ids: tuple[str, ...] = ()
    """Test crops that are explained in any case, by `crop_id`."""

    seed: int = Field(default=0, ge=0)
    """Seed of the random draw."""


class BoundaryParams(FrozenParams):
    """How particles are outlined in a crop."""

    particle_um: float = Field(default=6.0, gt=0)
    """Diameter of a typical particle; seeds lie a third of it apart or more, um."""

    smoothing_um: float = Field(default=0.8, gt=0)
    """Standard deviation of the smoothing against noise and primary grains, um."""

    band_um: float = Field(default=1.5, gt=0)
    """Width of the band along an outline that counts as boundary, um."""


class AttentionParams(ResampledParams):
    """How attention to boundaries is tested."""

    shifts: int = Field(default=199, ge=19, le=9999)
    """Random placements (shift, rotation, flip) that a map is compared with."""


class MapCheckParams(FrozenParams):
    """How it is checked that maps depend on what the network has learnt."""

    crops: int = Field(default=12, ge=1, le=1000)
    """Crops that the check uses, of those drawn at random."""

    max_correlation: float = Field(default=0.5, gt=0.0, le=1.0)
    """Mean rank correlation of maps with and without learnt weights from which a warning is given;
    1 is the same map."""


class SemExplainParams(FrozenParams):
    """How a classifier is explained."""

    choice: CropChoiceParams = CropChoiceParams()
    """Which crops."""

    boundary: BoundaryParams = BoundaryParams()
    """What counts as a particle boundary."""

    attention: AttentionParams = AttentionParams()
    """How attention to boundaries is tested."""

    check: MapCheckParams = MapCheckParams()
    """How the maps are checked."""

    weighting: MapWeighting = "element"
    """Weight of a feature: its own gradient (`element`) or its channel's mean gradient (`mean`).
    Both are the same for networks that average their last map, such as EfficientNet."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs."""

    batch_size: int = Field(default=16, ge=1, le=1024)
    """Crops explained at once."""
