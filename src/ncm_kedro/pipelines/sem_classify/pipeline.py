"""Wiring of ``sem_classify``."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.pipelines.sem_classify.nodes import classify_sem_frames


def create_pipeline() -> Pipeline:
    """Apply a registered classifier to a folder of unseen frames."""
    return pipeline(
        [
            node(
                classify_sem_frames,
                inputs=[
                    "raw_unseen_frames",
                    "sem_classifier",
                    "params:sem_ingest.reading",
                    "params:sem_classify",
                ],
                outputs=["sem_frame_predictions", "sem_frame_sheet"],
                name="classify_sem_frames",
            )
        ],
        tags="sem",
    )
