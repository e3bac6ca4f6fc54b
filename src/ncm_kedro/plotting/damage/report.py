"""Report page of damage attribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.damage.grouping import label_group, list_leaks
from ncm_kedro.damage.latent.correlation import INDEPENDENCE_CAVEAT
from ncm_kedro.damage.latent.dimension_search import choose_dimensions
from ncm_kedro.damage.latent.links import DECODED_CAVEAT, LATENT_CAVEAT
from ncm_kedro.damage.preparation import DamageData
from ncm_kedro.damage.synchrony import QUANTITIES, evaluate_synchrony
from ncm_kedro.params.damage_attribution import AttributionParams, DamageForestParams
from ncm_kedro.particles.statistics import REPLICATE_CAVEAT
from ncm_kedro.plotting.damage.figures import (
    explain_no_comparison,
    keep_explained,
    list_compared,
    list_explained,
)
from ncm_kedro.plotting.damage.tables import DamageTables
from ncm_kedro.plotting.report import list_rows, render_page

Record = dict[str, Any]

_PAIR = ["sample_a", "sample_b"]
_SHOWN_ROWS = 8


def render_damage_report(
    data: DamageData,
    tables: DamageTables,
    figures: Mapping[str, Figure],
    *,
    params: AttributionParams,
    forest: DamageForestParams,
    dimensions: int,
) -> str:
    """Render what damage is associated with as one self-contained HTML page.

    Parameters
    ----------
    data
        Usable particles and what may explain their damage.
    figures
        What `draw_damage` returned.
    """
    compared = list_compared(data, tables)
    ranked = keep_explained(tables.importance, tables)
    n_groups = ranked.query("kind == 'group'").groupby("sample").size().max() if len(ranked) else 0
    settings = {"attribution": params.model_dump(), "forest": forest.model_dump()}
    return render_page(
        "damage.html.j2",
        data=data, tables=tables, figures=figures, params=params, dimensions=dimensions,
        notes=[_begin_sentence(note, data.samples) for note in data.notes],
        leaks_in=[name for name in list_leaks(data.preset) if name in data.inputs],
        together=[label_group(group) for group in data.groups if len(group) > 1],
        counts=_tabulate_counts(data.counts),
        samples=[_describe_sample(name, data, tables, params) for name in data.samples],
        n_groups=n_groups,
        repeats_needed=int(np.ceil(n_groups / params.false_discovery)),
        alone=_list_alone(keep_explained(tables.attributes, tables)),
        no_comparison="" if len(data.samples) > 1 and data.comparable
        else explain_no_comparison(data),
        pairs=_list_changes(compared),
        difference_groups=compared["group"].nunique(),
        difference_needed=int(np.ceil(2 * compared["group"].nunique() / params.false_discovery)),
        correlation_pairs=_list_correlations(tables),
        synchrony=_tabulate_synchrony(tables.synchrony),
        synchrony_verdict=evaluate_synchrony(tables.synchrony),
        graph=tables.synchrony["graph"].iloc[0],
        ranks_known=len(keep_explained(tables.ranks, tables)) > 0,
        leaks=_list_leaks(tables),
        autoencoder=_describe_autoencoder(tables),
        paper=_tabulate_paper(tables.paper),
        truth=_list_truth(tables),
        settings=[(of, *item) for of, values in settings.items() for item in values.items()],
        caveats={"replicates": REPLICATE_CAVEAT, "independence": INDEPENDENCE_CAVEAT,
                 "latents": LATENT_CAVEAT, "decoded": DECODED_CAVEAT},
    )  # fmt: skip


def _describe_sample(
    name: str, data: DamageData, tables: DamageTables, params: AttributionParams
) -> Record:
    """Gather what the page states about a sample."""
    scores = tables.scores[tables.scores["sample"] == name].set_index("model").to_dict("index")
    counts = data.counts[data.counts["sample"] == name].set_index("reason")["particles"]
    rows = data.rows[data.rows["sample"] == name]
    groups = tables.importance[tables.importance["sample"] == name]
    significant = groups[groups["significant"].astype(bool)]
    floor = groups.loc[groups["kind"] == "noise", "explained_high"].max()
    first = groups.loc[groups["rank"] == 1, "group"].min()
    moved = tables.ranks[(tables.ranks["sample"] == name) & (tables.ranks["group"] == first)]
    moran, residual = (
        _find_own(tables.synchrony, name, quantity)
        for quantity in ("morans_i", "morans_i_residual")
    )
    return {
        "name": name,
        "explained": name in list_explained(tables.scores),
        "used": counts.get("used"),
        "rows": len(rows),
        "blocks": rows["block"].nunique(),
        "border": counts.get("touches the border", 0) / counts.get("all", len(rows)),
        "forest": scores["forest"],
        "linear": scores["linear"],
        "groups": list_rows(groups),
        "drivers": list_rows(significant.sort_values("rank")),
        "near_noise": list(significant.loc[significant["explained_low"] <= floor, "group"]),
        "first": first,
        "stays_first": (moved["rank"] == 1).mean() if len(moved) else None,
        "moran": moran,
        "moran_significant": _exceeds_chance(moran, params.false_discovery),
        "residual": residual,
        "residual_significant": _exceeds_chance(residual, params.false_discovery),
    }


def _find_own(synchrony: pd.DataFrame, sample: str, quantity: str) -> Record | None:
    own = synchrony[(synchrony["quantity"] == quantity) & (synchrony["sample_a"] == sample)]
    return next(iter(list_rows(own[own["sample_b"].isna()])), None)


def _exceeds_chance(row: Record | None, max_p: float) -> bool:
    return bool(row and row["p_value"] <= max_p and row["value"] > row["expected"])


def _begin_sentence(note: str, samples: tuple[str, ...]) -> str:
    """Return a note with a capital letter, unless it begins with the name of a sample."""
    return note if note.startswith(samples) else f"{note[:1].upper()}{note[1:]}"


def _tabulate_counts(counts: pd.DataFrame) -> pd.DataFrame:
    """Return a row per sample and a column per reason, ``used`` last."""
    order = [reason for reason in counts["reason"].unique() if reason != "used"]
    wide = counts.pivot_table(index="sample", columns="reason", values="particles", sort=False)
    return wide.reindex(columns=[*order, "used"]).fillna(0).astype(int).reset_index()


def _list_alone(attributes: pd.DataFrame) -> list[Record]:
    """Return by attribute its row of each sample, the most explaining attribute on top."""
    order = attributes.groupby("attribute", sort=False)["explained"].max()
    rows = {(row["attribute"], row["sample"]): row for row in list_rows(attributes)}
    return [
        {"attribute": name, **{s: rows[name, s] for s in attributes["sample"].unique()}}
        for name in order.sort_values(ascending=False, kind="stable").index
    ]


def _list_changes(compared: pd.DataFrame) -> list[Record]:
    """Return for every two samples all differences, and those whose interval excludes 0."""
    pairs = []
    for (first, second), rows in compared.groupby(_PAIR, sort=False):
        ordered = list_rows(_sort_by_amount(rows, "difference"))
        beyond = [row for row in ordered if row["low"] > 0 or row["high"] < 0]
        pairs.append({"first": first, "second": second, "rows": ordered, "beyond": beyond})
    return pairs


def _list_correlations(tables: DamageTables) -> list[Record]:
    """Return for every two samples the attributes whose correlation with damage changes most."""
    pairs = []
    r = tables.correlations.set_index(["sample", "attribute"])["r"].to_dict()
    for (first, second), rows in tables.correlation_differences.groupby(_PAIR, sort=False):
        top = list_rows(_sort_by_amount(rows, "difference").head(_SHOWN_ROWS))
        ends = [{"r_first": r[first, row["attribute"]], "r_second": r[second, row["attribute"]]}
                for row in top]  # fmt: skip
        shown = [{**row, **end} for row, end in zip(top, ends, strict=True)]
        pairs.append({"first": first, "second": second, "rows": shown})
    return pairs


def _sort_by_amount(table: pd.DataFrame, column: str) -> pd.DataFrame:
    return table.loc[table[column].abs().sort_values(ascending=False, kind="stable").index]


def _tabulate_synchrony(synchrony: pd.DataFrame) -> Record:
    """Return a row per quantity with a cell per sample and pair, and what chance would give."""
    cells: dict[str, Record] = {}
    for row in list_rows(synchrony):
        of = row["sample_a"]
        if pd.notna(row["sample_b"]):
            of = f"{row['sample_b']} minus {of}"
        cells.setdefault(row["quantity"], {})[of] = row
    columns = list(dict.fromkeys(of for found in cells.values() for of in found))
    return {
        "of": columns,
        "quantities": [
            {
                "name": QUANTITIES.get(quantity, quantity),
                "cells": [found.get(of) for of in columns],
                "expected": next(iter(found.values()))["expected"],
            }
            for quantity, found in cells.items()
        ],
    }


def _list_leaks(tables: DamageTables) -> list[Record]:
    """Return by sample what the forest with leaky attributes explains; nothing without any."""
    if not tables.leaks["leaking"].any():
        return []
    forest = tables.scores[tables.scores["model"] == "forest"].set_index("sample")["r2"]
    return [
        {
            "sample": sample,
            "r2_without": forest[sample],
            "r2": rows["r2"].iloc[0],
            "fraction": rows.loc[rows["leaking"], "explained"].sum(),
            "rows": list_rows(
                rows.sort_values("explained", ascending=False, kind="stable").head(_SHOWN_ROWS)
            ),
        }
        for sample, rows in tables.leaks.groupby("sample", sort=False)
    ]


def _describe_autoencoder(tables: DamageTables) -> Record:
    if tables.autoencoder_errors.empty:
        return {}
    best = choose_dimensions(tables.autoencoder_errors)[1]
    return {"best": best, "kept": int(tables.latents["kept"].sum())}


def _tabulate_paper(paper: pd.DataFrame) -> Record:
    """Return mean fractions of the leading attributes, and mean errors of the paper's forests."""
    shares = paper.groupby(["attribute", "sample"], sort=False)["share"].agg(["mean", "std"])
    mean, spread = (100 * shares[name].unstack(sort=False) for name in ("mean", "std"))
    order = mean.mean(axis=1).sort_values(ascending=False, kind="stable").index[:_SHOWN_ROWS]
    text = mean.loc[order].map("{:.1f}".format) + spread.loc[order].map(" ± {:.1f}".format)
    forests = paper.drop_duplicates(["sample", "strategy", "number"])
    columns = ["n_train", "n_test", "mae_train", "mae_test", "mae_mean", "r2_test"]
    errors = forests.groupby(["sample", "strategy"], sort=False)[columns].mean().reset_index()
    return {
        "heads": [f"{sample}: fraction / % ± sd over forests" for sample in mean],
        "shares": text.reset_index().to_numpy().tolist(),
        "errors": list_rows(errors),
    }


def _list_truth(tables: DamageTables) -> list[Record]:
    """Return the simulated drivers; no rank counts where nothing is explained."""
    explained = list_explained(tables.scores)
    rows = [{**row, "ranked": row["sample"] in explained} for row in list_rows(tables.truth)]
    return [
        {**row, "found": row["ranked"] and row["significant"] and row["direction_agrees"]}
        for row in rows
    ]
