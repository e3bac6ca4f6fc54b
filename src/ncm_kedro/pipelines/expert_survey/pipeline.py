"""Wiring of ``expert_survey``."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.pipelines.expert_survey.nodes import (
    draw_expert_survey,
    predict_survey,
    score_expert_survey,
)


def create_pipeline() -> Pipeline:
    """Make a survey and its key, and score the responses that have come back."""
    return pipeline(
        [
            node(
                draw_expert_survey,
                inputs=["sem_frames", "sem_manifest", "sem_crops", "params:expert_survey.draw"],
                outputs=["survey_key", "survey_classes", "survey_quiz"],
                name="draw_expert_survey",
            ),
            node(
                predict_survey,
                inputs={
                    "frames": "sem_frames",
                    "key": "survey_key",
                    "classes": "survey_classes",
                    "classifier": "survey_classifier",
                    "params": "params:sem_classify",
                },
                outputs=["survey_model_responses", "survey_model"],
                name="predict_survey",
            ),
            node(
                score_expert_survey,
                inputs={
                    "key": "survey_key",
                    "classes": "survey_classes",
                    "returned": "raw_survey_responses",
                    "model_responses": "survey_model_responses",
                    "model": "survey_model",
                    "params": "params:expert_survey.score",
                },
                outputs=[
                    "survey_responses",
                    "survey_scores",
                    "survey_comparisons",
                    "survey_summary",
                    "survey_figures",
                ],
                name="score_expert_survey",
            ),
        ],
        tags="sem",
    )
