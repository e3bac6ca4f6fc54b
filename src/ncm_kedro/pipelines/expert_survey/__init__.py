"""What experts make of the same frames as the model."""

from ncm_kedro.pipelines.expert_survey.pipeline import create_pipeline

__all__ = ["create_pipeline"]
