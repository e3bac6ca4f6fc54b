"""Wiring of ``sem_report``."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.pipelines.sem_report.nodes import write_sem_report
from ncm_kedro.plotting.sem.page import OPTIONAL_RESULTS, PIPELINE_RESULTS


def create_pipeline() -> Pipeline:
    """Gather what ``sem`` found and what other pipelines found so far."""
    results = {name: name for name in (*PIPELINE_RESULTS, *OPTIONAL_RESULTS)}
    return pipeline(
        [
            node(
                write_sem_report,
                inputs={"lineage": "lineage", **results},
                outputs="sem_report",
                name="write_sem_report",
            )
        ],
        tags="sem",
    )
