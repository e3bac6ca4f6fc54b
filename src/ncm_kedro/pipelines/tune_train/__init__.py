"""From crops to a searched, trained, calibrated, tested and registered classifier."""

from ncm_kedro.pipelines.tune_train.pipeline import create_pipeline

__all__ = ["create_pipeline"]
