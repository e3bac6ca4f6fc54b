"""Where the trained classifier looks, and whether that is on particle boundaries."""

from ncm_kedro.pipelines.sem_explain.pipeline import create_pipeline

__all__ = ["create_pipeline"]
