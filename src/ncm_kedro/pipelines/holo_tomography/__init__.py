"""From X-ray projections at several distances to tomograms that ``tomo_segment`` reads."""

from ncm_kedro.pipelines.holo_tomography.pipeline import create_pipeline

__all__ = ["create_pipeline"]
