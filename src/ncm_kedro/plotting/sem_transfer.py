"""Figure of the transfer study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ncm_kedro.plotting.tomo_colours import BLUE, GREY, ORANGE

_COLOURS = {"texture": BLUE, "network": ORANGE}
_NAMES = {"texture": "texture baseline", "network": "network"}
_SHIFT = 0.13


def plot_transfer(report: Mapping[str, Any]) -> Figure:
    """Balanced accuracy on what training never saw, beside that where it did.

    Parameters
    ----------
    report
        Part of the result of `run_transfer_study`.
    """
    kinds = list(dict.fromkeys(row["kind"] for row in report["rows"]))
    counts = [len({r["held_out"] for r in report["rows"] if r["kind"] == kind}) for kind in kinds]
    figure = Figure(figsize=(7.4, 1.5 + sum(0.6 + 0.42 * n for n in counts)), layout="constrained")
    panels = figure.subplots(
        len(kinds), 1, squeeze=False, sharex=True, height_ratios=[n + 0.6 for n in counts]
    )[:, 0]
    for axes, kind in zip(panels, kinds, strict=True):
        rows = [row for row in report["rows"] if row["kind"] == kind]
        _draw_kind(axes, rows, report["models"])
        axes.set_title(f"{rows[0]['head']}, with a {kind} left out", fontsize=10, loc="left")
    panels[-1].set_xlim(-0.02, 1.02)
    panels[-1].set_xlabel(
        f"balanced accuracy ({report['confidence']:.0%} intervals over areas)", fontsize=9
    )
    handles, labels = panels[0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(
        unique.values(), unique.keys(), loc="outside lower center", ncols=3, frameon=False,
        fontsize=8,
    )  # fmt: skip
    return figure


def _draw_kind(axes: Axes, rows: Sequence[Mapping[str, Any]], models: Sequence[str]) -> None:
    names = list(dict.fromkeys(row["held_out"] for row in rows))
    for row in rows:
        middle = models.index(row["model"]) - (len(models) - 1) / 2
        at = names.index(row["held_out"]) + 2.4 * _SHIFT * middle
        colour, name = _COLOURS[row["model"]], _NAMES[row["model"]]
        seen = [row["in_session"], row["in_session_low"], row["in_session_high"]]
        if seen[0] is not None:
            label = f"{name}, seen in training"
            _draw_score(axes, seen, at - _SHIFT / 2, colour=colour, label=label, face="white")
        unseen = [row["balanced_accuracy"], row["low"], row["high"]]
        _draw_score(
            axes, unseen, at + _SHIFT / 2, colour=colour, label=f"{name}, left out", face=colour
        )
    for place, name in enumerate(names):
        chance = next(row["chance"] for row in rows if row["held_out"] == name)
        axes.plot(
            [chance, chance], [place - 0.45, place + 0.45], color=GREY, linestyle=":",
            label="guessing",
        )  # fmt: skip
    areas = {row["held_out"]: row["n_test_areas"] for row in rows}
    axes.set_yticks(range(len(names)), [f"{n} ({areas[n]} areas)" for n in names], fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.3)


def _draw_score(
    axes: Axes, score: Sequence[float], at: float, *, colour: str, label: str, face: str
) -> None:
    value, low, high = score
    spread = np.maximum([[value - low], [high - value]], 0.0)
    axes.errorbar(
        value, at, xerr=spread, fmt="o", markersize=5, capsize=2.5, color=colour,
        markerfacecolor=face, label=label,
    )  # fmt: skip
