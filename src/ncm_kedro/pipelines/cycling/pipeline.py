"""Wiring of ``cycling``."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.pipelines.cycling import nodes


def create_pipeline() -> Pipeline:
    """Measure, summarise and report; no SEM data is needed."""
    return pipeline(
        [
            node(
                nodes.measure_cycling,
                inputs=["raw_cycling", "params:cycling"],
                outputs=[
                    "cycling_cycles",
                    "cycling_curves",
                    "cycling_bad_rows",
                    "cycling_files",
                    "cycling_cells",
                ],
                name="measure_cycling",
            ),
            node(
                nodes.summarise_cycling,
                inputs="cycling_cycles",
                outputs="cycling_summary",
                name="summarise_cycling",
            ),
            node(
                nodes.report_cycling,
                inputs={
                    "summary": "cycling_summary",
                    "curves": "cycling_curves",
                    "cells": "cycling_cells",
                    "bad_rows": "cycling_bad_rows",
                    "files": "cycling_files",
                    "params": "params:cycling",
                },
                outputs=["cycling_figures", "cycling_report"],
                name="report_cycling",
            ),
        ],
        tags="cycling",
    )


def create_join_pipeline() -> Pipeline:
    """Set the cells beside the SEM frames of `sem_ingest`."""
    return pipeline(
        [
            node(
                nodes.join_cycling_to_frames,
                inputs=["sem_manifest", "cycling_cells"],
                outputs=["cycling_frames", "cycling_frames_report"],
                name="join_cycling_to_frames",
            )
        ],
        tags="cycling",
    )
