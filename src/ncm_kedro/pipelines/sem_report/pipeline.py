"""Wiring of ``sem_report``."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.pipelines.sem_report.nodes import write_sem_report

FOUND = (
    "sem_audit",
    "sem_crop_report",
    "sem_trials",
    "sem_learning_curves",
    "sem_test_report",
    "sem_test_predictions",
    "sem_promotion",
)
"""What the page needs."""
FOUND_SO_FAR = (
    "sem_attention_report",
    "sem_map_check",
    "sem_transfer_report",
    "sem_study_reports",
    "additive_report",
    "survey_summary",
)
"""What it shows where it is there; the figures of each come from the folder of figures."""


def create_pipeline() -> Pipeline:
    """Gather what ``sem`` found and what other pipelines found so far."""
    return pipeline(
        [
            node(
                write_sem_report,
                inputs={
                    "figures": "report_figures",
                    "lineage": "lineage",
                    **{name: name for name in (*FOUND, *FOUND_SO_FAR)},
                },
                outputs="sem_report",
                name="write_sem_report",
            )
        ],
        tags="sem",
    )
