"""Training of the particle detector."""

from ncm_kedro.pipelines.tomo_train.pipeline import create_pipeline

__all__ = ["create_pipeline"]
