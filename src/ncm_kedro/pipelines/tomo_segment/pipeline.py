"""Wiring of ``tomo_segment``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline, node, pipeline

from ncm_kedro.pipelines.tomo_segment import nodes

COMPUTE = "params:tomo_segment.compute"


def create_pipeline() -> Pipeline:
    """Read, fuse three directions, label, list, score where the truth is known, report."""
    return pipeline([*_segmenting(), *_evaluating()], tags="tomo")


def _segmenting() -> list[Node]:
    return [
        node(
            nodes.ingest_tomograms,
            inputs=["raw_tomograms", "holo_tomograms", "params:tomo_segment.volumes", COMPUTE],
            outputs="tomograms",
            name="ingest_tomograms",
        ),
        node(
            nodes.tabulate_samples,
            inputs=["raw_tomograms", "holo_tomograms", "tomograms"],
            outputs="tomogram_table",
            name="tabulate_tomograms",
        ),
        node(
            nodes.fuse_directions,
            inputs=[
                "tomograms",
                "tomogram_table",
                "particle_detector_to_apply",
                "params:tomo_segment.fusion",
                COMPUTE,
            ],
            outputs="particle_probability",
            name="fuse_three_directions",
        ),
        node(
            nodes.label_particles,
            inputs=[
                "tomograms",
                "tomogram_table",
                "particle_probability",
                "params:tomo_segment.instances",
                COMPUTE,
            ],
            outputs="particle_labels",
            name="label_particles",
        ),
        node(
            nodes.list_labelled_particles,
            inputs=[
                "tomograms",
                "tomogram_table",
                "particle_probability",
                "particle_labels",
                COMPUTE,
            ],
            outputs="tomo_particles",
            name="list_particles",
        ),
    ]


def _evaluating() -> list[Node]:
    return [
        node(
            nodes.label_by_baselines,
            inputs={
                "tomograms": "tomograms",
                "table": "tomogram_table",
                "probability": "particle_probability",
                "labels": "particle_labels",
                "truth": "tomogram_truth",
                "detector": "particle_detector_to_apply",
                "instances": "params:tomo_segment.instances",
                "scoring": "params:tomo_segment.scoring",
                "compute": COMPUTE,
            },
            outputs="tomo_baseline_labels",
            name="label_by_baselines",
        ),
        node(
            nodes.score_methods,
            inputs={
                "table": "tomogram_table",
                "labels": "particle_labels",
                "baseline_labels": "tomo_baseline_labels",
                "truth": "tomogram_truth",
                "scoring": "params:tomo_segment.scoring",
            },
            outputs=["tomo_scores", "tomo_score_metrics"],
            name="score_segmentation",
        ),
        node(
            nodes.write_tomo_report,
            inputs={
                "tomograms": "tomograms",
                "table": "tomogram_table",
                "probability": "particle_probability",
                "labels": "particle_labels",
                "baseline_labels": "tomo_baseline_labels",
                "particles": "tomo_particles",
                "scores": "tomo_scores",
                "truth": "tomogram_truth",
                "detector": "particle_detector_to_apply",
                "review": "params:tomo_review",
            },
            outputs=["tomo_figures", "tomo_report"],
            name="write_tomo_report",
        ),
    ]
