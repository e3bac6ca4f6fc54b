"""Tags and aliases of a new version of a registered model."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from mlflow.tracking import MlflowClient

from ncm_kedro.learning.evaluation.promotion import Promotion

logger = logging.getLogger(__name__)


def tag_version(
    model_name: str,
    number: str,
    *,
    promotion: Promotion,
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
) -> None:
    """Tag a version with its lineage and scores; make it the candidate, or production, too.

    Parameters
    ----------
    model_name, number
        Which version.
    promotion
        Whether it may take over production, and why.
    tags, metrics
        Lineage and scores by name.
    """
    client = MlflowClient()
    reasons = "; ".join(promotion.reasons)
    marks = {
        **tags,
        **{name: f"{value:.4f}" for name, value in metrics.items()},
        "promoted": str(promotion.promoted).lower(),
        "promotion_reasons": reasons,
    }
    for key, value in marks.items():
        client.set_model_version_tag(model_name, number, key, value)
    client.set_registered_model_alias(model_name, "candidate", number)
    if promotion.promoted:
        client.set_registered_model_alias(model_name, "production", number)
    taken = " and production" if promotion.promoted else ", not promoted"
    logger.info("%s version %s: candidate%s (%s)", model_name, number, taken, reasons)
