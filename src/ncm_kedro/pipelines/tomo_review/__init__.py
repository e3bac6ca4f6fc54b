"""Correction of labels by hand, and back."""

from ncm_kedro.pipelines.tomo_review.pipeline import create_pipeline

__all__ = ["create_pipeline"]
