"""Wiring of ``half_cell``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline, node, pipeline

from ncm_kedro.pipelines.half_cell import nodes

CIRCLES = ("three_particles", "five_particles")
LABELS = "from_labels"
TABLES = ("steps", "particles", "cycles", "debonding", "metrics")


def create_pipeline() -> Pipeline:
    """Simulate and report the cases of circles; they need no data."""
    return sum((create_case(name) for name in CIRCLES), Pipeline([]))


def create_case(name: str) -> Pipeline:
    """Simulate and report one case of circles."""
    return pipeline(
        [
            node(
                nodes.draw_half_cell,
                inputs=f"params:half_cell.{name}",
                outputs=f"half_cell_{name}_section",
                name=f"draw_half_cell_{name}",
            ),
            *_simulation(name),
        ],
        tags="half_cell",
    )


def create_label_pipeline() -> Pipeline:
    """Simulate a section of labelled particles, and set its damage beside the measured one."""
    return pipeline(
        [
            node(
                nodes.cut_half_cell,
                inputs={
                    "tomograms": "tomograms",
                    "labels": "particle_labels",
                    "reviewed": "particle_labels_reviewed",
                    "edits": "tomo_review_edits",
                    "params": f"params:half_cell.{LABELS}",
                },
                outputs=[f"half_cell_{LABELS}_section", f"half_cell_{LABELS}_outlines"],
                name=f"draw_half_cell_{LABELS}",
            ),
            *_simulation(LABELS),
            node(
                nodes.compare_half_cell_damage,
                inputs={
                    "outlines": f"half_cell_{LABELS}_outlines",
                    "debonding": f"half_cell_{LABELS}_debonding",
                    "attributes": "particle_attributes",
                },
                outputs=["half_cell_damage_pairs", "half_cell_damage_figure"],
                name="compare_half_cell_damage",
            ),
        ],
        tags="half_cell",
    )


def create_sweep_pipeline() -> Pipeline:
    """Simulate random electrodes under changed settings, and summarise their synchrony."""
    return pipeline(
        [
            node(
                nodes.sweep_half_cells,
                inputs=["params:half_cell.sweep", "half_cell_work"],
                outputs=["half_cell_sweep_runs", "half_cell_sweep_cycles"],
                name="sweep_half_cells",
            ),
            node(
                nodes.report_half_cell_sweep,
                inputs=["half_cell_sweep_runs", "half_cell_sweep_cycles"],
                outputs=["half_cell_sweep_summary", "half_cell_sweep_figure"],
                name="report_half_cell_sweep",
            ),
        ],
        tags="half_cell",
    )


def _simulation(case: str) -> list[Node]:
    tables = [f"half_cell_{case}_{table}" for table in TABLES]
    return [
        node(
            nodes.make_simulation(case),
            inputs={
                "section": f"half_cell_{case}_section",
                "params": f"params:half_cell.{case}",
                "folder": "half_cell_work",
            },
            outputs=[*tables, f"half_cell_{case}_result"],
            name=f"simulate_half_cell_{case}",
        ),
        node(
            nodes.report_half_cell,
            inputs={
                "result": f"half_cell_{case}_result",
                **{table: f"half_cell_{case}_{table}" for table in TABLES[:-1]},
                "folder": "half_cell_fields",
            },
            outputs=[f"half_cell_{case}_figures", f"half_cell_{case}_report"],
            name=f"report_half_cell_{case}",
        ),
    ]
