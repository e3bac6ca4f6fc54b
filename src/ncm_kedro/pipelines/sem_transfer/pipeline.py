"""Wiring of ``sem_transfer``."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.pipelines.sem_transfer.nodes import study_sem_transfer


def create_pipeline() -> Pipeline:
    """Train with something left out, in turn, and test on that."""
    return pipeline(
        [
            node(
                study_sem_transfer,
                inputs={
                    "frames": "sem_frames",
                    "crops": "sem_crops",
                    "manifest": "sem_manifest",
                    "crop_report": "sem_crop_report",
                    "folder": "sem_transfer_folder",
                    "params": "params:sem_transfer",
                },
                outputs=[
                    "sem_transfer_scores",
                    "sem_transfer_report",
                    "sem_transfer_metrics",
                    "sem_transfer_figure_scores",
                ],
                name="study_sem_transfer",
            )
        ],
        tags="sem",
    )
