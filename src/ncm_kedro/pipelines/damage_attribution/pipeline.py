"""Wiring of ``damage_attribution``."""

from __future__ import annotations

from dataclasses import fields

from kedro.pipeline import Node, Pipeline, node, pipeline

from ncm_kedro.pipelines.damage_attribution import nodes
from ncm_kedro.plotting.damage.tables import DamageTables

PARTICLES = ["damage_particles", "damage_inputs"]
FOREST = "params:damage_attribution.forest"
ATTRIBUTION = "params:damage_attribution.attribution"
EXPLAINED = ("importance", "attributes", "scores", "differences", "ranks", "shap", "leaks")
ENCODED = (
    "autoencoder_errors", "autoencoder", "latents", "latent_values", "latent_links", "decoded",
    "attribute_links",
)  # fmt: skip
TABLES = tuple(field.name for field in fields(DamageTables))


def create_pipeline() -> Pipeline:
    """Choose, explain, measure neighbours, do the paper's analysis, report, register."""
    return pipeline([*_explaining(), *_following_the_paper(), *_showing()], tags="tomo")


def _explaining() -> list[Node]:
    return [
        node(
            nodes.prepare_damage_table,
            inputs=[
                "particle_attributes",
                "particle_details",
                "tomogram_table",
                "params:damage_attribution.table",
            ],
            outputs=PARTICLES,
            name="prepare_damage_table",
        ),
        node(
            nodes.attribute_particle_damage,
            inputs=[*PARTICLES, FOREST, ATTRIBUTION],
            outputs={name: f"damage_{name}" for name in (*EXPLAINED, "metrics")},
            name="attribute_particle_damage",
        ),
        node(
            nodes.measure_damage_synchrony,
            inputs={
                "rows": "damage_particles",
                "described": "damage_inputs",
                "contacts": "particle_contacts",
                "table": "tomogram_table",
                "shap": "damage_shap",
                "params": ATTRIBUTION,
            },
            outputs="damage_synchrony",
            name="measure_damage_synchrony",
        ),
        node(
            nodes.evaluate_damage_truth,
            inputs=["damage_importance", "damage_attributes", "tomogram_truth"],
            outputs="damage_truth",
            name="evaluate_damage_truth",
        ),
    ]


def _following_the_paper() -> list[Node]:
    return [
        node(
            nodes.encode_damage_attributes,
            inputs=[
                *PARTICLES,
                "params:damage_attribution.autoencoder",
                "params:damage_attribution.links",
            ],
            outputs={name: f"damage_{name}" for name in ENCODED},
            name="encode_damage_attributes",
        ),
        node(
            nodes.correlate_attributes,
            inputs=[*PARTICLES, "params:damage_attribution.correlation"],
            outputs=["damage_correlations", "damage_correlation_differences"],
            name="correlate_attributes",
        ),
        node(
            nodes.repeat_paper_analysis,
            inputs=[*PARTICLES, "params:damage_attribution.paper"],
            outputs="damage_paper",
            name="repeat_paper_analysis",
        ),
    ]


def _showing() -> list[Node]:
    return [
        node(
            nodes.report_damage,
            inputs={
                "rows": "damage_particles",
                "described": "damage_inputs",
                "params": ATTRIBUTION,
                "forest": FOREST,
                "autoencoder": "damage_autoencoder",
                **{name: f"damage_{name}" for name in TABLES},
            },
            outputs=["damage_figures", "damage_report"],
            name="report_damage",
        ),
        node(
            nodes.release_damage_attribution,
            inputs=[*PARTICLES, "damage_scores", FOREST, ATTRIBUTION],
            outputs="nmc_damage_attribution",
            name="release_damage_attribution",
        ),
    ]
