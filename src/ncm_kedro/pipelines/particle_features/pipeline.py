"""Wiring of ``particle_features``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline, node, pipeline

from ncm_kedro.pipelines.particle_features import nodes

ATTRIBUTES = "params:particle_features.attributes"
FIGURES = "params:particle_features.figures"


def create_pipeline() -> Pipeline:
    """Measure, tabulate, compare, set beside the truth where it is known, export, report."""
    return pipeline([*_measuring(), *_using(), *_showing()], tags="tomo")


def _measuring() -> list[Node]:
    return [
        node(
            nodes.measure_particles,
            inputs={
                "tomograms": "tomograms",
                "table": "tomogram_table",
                "labels": "particle_labels",
                "reviewed": "particle_labels_reviewed",
                "edits": "tomo_review_edits",
                "attributes": ATTRIBUTES,
                "compute": "params:particle_features.compute",
            },
            outputs="particle_measurements",
            name="measure_particles",
        ),
        node(
            nodes.tabulate_particles,
            inputs=["particle_measurements", "tomogram_table", ATTRIBUTES],
            outputs=[
                "particle_attributes",
                "particle_details",
                "particle_contacts",
                "particle_crack_profiles",
            ],
            name="tabulate_particles",
        ),
    ]


def _using() -> list[Node]:
    return [
        node(
            nodes.compare_electrodes,
            inputs=["particle_attributes", "tomogram_table", FIGURES],
            outputs="particle_comparison",
            name="compare_electrodes",
        ),
        node(
            nodes.pair_particles_with_truth,
            inputs=[
                "particle_attributes",
                "particle_details",
                "tomogram_truth",
                "tomogram_table",
            ],
            outputs="particle_truth_pairs",
            name="pair_particles_with_truth",
        ),
        node(
            nodes.export_electrodes,
            inputs=[
                "particle_measurements",
                "particle_attributes",
                "particle_details",
                "tomogram_table",
                "params:particle_features.electrode",
            ],
            outputs=["electrode_parameters", "electrode_quantities", "electrode_particle_sizes"],
            name="export_electrodes",
        ),
    ]


def _showing() -> list[Node]:
    return [
        node(
            nodes.report_particles,
            inputs={
                "tomograms": "tomograms",
                "labels": "particle_labels",
                "reviewed": "particle_labels_reviewed",
                "edits": "tomo_review_edits",
                "attributes": "particle_attributes",
                "details": "particle_details",
                "table": "tomogram_table",
                "comparison": "particle_comparison",
                "pairs": "particle_truth_pairs",
                "profiles": "particle_crack_profiles",
                "quantities": "electrode_quantities",
                "settings": ATTRIBUTES,
                "figures": FIGURES,
            },
            outputs=["particle_figures", "particle_report"],
            name="report_particles",
        ),
    ]
