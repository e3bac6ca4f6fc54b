"""Wiring of ``crop_augment``."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.pipelines.crop_augment.nodes import draw_sem_crops, plan_sem_crops


def create_pipeline() -> Pipeline:
    """Place crops in disjoint splits and draw where they lie."""
    return pipeline(
        [
            node(
                plan_sem_crops,
                inputs=["sem_manifest", "params:crop_augment"],
                outputs=["sem_crops", "sem_crop_report"],
                name="plan_sem_crops",
            ),
            node(
                draw_sem_crops,
                inputs=["sem_manifest", "sem_crops"],
                outputs="sem_crops_figure",
                name="draw_sem_crops",
            ),
        ],
        tags="sem",
    )
