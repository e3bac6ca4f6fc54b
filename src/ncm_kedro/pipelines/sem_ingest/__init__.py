"""From raw SEM frames to a manifest with mosaics, quality and an audit."""

from ncm_kedro.pipelines.sem_ingest.pipeline import create_pipeline

__all__ = ["create_pipeline"]
