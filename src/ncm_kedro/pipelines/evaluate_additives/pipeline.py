"""Wiring of ``evaluate_additives``."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.pipelines.evaluate_additives import nodes
from ncm_kedro.pipelines.sem_ingest.pipeline import create_reading_pipeline

PARAMS = "params:evaluate_additives"


def create_pipeline() -> Pipeline:
    """Read new electrodes as the training frames were read, predict, score, explain."""
    return _reading() + pipeline(
        [
            node(
                nodes.require_additive_classes,
                inputs=["additive_manifest", "additive_rejected_files"],
                outputs=None,
                name="require_additive_classes",
            ),
            node(
                nodes.find_trained_regions,
                inputs={
                    "frames": "additive_frames",
                    "manifest": "additive_manifest",
                    "classifier": "sem_classifier",
                    "reference_frames": "reference_sem_frames",
                    "reference_manifest": "reference_sem_manifest",
                    "reference_crops": "reference_sem_crops",
                    "mosaic": "params:sem_ingest.mosaic",
                },
                outputs="additive_trained_regions",
                name="find_trained_regions",
            ),
            node(
                nodes.predict_additives,
                inputs={
                    "raw": "raw_additive_frames",
                    "frames": "additive_frames",
                    "manifest": "additive_manifest",
                    "rejected": "additive_rejected_files",
                    "trained_regions": "additive_trained_regions",
                    "classifier": "sem_classifier",
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
                    "trained_regions": "additive_trained_regions",
                    "frames": "additive_frames",
                    "classifier": "sem_classifier",
                    "reference_frames": "reference_sem_frames",
                    "reference_crops": "reference_sem_crops",
                    "reference_predictions": "reference_sem_predictions",
                    "params": PARAMS,
                },
                outputs=["additive_report", "additive_metrics", "additive_figures"],
                name="report_additives",
            ),
        ],
        tags="sem",
    )


def _reading() -> Pipeline:
    reading = create_reading_pipeline()
    return pipeline(
        reading,
        namespace="additives",
        inputs={"raw_sem_frames": "raw_additive_frames"},
        outputs={name: name.replace("sem_", "additive_") for name in reading.all_outputs()},
        parameters={name for name in reading.inputs() if name.startswith("params:")},
    )
