"""Tables of the page on damage attribution, as text."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from ncm_kedro.plotting.damage.axes import get_paper_name
from ncm_kedro.plotting.damage.words import (
    trim_number,
    write_interval,
    write_number,
    write_p,
    write_percent,
    write_sign,
)
from ncm_kedro.plotting.particles.tables import say

SHOWN_ROWS = 8
"""Rows of tables of which the beginning is enough."""


def tabulate_counts(counts: pd.DataFrame) -> pd.DataFrame:
    """Return a row per sample and a column per fate of its particles, the used ones last.

    Parameters
    ----------
    counts
        ``sample, reason, particles``.
    """
    order = [reason for reason in counts["reason"].unique() if reason != "used"]
    wide = counts.pivot_table(index="sample", columns="reason", values="particles", sort=False)
    wide = wide.reindex(columns=[*order, "used"]).fillna(0).astype(int)
    return wide.rename_axis(columns=None).reset_index()


def format_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of all models as text.

    Parameters
    ----------
    scores
        As in `ncm_kedro.damage.attribution.significance.tabulate_scores`.
    """
    return pd.DataFrame(
        {
            "sample": scores["sample"],
            "model": scores["model"],
            "R² (interval)": _join_interval(scores, "r2", 3),
            "mean absolute error (interval)": _join_interval(scores, "mae", 4),
            "p": scores["p_value"].map(write_p),
            "explains": ["yes" if e else "no" if m == "forest" else ""
                         for e, m in zip(scores["explains"], scores["model"], strict=True)],
        }
    )  # fmt: skip


def format_importance(importance: pd.DataFrame) -> pd.DataFrame:
    """Return what the groups of one sample explain as text, the noise column last.

    Parameters
    ----------
    importance
        As in `ncm_kedro.damage.attribution.significance.tabulate_importance`.
    """
    rows = importance.to_dict("records")
    return pd.DataFrame(
        {
            "group": importance["group"],
            "columns": importance["members"],
            "sign": importance["direction"].map(write_sign),
            "explained / % (interval)": [
                write_percent(row["explained"], row["explained_low"], row["explained_high"])
                for row in rows
            ],
            "rank (interval)": [
                "" if pd.isna(row["rank"]) else
                f"{row['rank']:.0f} ({row['rank_low']:.0f} to {row['rank_high']:.0f})"
                for row in rows
            ],
            "mean |SHAP|": importance["mean_abs_shap"].map(lambda value: f"{value:.2g}"),
            "p": importance["p_value"].map(write_p),
            "q": importance["q_value"].map(write_p),
            "significant": ["yes" if row["significant"] else "" for row in rows],
        }
    )  # fmt: skip


def format_alone(attributes: pd.DataFrame, samples: Sequence[str]) -> pd.DataFrame:
    """Return what single attributes explain in each sample, the most on top.

    Parameters
    ----------
    attributes
        As in `ncm_kedro.damage.attribution.significance.tabulate_attributes_alone`.
    samples
        Those that are shown.
    """
    own = attributes[attributes["sample"].isin(samples)]
    order = own.groupby("attribute", sort=False)["explained"].max()
    order = order.sort_values(ascending=False, kind="stable")
    table = pd.DataFrame({"attribute": [get_paper_name(name) for name in order.index]})
    for sample in samples:
        part = own[own["sample"] == sample].set_index("attribute").reindex(order.index)
        table[f"{sample}: explained / %"] = [
            trim_number(f"{100 * value:.1f}") for value in part["explained"]
        ]
        table[f"{sample}: sign"] = [write_sign(value) for value in part["direction"]]
    return table


def format_differences(differences: pd.DataFrame) -> pd.DataFrame:
    """Return the differences of one pair of samples as text, the largest on top.

    Parameters
    ----------
    differences
        As in `ncm_kedro.damage.attribution.significance.compare_importance`.
    """
    order = differences["difference"].abs().sort_values(ascending=False, kind="stable").index
    table = differences.loc[order]
    rows = table.to_dict("records")
    return pd.DataFrame(
        {
            "group": table["group"],
            "difference / percentage points (interval)": [
                write_percent(row["difference"], row["low"], row["high"], signed=True)
                for row in rows
            ],
            "interval without 0": [
                "yes" if row["low"] > 0 or row["high"] < 0 else "" for row in rows
            ],
            "p": table["p_value"].map(write_p),
            "q": table["q_value"].map(write_p),
        }
    )


def format_correlations(differences: pd.DataFrame, by_sample: pd.DataFrame) -> pd.DataFrame:
    """Return how correlations with damage differ between two samples, the largest on top.

    Parameters
    ----------
    differences
        Of one pair, as in `ncm_kedro.damage.latent.correlation.DamageCorrelations`.
    by_sample
        Correlations by sample, from there too.
    """
    order = differences["difference"].abs().sort_values(ascending=False, kind="stable").index
    table = differences.loc[order]
    r = by_sample.set_index(["sample", "attribute"])["r"]
    rows = table.to_dict("records")
    first, second = rows[0]["sample_a"], rows[0]["sample_b"]
    return pd.DataFrame(
        {
            "attribute": table["attribute"].map(get_paper_name),
            f"r in {first}": [write_number(r[first, row["attribute"]]) for row in rows],
            f"r in {second}": [write_number(r[second, row["attribute"]]) for row in rows],
            "difference (interval)": _join_interval(table, "difference", 2),
            "q": table["q_value"].map(write_p),
        }
    )


