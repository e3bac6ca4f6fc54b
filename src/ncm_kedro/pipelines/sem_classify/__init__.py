"""From unseen frames to composition and state, by a registered classifier."""

from ncm_kedro.pipelines.sem_classify.pipeline import create_pipeline

__all__ = ["create_pipeline"]
