"""Results of damage attribution and names of its figures; light to import, for pipelines."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

FIGURES = (
    "importance", "scores", "beeswarm", "dependence", "differences", "uncertain_ranks", "leaks",
    "synchrony", "correlations", "autoencoder", "latent_matrices", "latent_circles",
    "attribute_matrices", "attribute_circles", "paper",
)  # fmt: skip
"""Names of the figures."""


@dataclass(frozen=True)
class DamageTables:
    """Results of the attribution of damage.

    Attributes
    ----------
    importance, attributes, scores, differences, ranks, shap, leaks
        As in `ncm_kedro.damage.attribution.Attribution`.
    synchrony
        What `ncm_kedro.damage.synchrony.measure_synchrony` returned.
    paper
        What `ncm_kedro.damage.paper.repeat_paper_forest` returned.
    autoencoder_errors
        As in `ncm_kedro.damage.latent.dimension_search.DimensionSearch`.
    latents, decoded
        What `ncm_kedro.damage.latent.links.rank_latents` and `rank_decoded` returned.
    latent_links, attribute_links
        What `ncm_kedro.damage.latent.links.list_links` returned of latent values and of decoded
        attributes.
    correlations, correlation_differences
        As in `ncm_kedro.damage.latent.correlation.DamageCorrelations`.
    truth
        Simulated drivers: ``sample, driver, attribute, simulated_weight, group, rank, explained,
        significant, direction, direction_agrees``; empty where there is no ground truth.
    """

    importance: pd.DataFrame
    attributes: pd.DataFrame
    scores: pd.DataFrame
    differences: pd.DataFrame
    ranks: pd.DataFrame
    shap: pd.DataFrame
    leaks: pd.DataFrame
    synchrony: pd.DataFrame
    paper: pd.DataFrame
    autoencoder_errors: pd.DataFrame
    latents: pd.DataFrame
    latent_links: pd.DataFrame
    decoded: pd.DataFrame
    attribute_links: pd.DataFrame
    correlations: pd.DataFrame
    correlation_differences: pd.DataFrame
    truth: pd.DataFrame
