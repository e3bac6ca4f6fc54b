"""From a tomogram to labelled particles."""

from ncm_kedro.pipelines.tomo_segment.pipeline import create_pipeline

__all__ = ["create_pipeline"]
