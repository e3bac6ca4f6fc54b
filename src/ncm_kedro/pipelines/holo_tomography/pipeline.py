"""Wiring of ``holo_tomography``."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.pipelines.holo_tomography import nodes


def create_pipeline() -> Pipeline:
    """Reconstruct every scan, and report on it; ``tomo_segment`` reads the volumes."""
    return pipeline(
        [
            node(
                nodes.reconstruct_scans,
                inputs=[
                    "raw_scans",
                    "params:holo_tomography.methods",
                    "params:holo_tomography.compute",
                ],
                outputs="holo_tomograms",
                name="reconstruct_scans",
            ),
            node(
                nodes.report_scans,
                inputs=["raw_scans", "holo_tomograms"],
                outputs=["holo_figures", "holo_report"],
                name="report_scans",
            ),
        ],
        tags="holo",
    )
