"""From frames with mosaics to a table of crops in disjoint splits."""

from ncm_kedro.pipelines.crop_augment.pipeline import create_pipeline

__all__ = ["create_pipeline"]
