"""Wiring of ``sem_studies``."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.pipelines.sem_studies.nodes import run_sem_studies


def create_pipeline() -> Pipeline:
    """Run the studies that ``params:study`` names."""
    return pipeline(
        [
            node(
                run_sem_studies,
                inputs={
                    "frames": "sem_frames",
                    "manifest": "sem_manifest",
                    "folder": "sem_studies_folder",
                    "study": "params:study",
                    "crops": "params:crop_augment",
                    "params": "params:sem_studies",
                },
                outputs=["sem_study_scores", "sem_study_reports", "sem_study_figures"],
                name="run_sem_studies",
            )
        ],
        tags="sem",
    )
