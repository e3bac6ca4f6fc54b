"""Wiring of ``synthesise``."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.pipelines.synthesise.nodes import (
    synthesise_cycling,
    synthesise_scan,
    synthesise_sem_frames,
    synthesise_tomograms,
)


def create_pipeline() -> Pipeline:
    """Write frames to train on, others that no model has seen, tomograms, a scan, cells."""
    return pipeline(
        [
            node(
                synthesise_sem_frames,
                inputs="params:synthesise.sem",
                outputs="raw_sem_frames",
                name="synthesise_sem_frames",
                tags="sem",
            ),
            node(
                synthesise_sem_frames,
                inputs="params:synthesise.sem_unseen",
                outputs="raw_unseen_frames",
                name="synthesise_unseen_frames",
                tags="sem",
            ),
            node(
                synthesise_sem_frames,
                inputs="params:synthesise.sem_additives",
                outputs="raw_additive_frames",
                name="synthesise_additive_frames",
                tags="sem",
            ),
            node(
                synthesise_tomograms,
                inputs="params:synthesise.tomo",
                outputs="raw_tomograms",
                name="synthesise_tomograms",
                tags="tomo",
            ),
            node(
                synthesise_scan,
                inputs="params:synthesise.holo",
                outputs="raw_scans",
                name="synthesise_scan",
                tags="holo",
            ),
            node(
                synthesise_cycling,
                inputs="params:synthesise.cycling",
                outputs="raw_cycling",
                name="synthesise_cycling",
                tags="cycling",
            ),
        ],
        tags="synthetic",
    )
