"""Figures of what explains damage, of the explained variance, and of the uncertainty of ranks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ncm_kedro.plotting.axes import (
    MEDIUM,
    SMALL,
    add_legend,
    align_limits,
    annotate_empty,
    colour_samples,
    measure_rows,
    name_rows,
    open_panels,
    shorten,
    wrap_name,
)
from ncm_kedro.plotting.numbers import write_sign
from ncm_kedro.plotting.style import BLUE, GREY, INK, ORANGE

_FAINT = 0.32
_MODELS = {"forest": (BLUE, "o"), "linear": (ORANGE, "s"), "mean": (GREY, "D")}
_FRAME_IN = 0.75


def plot_importance(importance: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    """Show the fraction of the variance of damage that each group explains out of sample.

    A sample whose damage the forest does not explain gets a sentence instead of a ranking.

    Parameters
    ----------
    importance
        A row per sample and group: ``sample, group, kind`` (group or noise), ``explained,
        explained_low, explained_high`` (fractions), ``rank, rank_low, rank_high, direction`` (-1 to
        1), ``significant``.
    scores
        A row per sample and model: ``sample, model, r2, r2_low, r2_high, p_value, explains``.
    """
    samples = list(importance["sample"].unique())
    colours = colour_samples(samples)
    parts = [importance[importance["sample"] == sample] for sample in samples]
    tallest = max((measure_rows(_label(part)) for part in parts), default=1.0)
    figure, panels = open_panels(len(samples), 2, tallest + _FRAME_IN)
    if not samples:
        annotate_empty(panels[0], "No attribute was explained with.")
        return figure
    ranked = []
    for axes, sample, part in zip(panels, samples, parts, strict=True):
        axes.set_title(shorten(sample), fontsize=MEDIUM, fontweight="bold")
        reason = _find_reason(scores, sample)
        if reason:
            annotate_empty(axes, reason)
            continue
        _draw_bars(axes, part, colours[sample])
        ranked.append(axes)
    if ranked:
        align_limits(ranked)
        handles: list[Artist] = [
            Patch(color=INK, label="significant"),
            Patch(color=INK, alpha=_FAINT, label="not significant"),
            Line2D([], [], color=INK, linestyle="--", linewidth=1.0,
                   label="noise column (band: interval)"),
        ]  # fmt: skip
        add_legend(figure, handles)
    return figure


def plot_importance_differences(differences: pd.DataFrame, false_discovery: float = 0.05) -> Figure:
    """Show how what is explained differs between samples.

    Parameters
    ----------
    differences
        A row per pair and group: ``sample_a, sample_b, group, difference`` (``sample_b`` minus
        ``sample_a``, fraction of the variance), ``low, high, q_value``.
    false_discovery
        Differences with at most this q-value are drawn filled (no unit).
    """
    pairs = list(differences[["sample_a", "sample_b"]].drop_duplicates().itertuples(index=False))
    parts = [
        differences[(differences["sample_a"] == first) & (differences["sample_b"] == second)]
        for first, second in pairs
    ]
    tallest = max((measure_rows(_label(part)) for part in parts), default=1.0)
    figure, panels = open_panels(len(pairs), 2, tallest + _FRAME_IN)
    if not pairs:
        annotate_empty(panels[0], "There are no two samples to compare.")
        return figure
    for axes, (first, second), part in zip(panels, pairs, parts, strict=True):
        order = part["difference"].abs().sort_values(ascending=False).index
        part = part.loc[order]  # noqa: PLW2901  (the same rows, sorted)
        axes.axvline(0.0, color=GREY, linewidth=0.8)
        for place, row in enumerate(part.to_dict("records")):
            found = row["q_value"] <= false_discovery
            axes.plot([100 * row["low"], 100 * row["high"]], [place, place],
                      color=INK if found else GREY, linewidth=1.2)  # fmt: skip
            axes.plot(
                100 * row["difference"], place, "o", markersize=4.5, markeredgecolor=INK,
                markerfacecolor=INK if found else "white", markeredgewidth=0.8,
            )  # fmt: skip
        name_rows(axes, _label(part))
        axes.set_title(f"{shorten(second)} minus {shorten(first)}", fontsize=MEDIUM)
        axes.set_xlabel("difference of variance explained\n/ percentage points", fontsize=MEDIUM)
    align_limits(panels)
    handles = [
        Line2D([], [], marker="o", color=INK, markersize=4.5,
               label=f"q ≤ {false_discovery:g}"),
        Line2D([], [], marker="o", color=GREY, markersize=4.5, markeredgecolor=INK,
               markerfacecolor="white", label="not significant"),
    ]  # fmt: skip
    add_legend(figure, handles)
    return figure


def plot_scores(scores: pd.DataFrame) -> Figure:
    """Show R2 and mean absolute error out of sample beside a linear model and the mean.

    Parameters
    ----------
    scores
        A row per sample and model: ``sample, model`` (forest, linear, mean), ``r2, r2_low,
        r2_high, mae, mae_low, mae_high``.
    """
    samples = list(scores["sample"].unique())
    figure, panels = open_panels(2, 2, 2.5)
    for axes, score, label in zip(
        panels, ("r2", "mae"), ("R² out of sample", "mean absolute error of damage"), strict=True
    ):
        if not samples:
            annotate_empty(axes, "No model was scored.")
            continue
        for number, (model, (colour, marker)) in enumerate(_MODELS.items()):
            rows = scores[scores["model"] == model]
            places = [samples.index(sample) + 0.2 * (number - 1) for sample in rows["sample"]]
            axes.vlines(places, rows[f"{score}_low"], rows[f"{score}_high"], colors=colour,
                        linewidth=1.5)  # fmt: skip
            axes.plot(places, rows[score], marker, color=colour, markersize=5, label=model)
        axes.set_xticks(range(len(samples)), [shorten(sample) for sample in samples],
                        fontsize=SMALL, rotation=30 if len(samples) > 3 else 0)  # fmt: skip
        axes.set_xlim(-0.6, len(samples) - 0.4)
        axes.set_ylabel(label, fontsize=MEDIUM)
    if samples:
        panels[0].axhline(0.0, color=GREY, linewidth=0.8, zorder=0)
        panels[1].set_ylim(bottom=0.0)
        add_legend(figure, panels[0].get_legend_handles_labels()[0])
    return figure


def plot_uncertain_ranks(ranks: pd.DataFrame, importance: pd.DataFrame) -> Figure:
    """Show how often each group takes each rank when attributes move within their uncertainty.

    Parameters
    ----------
    ranks
        A row per sample, group and draw: ``sample, group, draw, rank`` (1: explains most).
    importance
        As in `plot_importance`; its ranks are those as measured.
    """
    samples = list(ranks["sample"].unique())
    parts = [ranks[ranks["sample"] == sample] for sample in samples]
    tallest = max((measure_rows(_name_groups(part["group"].unique())) for part in parts),
                  default=1.0)  # fmt: skip
    figure, panels = open_panels(len(samples), 2, tallest + _FRAME_IN)
    if not samples:
        annotate_empty(panels[0], "Attributes were not varied: they have no uncertainty estimate.")
        return figure
    for axes, sample, part in zip(panels, samples, parts, strict=True):
        own = importance[(importance["sample"] == sample) & (importance["kind"] == "group")]
        _draw_ranks(axes, part, own.set_index("group")["rank"])
        axes.set_title(shorten(sample), fontsize=MEDIUM, fontweight="bold")
    shrink = 0.8 / -(-len(panels) // 2)
    bar = figure.colorbar(panels[0].images[0], ax=panels, shrink=shrink, aspect=25)
    bar.set_label("draws that give this rank / %", fontsize=MEDIUM)
    bar.ax.tick_params(labelsize=SMALL)
    dot = Line2D([], [], linestyle="", marker="o", markersize=5, markerfacecolor="white",
                 markeredgecolor=ORANGE, markeredgewidth=1.4, label="rank as measured")  # fmt: skip
    add_legend(figure, [dot])
    return figure


def _label(part: pd.DataFrame) -> list[str]:
    return _name_groups(part["group"])


def _name_groups(groups: Sequence[str] | pd.Series) -> list[str]:
    return [wrap_name(str(group)) for group in groups]


def _find_reason(scores: pd.DataFrame, sample: str) -> str:
    """Return why a sample has no ranking; empty where it has one."""
    row = scores[(scores["sample"] == sample) & (scores["model"] == "forest")]
    if row.empty:
        return "Prediction of damage was not evaluated: no ranking."
    score = row.iloc[0]
    if score["explains"]:
        return ""
    return (
        f"The attributes explain nothing of the damage here: R² out of sample {score['r2']:.2f} "
        f"({score['r2_low']:.2f} to {score['r2_high']:.2f}), p = {score['p_value']:.2g}. "
        "A ranking would be one of noise."
    )


def _draw_bars(axes: Axes, part: pd.DataFrame, colour: str) -> None:
    noise = part[part["kind"] == "noise"]
    groups = part[part["kind"] == "group"].sort_values("rank", kind="stable")
    for row in noise.to_dict("records"):
        axes.axvspan(100 * row["explained_low"], 100 * row["explained_high"], color=GREY, alpha=0.2,
                     linewidth=0)  # fmt: skip
        axes.axvline(100 * row["explained"], color=INK, linestyle="--", linewidth=1.0)
    across = axes.get_yaxis_transform()
    for place, row in enumerate(groups.to_dict("records")):
        strength = 1.0 if row["significant"] else _FAINT
        axes.barh(place, 100 * row["explained"], height=0.62, color=colour, alpha=strength)
        axes.hlines(place, 100 * row["explained_low"], 100 * row["explained_high"], colors=INK,
                    linewidth=1.0, alpha=max(strength, 0.6))  # fmt: skip
        ink = INK if row["significant"] else GREY
        axes.text(1.05, place, write_sign(row["direction"]), transform=across, fontsize=MEDIUM + 1,
                  ha="center", va="center", color=ink, fontweight="bold")  # fmt: skip
        axes.text(1.11, place, _format_rank(row),
                  transform=across, fontsize=SMALL, va="center", color=ink)  # fmt: skip
    name_rows(axes, _label(groups))
    axes.axvline(0.0, color=GREY, linewidth=0.8)
    axes.text(1.02, -0.75, "sign, rank", transform=across, fontsize=SMALL, va="bottom",
              color=INK, fontstyle="italic")  # fmt: skip
    axes.set_xlabel("variance of damage explained / %", fontsize=MEDIUM)


def _draw_ranks(axes: Axes, moved: pd.DataFrame, measured: pd.Series) -> None:
    """Shade how often each rank is taken; groups stand in the order as measured."""
    order = moved.groupby("group")["rank"].mean().sort_values().index
    order = measured.reindex(order).sort_values(kind="stable").index
    most = len(order)
    taken = pd.crosstab(moved["group"], moved["rank"].round().astype(int), normalize="index")
    share = taken.reindex(index=order, columns=range(1, most + 1), fill_value=0.0)
    name_rows(axes, _name_groups(order.tolist()))
    axes.grid(visible=False)
    axes.imshow(
        100 * share.to_numpy(), cmap="Blues", vmin=0, vmax=100, aspect="auto",
        extent=(0.5, most + 0.5, len(order) - 0.5, -0.5),
    )  # fmt: skip
    axes.plot(measured.reindex(order), range(len(order)), "o", markersize=5,
              markerfacecolor="white", markeredgecolor=ORANGE, markeredgewidth=1.4)  # fmt: skip
    axes.set_xticks(range(1, most + 1, -(-most // 8)))
    axes.set_xlabel("rank", fontsize=MEDIUM)


def _format_rank(row: Mapping[Hashable, Any]) -> str:
    return f"{row['rank']:.0f} ({row['rank_low']:.0f}-{row['rank_high']:.0f})"
