"""Wiring of ``synthesise``."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.pipelines.synthesise.nodes import synthesise_sem_frames


def create_pipeline() -> Pipeline:
    """Write labelled frames to train on, and others that no model has seen."""
    return pipeline(
        [
            node(
                synthesise_sem_frames,
                inputs="params:synthesise.sem",
                outputs="raw_sem_frames",
                name="synthesise_sem_frames",
            ),
            node(
                synthesise_sem_frames,
                inputs="params:synthesise.sem_unseen",
                outputs="raw_unseen_frames",
                name="synthesise_unseen_frames",
            ),
        ],
        tags=["synthetic", "sem"],
    )
