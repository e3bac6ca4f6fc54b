"""A registered classifier on electrodes that it never saw, such as those with additives."""

from ncm_kedro.pipelines.evaluate_additives.pipeline import create_pipeline

__all__ = ["create_pipeline"]
