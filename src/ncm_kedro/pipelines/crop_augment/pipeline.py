"""Wiring of ``crop_augment``."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.pipelines.crop_augment import nodes


def create_pipeline() -> Pipeline:
    """Place crops in disjoint splits and draw where they lie."""
    return pipeline(
        [
            node(
                nodes.plan_sem_crops,
                inputs=["sem_manifest", "sem_audit", "params:crop_augment"],
                outputs=["sem_crops", "sem_crop_report"],
                name="plan_sem_crops",
            ),
            node(
                nodes.draw_sem_crops,
                inputs=["sem_manifest", "sem_crops"],
                outputs="sem_crops_figures",
                name="draw_sem_crops",
            ),
        ],
        tags="sem",
    )


def create_crop_set_pipeline() -> Pipeline:
    """Join frames and crops to the set in memory that models are trained on and tested with."""
    join = node(
        nodes.join_sem_crops,
        inputs=["sem_frames", "sem_crops", "sem_manifest"],
        outputs="sem_crop_set",
        name="join_sem_crops",
    )
    return pipeline([join], tags="sem")
