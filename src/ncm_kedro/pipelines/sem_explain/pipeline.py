"""Wiring of ``sem_explain``."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.pipelines.sem_explain.nodes import (
    check_sem_maps,
    choose_sem_crops,
    explain_sem_crops,
)

SHARED = {
    "frames": "sem_frames",
    "crops": "sem_crops",
    "chosen": "sem_explained_crops",
    "classifier": "sem_calibrated_classifier",
    "params": "params:sem_explain",
}


def create_pipeline() -> Pipeline:
    """Explain the classifier that made the test predictions."""
    return pipeline(
        [
            node(
                choose_sem_crops,
                inputs=["sem_test_predictions", "params:sem_explain"],
                outputs="sem_explained_crops",
                name="choose_sem_crops",
            ),
            node(
                explain_sem_crops,
                inputs={**SHARED, "predictions": "sem_test_predictions"},
                outputs=[
                    "sem_attention",
                    "sem_attention_report",
                    "sem_attention_metrics",
                    "sem_explain_figures",
                ],
                name="explain_sem_crops",
            ),
            node(
                check_sem_maps,
                inputs=SHARED,
                outputs=["sem_map_check", "sem_map_check_figures"],
                name="check_sem_maps",
            ),
        ],
        tags="sem",
    )
