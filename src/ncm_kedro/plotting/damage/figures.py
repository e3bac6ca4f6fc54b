"""All figures of damage attribution."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.damage.preparation import DamageData
from ncm_kedro.errors import TableError
from ncm_kedro.plotting.axes import annotate_empty, open_panels
from ncm_kedro.plotting.damage.correlation import (
    plot_autoencoder_errors,
    plot_damage_correlations,
    plot_synchrony,
)
from ncm_kedro.plotting.damage.importance import (
    plot_importance,
    plot_importance_differences,
    plot_scores,
    plot_uncertain_ranks,
)
from ncm_kedro.plotting.damage.links import plot_circular_links, plot_link_matrices
from ncm_kedro.plotting.damage.paper import plot_leaks, plot_paper_robustness
from ncm_kedro.plotting.damage.shap import SHOWN_DEPENDENCES, plot_beeswarm, plot_dependence
from ncm_kedro.plotting.damage.tables import FIGURES, DamageTables

NOTHING_EXPLAINED = "The attributes explain nothing of the damage here: no ranking."
_PARTICLE = ["sample", "particle_id"]
_EMPTY_IN = 1.5


def draw_damage(data: DamageData, tables: DamageTables, dimensions: int) -> dict[str, Figure]:
    """Draw all figures of damage attribution.

    Samples whose damage is not explained have no ranking in any figure but the paper's own.

    Parameters
    ----------
    data
        Usable particles and what may explain their damage.

    Returns
    -------
    dict
        `FIGURES`; where there is nothing to show, the figure says why.

    Raises
    ------
    TableError
        If SHAP values and particles are not of the same rows.
    """
    moved = keep_explained(tables.ranks, tables)
    silent = len(tables.ranks) > 0 and moved.empty
    figures = {
        "importance": plot_importance(tables.importance, tables.scores),
        "scores": plot_scores(tables.scores),
        **_draw_shap(data, tables),
        "differences": _draw_differences(data, tables),
        "uncertain_ranks": _say(NOTHING_EXPLAINED)
        if silent
        else plot_uncertain_ranks(moved, tables.importance),
        "leaks": _draw_leaks(tables),
        "synchrony": plot_synchrony(tables.synchrony),
        "correlations": _draw_correlations(data, tables),
        "autoencoder": plot_autoencoder_errors(tables.autoencoder_errors, dimensions)
        if len(tables.autoencoder_errors)
        else _say("No auto-encoder was trained."),
        "paper": plot_paper_robustness(tables.paper),
    }
    for thing, things, links, ranking in (
        ("latent", "latent dimensions", tables.latent_links, tables.latents),
        ("attribute", "attributes", tables.attribute_links, tables.decoded),
    ):
        ends = {*links["first"], *links["second"]}
        names = [name for name in ranking[thing] if name in ends]
        figures[f"{thing}_matrices"] = (
            plot_link_matrices(links, names)
            if names
            else _say(f"Fewer than two {things} are left: there is nothing to correlate.")
        )
        figures[f"{thing}_circles"] = (
            plot_circular_links(links, names)
            if links["shown"].any()
            else _say(f"No two {things} are correlated enough to count as a link.")
        )
    return {name: figures[name] for name in FIGURES}


def choose_dependences(importance: pd.DataFrame) -> list[str]:
    """Choose the first attributes of the groups that explain most in any sample.

    Parameters
    ----------
    importance
        ``sample, group, members, kind, explained``, and others.
    """
    groups = importance[importance["kind"] == "group"]
    order = groups.sort_values("explained", ascending=False, kind="stable")
    firsts = order["members"].drop_duplicates().str.split(",").str[0].str.strip()
    return firsts.head(SHOWN_DEPENDENCES).tolist()


def _say(sentence: str) -> Figure:
    figure, panels = open_panels(1, 1, _EMPTY_IN)
    annotate_empty(panels[0], sentence)
    return figure


def _draw_shap(data: DamageData, tables: DamageTables) -> dict[str, Figure]:
    values = data.rows.reset_index(drop=True)
    shap = tables.shap.reset_index(drop=True)
    if not values[_PARTICLE].astype(str).equals(shap[_PARTICLE].astype(str)):
        raise TableError(
            "SHAP values of damage",
            found=f"{len(shap)} rows, not of the same particles as the {len(values)} that are used",
            expected="a row for each particle that is used, in the same order",
            action="run damage_attribution again from its first node",
        )
    values.attrs["preset"] = data.preset
    known = shap["sample"].isin(list_explained(tables.scores))
    if not known.any():
        return {name: _say(NOTHING_EXPLAINED) for name in ("beeswarm", "dependence")}
    names = choose_dependences(keep_explained(tables.importance, tables))
    curves = shap.assign(**{name: shap[name].where(known) for name in names})
    return {
        "beeswarm": plot_beeswarm(shap[known], values[known], data.inputs),
        "dependence": plot_dependence(curves, values, names),
    }


def _draw_differences(data: DamageData, tables: DamageTables) -> Figure:
    shown = list_compared(data, tables)
    return plot_importance_differences(shown) if len(shown) else _say(explain_no_comparison(data))


def _draw_leaks(tables: DamageTables) -> Figure:
    if not tables.leaks["leaking"].any():
        return _say("No leaky attribute was excluded: there is nothing to show.")
    leaks = keep_explained(tables.leaks, tables)
    if leaks.empty:
        return _say(NOTHING_EXPLAINED)
    bars = leaks.assign(
        kind="group", significant=True, explained_low=np.nan, explained_high=np.nan
    )  # fmt: skip
    return plot_leaks(tables.importance, bars)


def _draw_correlations(data: DamageData, tables: DamageTables) -> Figure:
    if tables.correlations.empty:
        return _say("No correlations were computed.")
    differences = tables.correlation_differences
    return plot_damage_correlations(
        tables.correlations, differences if data.comparable else differences[:0]
    )


def list_explained(scores: pd.DataFrame) -> list[str]:
    """Return the samples whose damage the forest explains."""
    return list(scores.loc[scores["explains"].astype(bool), "sample"])


def list_compared(data: DamageData, tables: DamageTables) -> pd.DataFrame:
    """Return the differences of comparable samples of which at least one is explained."""
    rows, explained = tables.differences, list_explained(tables.scores)
    either = rows["sample_a"].isin(explained) | rows["sample_b"].isin(explained)
    return rows[either & data.comparable]


def explain_no_comparison(data: DamageData) -> str:
    """Return why no samples are compared."""
    if len(data.samples) < 2:
        return "There is one sample: nothing to compare it with."
    if data.comparable:
        return NOTHING_EXPLAINED
    return (
        "These samples were not scanned alike, see the notes in section 1: each is explained on "
        "its own, and no differences are shown."
    )


def keep_explained(table: pd.DataFrame, tables: DamageTables) -> pd.DataFrame:
    """Return the rows of samples whose damage the forest explains."""
    return table[table["sample"].isin(list_explained(tables.scores))]
