"""Synthetic SEM frames and tomograms with a known truth."""

from ncm_kedro.pipelines.synthesise.pipeline import create_pipeline

__all__ = ["create_pipeline"]
