"""From measured particles to what goes with their damage."""

from ncm_kedro.pipelines.damage_attribution.pipeline import create_pipeline

__all__ = ["create_pipeline"]