def format_synchrony(synchrony: pd.DataFrame, words: dict[str, str]) -> pd.DataFrame:
    """Return how neighbours share their damage as text, a row per quantity.

    Parameters
    ----------
    synchrony
        As in `ncm_kedro.damage.attribution.synchrony.measure_synchrony`.
    words
        What each quantity is.
    """
    named = synchrony.assign(
        quantity=[words.get(name, name) for name in synchrony["quantity"]],
        of=[
            first if pd.isna(second) else f"{second} minus {first}"
            for first, second in zip(synchrony["sample_a"], synchrony["sample_b"], strict=True)
        ],
        text=[_write_tested(row) for row in synchrony.to_dict("records")],
    )
    order = {name: named[name].unique() for name in ("quantity", "of")}
    table = named.pivot_table(index="quantity", columns="of", values="text", aggfunc="first")
    table = table.reindex(index=order["quantity"], columns=order["of"])
    chance = named.drop_duplicates("quantity").set_index("quantity")["expected"]
    table["by chance"] = chance.map(lambda value: write_number(value, 3))
    return table.rename_axis(columns=None).reset_index()


def format_leaks(leaks: pd.DataFrame) -> pd.DataFrame:
    """Return what explains most in one sample with leaking attributes let in.

    Parameters
    ----------
    leaks
        As in `ncm_kedro.damage.attribution.attribution.Attribution`, of one sample.
    """
    top = leaks.sort_values("explained", ascending=False, kind="stable").head(SHOWN_ROWS)
    return pd.DataFrame(
        {
            "group": top["group"],
            "holds the damage": ["yes" if leaking else "" for leaking in top["leaking"]],
            "explained / %": [trim_number(f"{100 * value:.1f}") for value in top["explained"]],
        }
    )


def format_paper_errors(paper: pd.DataFrame) -> pd.DataFrame:
    """Return how well the paper's forests predict, mean over the forests of each strategy.

    Parameters
    ----------
    paper
        What `ncm_kedro.damage.forests.paper.repeat_paper_forest` returned.
    """
    forests = paper.drop_duplicates(["sample", "strategy", "number"])
    columns = {
        "n_train": "training particles", "n_test": "test particles",
        "mae_train": "error, training", "mae_test": "error, test", "mae_mean": "error, mean alone",
        "r2_test": "R², test",
    }  # fmt: skip
    means = forests.groupby(["sample", "strategy"], sort=False)[list(columns)].mean()
    return means.map(lambda value: trim_number(say(value))).rename(columns=columns).reset_index()


def format_paper_shares(paper: pd.DataFrame) -> pd.DataFrame:
    """Return the mean share of each attribute in the paper's forests, the largest on top.

    Parameters
    ----------
    paper
        What `ncm_kedro.damage.forests.paper.repeat_paper_forest` returned.
    """
    found = paper.groupby(["attribute", "sample"], sort=False)["share"].agg(["mean", "std"])
    mean, spread = found["mean"].unstack(sort=False), found["std"].unstack(sort=False)
    order = mean.mean(axis=1).sort_values(ascending=False, kind="stable").index[:SHOWN_ROWS]
    table = pd.DataFrame({"attribute": [get_paper_name(str(name)) for name in order]})
    for sample in mean.columns:
        shares = zip(mean.loc[order, sample], spread.loc[order, sample], strict=True)
        table[f"{sample}: share / % ± sd over forests"] = [
            f"{100 * share:.1f} ± {100 * sd:.1f}" for share, sd in shares
        ]
    return table


def format_truth(truth: pd.DataFrame, explained: Sequence[str]) -> pd.DataFrame:
    """Return the simulated drivers beside what was found; no rank where nothing is explained.

    Parameters
    ----------
    truth
        ``sample, driver, attribute, simulated_weight, group, rank, explained, significant,
        direction, direction_agrees``.
    explained
        Samples whose damage is explained.
    """
    rows = truth.to_dict("records")
    ranked = truth["sample"].isin(explained)
    return pd.DataFrame(
        {
            "sample": truth["sample"],
            "driver": truth["driver"],
            "attribute": truth["attribute"].map(get_paper_name),
            "weight": [trim_number(f"{row['simulated_weight']:+.2f}") for row in rows],
            "group": truth["group"],
            "rank": truth["rank"].where(ranked).map(say),
            "explained / %": [
                trim_number(f"{100 * row['explained']:.1f}") if known else ""
                for row, known in zip(rows, ranked, strict=True)
            ],
            "significant": truth["significant"].astype(bool).map(say).where(ranked, ""),
            "sign": truth["direction"].map(write_sign).where(ranked, ""),
            "sign as simulated": truth["direction_agrees"].astype(bool).map(say).where(ranked, ""),
        }
    )


def format_settings(**settings: dict[str, Any]) -> pd.DataFrame:
    """Return settings as rows.

    Parameters
    ----------
    settings
        By what they belong to, values by name.
    """
    return pd.DataFrame(
        [
            {
                "of": owner,
                "setting": name,
                "value": str(value) if type(value) is int else say(value),
            }
            for owner, values in settings.items()
            for name, value in values.items()
        ]
    )


def _join_interval(table: pd.DataFrame, name: str, digits: int) -> list[str]:
    return [
        write_interval(*row, digits)
        for row in zip(table[name], table[f"{name}_low"], table[f"{name}_high"], strict=True)
    ]


def _write_tested(row: Mapping[Hashable, Any]) -> str:
    text = write_interval(row["value"], row["low"], row["high"], 3)
    return (
        text
        if pd.isna(row["p_value"])
        else f"{text}, p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{write_p(row['p_value'])}"
    )
