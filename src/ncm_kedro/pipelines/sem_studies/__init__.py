"""One thing of crops or training varied at a time."""

from ncm_kedro.pipelines.sem_studies.pipeline import create_pipeline

__all__ = ["create_pipeline"]
