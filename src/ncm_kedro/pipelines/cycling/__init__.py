"""From cyclers' exports to capacity, retention and efficiency, beside the SEM frames."""

from ncm_kedro.pipelines.cycling.pipeline import create_join_pipeline, create_pipeline

__all__ = ["create_join_pipeline", "create_pipeline"]
