"""Finite elements of particles that crack loose."""

from ncm_kedro.pipelines.half_cell.pipeline import (
    create_case,
    create_label_pipeline,
    create_pipeline,
    create_sweep_pipeline,
)

__all__ = ["create_case", "create_label_pipeline", "create_pipeline", "create_sweep_pipeline"]
