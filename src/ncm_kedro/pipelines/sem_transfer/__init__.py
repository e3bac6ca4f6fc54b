"""Composition in a state, and state in a composition, that training never saw."""

from ncm_kedro.pipelines.sem_transfer.pipeline import create_pipeline

__all__ = ["create_pipeline"]
