"""Settings of `evaluate_additives`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ncm_kedro.params.sem_classify import ClassifyParams
from ncm_kedro.params.sem_explain import MapWeighting
from ncm_kedro.params.tune_train import ResampledParams


class SemAdditivesParams(ResampledParams):
    """How a registered classifier is judged on electrodes that it never saw."""

    overlap: float = Field(default=0.0, ge=0.0, lt=0.9)
    """Least overlap of neighbouring crops of a frame, as a share of a crop."""

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
