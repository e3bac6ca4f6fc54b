"""What is known from SEM frames, on one page."""

from ncm_kedro.pipelines.sem_report.pipeline import create_pipeline

__all__ = ["create_pipeline"]
