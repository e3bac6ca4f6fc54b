"""Wiring of ``tomo_review``."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.pipelines.tomo_review import nodes


def create_pipeline() -> Pipeline:
    """Take edits back, log what they changed, and write a project for napari per sample."""
    return pipeline(
        [
            node(
                nodes.import_edits,
                inputs=[
                    "particle_labels",
                    "tomogram_table",
                    "tomo_review_edits",
                    "params:tomo_segment.compute",
                ],
                outputs=["particle_labels_reviewed", "tomo_review_log"],
                name="import_edits",
            ),
            node(
                nodes.plan_projects,
                inputs={
                    "tomograms": "tomograms",
                    "table": "tomogram_table",
                    "probability": "particle_probability",
                    "labels": "particle_labels",
                    "particles": "tomo_particles",
                    "review": "params:tomo_review",
                },
                outputs="tomo_review_projects",
                name="write_review_projects",
            ),
        ],
        tags="tomo",
    )
