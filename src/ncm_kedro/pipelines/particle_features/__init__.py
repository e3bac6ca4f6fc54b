"""From labelled particles to their attributes."""

from ncm_kedro.pipelines.particle_features.pipeline import create_pipeline

__all__ = ["create_pipeline"]
