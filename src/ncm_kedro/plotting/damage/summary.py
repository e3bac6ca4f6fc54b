"""What was found of damage: its tables, and sentences made from them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from ncm_kedro.params.damage_attribution import AttributionParams
from ncm_kedro.plotting.damage.words import (
    NOT_COMPARABLE,
    NOTHING_EXPLAINED,
    ONE_SAMPLE,
    write_interval,
    write_percent,
    write_sign,
)

if TYPE_CHECKING:
    from ncm_kedro.damage.preparation.preparation import DamageData

FIGURES = (
    "importance", "scores", "beeswarm", "dependence", "differences", "uncertain_ranks", "leaks",
    "synchrony", "correlations", "autoencoder", "latent_matrices", "latent_circles",
    "attribute_matrices", "attribute_circles", "paper",
)  # fmt: skip
"""Names of the figures."""

PAIR = ["sample_a", "sample_b"]
"""Columns that name two samples, the earlier first."""


@dataclass(frozen=True)
class DamageTables:
    """What was found of the damage of particles.

    Attributes
    ----------
    importance, attributes, scores, differences, ranks, shap, leaks
        As in `ncm_kedro.damage.attribution.attribution.Attribution`.
    synchrony
        What `ncm_kedro.damage.attribution.synchrony.measure_synchrony` returned.
    paper
        What `ncm_kedro.damage.forests.paper.repeat_paper_forest` returned.
    autoencoder_errors
        As in `ncm_kedro.damage.latent.dimension_search.DimensionSearch`.
    latents, decoded
        What `ncm_kedro.damage.latent.latent.rank_latents` and `rank_decoded` returned.
    latent_links, attribute_links
        What `ncm_kedro.damage.latent.latent.list_links` returned of latent values and of decoded
        attributes.
    correlations, correlation_differences
        As in `ncm_kedro.damage.latent.correlation.DamageCorrelations`.
    truth
        Planted drivers: ``sample, driver, attribute, simulated_weight, group, rank, explained,
        significant, direction, direction_agrees``; empty where nothing is known.
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


def summarise_damage(data: DamageData, tables: DamageTables, params: AttributionParams) -> str:
    """Say in one paragraph what goes with damage, what changed, and how sure that is.

    Parameters
    ----------
    data
        Usable particles and what may explain their damage.
    tables
        What was found.
    params
        Levels of the intervals and of false discovery.
    """
    from ncm_kedro.damage.attribution.synchrony import evaluate_synchrony

    importance = tables.importance
    explained = list_explained(tables.scores)
    forest = tables.scores[tables.scores["model"] == "forest"].set_index("sample").to_dict("index")
    used = data.counts[data.counts["reason"] == "used"].set_index("sample")["particles"]
    sentences = []
    for sample in data.samples:
        score = forest[sample]
        limits = f"R² {write_interval(score['r2'], score['r2_low'], score['r2_high'])}"
        start = f"{sample}, {used[sample]} particles: the attributes explain"
        if sample not in explained:
            sentences.append(f"{start} nothing of the damage of particles held out, {limits}.")
            continue
        sentences.append(
            f"{start} {score['r2']:.0%} of the variance of damage of particles held out, {limits}."
        )
        sentences.append(_name_drivers(importance[importance["sample"] == sample]))
    if explained:
        sentences.append("(+: more damage where the attribute is larger; ~: no one direction.)")
    sentences += describe_changes(data, tables, params)
    sentences.append(evaluate_synchrony(tables.synchrony).replace("\n", " "))
    return " ".join(sentences)


def describe_changes(
    data: DamageData, tables: DamageTables, params: AttributionParams
) -> list[str]:
    """Say for every two samples what changed, and whether the interval holds 0.

    Parameters
    ----------
    data
        Usable particles and what may explain their damage.
    tables
        What was found.
    params
        Levels of the intervals and of false discovery.
    """
    if len(data.samples) < 2:
        return []
    if not data.comparable:
        return ["The samples were not scanned alike and are not compared."]
    told = []
    level = f"{params.confidence:.0%} interval"
    for (first, second), rows in list_compared(data, tables).groupby(PAIR, sort=False):
        span = f"From {first} to {second}"
        beyond = rows[(rows["low"] > 0) | (rows["high"] < 0)].to_dict("records")
        beyond.sort(key=lambda row: -abs(row["difference"]))
        named = [_format_change(row, params.false_discovery) for row in beyond]
        told.append(
            f"{span} these shares change, in percentage points, with a {level} that leaves out 0: "
            f"{'; '.join(named)}."
            if named
            else f"{span} no group's share changes beyond its {level}."
        )
    return told


def list_explained(scores: pd.DataFrame) -> list[str]:
    """List the samples whose damage the forest explains.

    Parameters
    ----------
    scores
        ``sample, explains``, and others.
    """
    return list(scores.loc[scores["explains"].astype(bool), "sample"])


def list_compared(data: DamageData, tables: DamageTables) -> pd.DataFrame:
    """Return the differences of samples that may be compared, of which one at least is explained.

    Parameters
    ----------
    data
        Usable particles and what may explain their damage.
    tables
        What was found.
    """
    explained = list_explained(tables.scores)
    rows = tables.differences
    either = rows["sample_a"].isin(explained) | rows["sample_b"].isin(explained)
    return rows[either & data.comparable]


def explain_no_comparison(data: DamageData) -> str:
    """Say why no samples are compared.

    Parameters
    ----------
    data
        Usable particles and what may explain their damage.
    """
    if len(data.samples) < 2:
        return ONE_SAMPLE
    return NOTHING_EXPLAINED if data.comparable else NOT_COMPARABLE


def _name_drivers(importance: pd.DataFrame) -> str:
    found = importance[importance["significant"].astype(bool)].sort_values("rank")
    if found.empty:
        return "No single group of attributes is significant."
    named = [f"{row['group']} ({write_sign(row['direction'])})" for row in found.to_dict("records")]
    return f"With damage go, the most telling first: {', '.join(named)}."


def _format_change(row: Mapping[Hashable, Any], false_discovery: float) -> str:
    change = write_percent(row["difference"], row["low"], row["high"], signed=True)
    doubt = f", perhaps by chance, q = {row['q_value']:.2g}"
    return f"{row['group']} {change}{doubt * (row['q_value'] > false_discovery)}"
