"""Wiring of ``evaluate_additives``."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.pipelines.evaluate_additives import nodes
from ncm_kedro.pipelines.sem_ingest.nodes import (
    assess_sem_frames,
    build_sem_manifest,
    find_sem_overlaps,
    plan_sem_decoding,
)

PARAMS = "params:evaluate_additives"
MOSAIC = "params:sem_ingest.mosaic"


def create_pipeline() -> Pipeline:
    """Read new electrodes as the training frames were read, predict, score, explain."""
    return pipeline(
        [
            node(
                plan_sem_decoding,
                inputs=[
                    "raw_additive_frames",
                    "params:sem_ingest.labels",
                    "params:sem_ingest.reading",
                ],
                outputs="additive_frames",
                name="decode_additive_frames",
            ),
            node(
                assess_sem_frames,
                inputs=[
                    "additive_frames",
                    "params:sem_ingest.quality",
                    "params:sem_ingest.workers",
                ],
                outputs=["additive_assessed", "additive_rejected_files"],
                name="assess_additive_frames",
            ),
            node(
                find_sem_overlaps,
                inputs=["additive_frames", "additive_assessed", MOSAIC],
                outputs="additive_overlaps",
                name="find_additive_overlaps",
            ),
            node(
                build_sem_manifest,
                inputs=["additive_assessed", "additive_overlaps", MOSAIC],
                outputs=["additive_manifest", "additive_links"],
                name="build_additive_manifest",
            ),
            node(
                nodes.predict_additives,
                inputs={
                    "raw": "raw_additive_frames",
                    "frames": "additive_frames",
                    "manifest": "additive_manifest",
                    "rejected": "additive_rejected_files",
                    "classifier": "sem_classifier_to_apply",
                    "params": PARAMS,
                },
                outputs=["additive_predictions", "additive_rejected"],
                name="predict_additives",
            ),
            node(
                nodes.report_additives,
                inputs={
                    "predictions": "additive_predictions",
                    "rejections": "additive_rejected",
                    "frames": "additive_frames",
                    "classifier": "sem_classifier_to_apply",
                    "reference_frames": "reference_sem_frames",
                    "reference_crops": "reference_sem_crops",
                    "reference_predictions": "reference_sem_predictions",
                    "params": PARAMS,
                },
                outputs=[
                    "additive_report",
                    "additive_metrics",
                    "additive_figure_accuracy",
                    "additive_figure_profiles",
                    "additive_figure_maps",
                ],
                name="report_additives",
            ),
        ],
        tags="sem",
    )
