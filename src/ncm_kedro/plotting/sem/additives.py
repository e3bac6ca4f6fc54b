"""Figures of a classifier on new electrodes: accuracy, probability profiles, Grad-CAM pairs.

Figure of the transfer study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ncm_kedro.plotting.axes import annotate_empty
from ncm_kedro.plotting.sem.explain import scale_map
from ncm_kedro.plotting.style import BLUE, GREY, ORANGE, draw_scale_bar
from ncm_kedro.sem.inference.additive_scores import MapPair, MappedCrop, name_condition

_SCORES = {
    "overall": ("composition and state", "overall"),
    "composition_accuracy": ("composition", "composition"),
    "state_accuracy": ("state", "state"),
}
_WITH, _WITHOUT, _KNOWN = "new electrode, additive", "new electrode, no additive", "test split"
_STYLES = {_WITH: (ORANGE, "o"), _WITHOUT: (BLUE, "o"), _KNOWN: (GREY, "s")}
_DARK = 0.55
_SMALLEST_SHOWN = 0.05
_OPACITY = 0.75


def plot_additive_accuracy(report: Mapping[str, Any]) -> Figure:
    """Accuracy per condition: both together, composition and state (as Fig. 4a of Oh et al.).

    Parameters
    ----------
    report
        Result of `report_conditions`.
    """
    rows = _list_rows(report)
    figure = Figure(figsize=(9.6, 1.7 + 0.3 * len(rows)), layout="constrained")
    panels = figure.subplots(1, len(_SCORES), sharey=True)
    for axes, (score, (title, role)) in zip(panels, _SCORES.items(), strict=True):
        _draw_scores(axes, rows, score)
        axes.axvline(report["chance"][role], color="black", linestyle=":", linewidth=1.0)
        axes.set_xlim(-0.03, 1.03)
        axes.set_title(title, fontsize=10)
        axes.grid(axis="x", alpha=0.3)
        axes.tick_params(axis="x", labelsize=8)
    panels[1].set_xlabel(
        f"accuracy (fraction of crops; dotted: chance; bars: {report['confidence']:.0%} interval "
        "over areas, none below 8 areas)",
        fontsize=8,
    )
    panels[0].set_yticks(range(len(rows)), [_name_row(row) for row in rows], fontsize=8)
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    handles, labels = _collect_labels(panels[0])
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def plot_probability_profiles(report: Mapping[str, Any]) -> Figure:
    """Mean probability of every class per condition; the true class is framed.

    Parameters
    ----------
    report
        Result of `report_conditions`.
    """
    rows, classes = _list_rows(report), report["classes"]
    shares = np.array([[row["profile"][name] for name in classes] for _, row in rows])
    figure = Figure(
        figsize=(2.6 + 0.55 * len(classes), 1.5 + 0.32 * len(rows)), layout="constrained"
    )
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    for row, column in np.argwhere(shares >= _SMALLEST_SHOWN):
        axes.text(
            column, row, f"{shares[row, column]:.2f}", ha="center", va="center", fontsize=7,
            color="white" if shares[row, column] > _DARK else "black",
        )  # fmt: skip
    for place, (_, row) in enumerate(rows):
        if row["class"] in classes:
            at = classes.index(row["class"]) - 0.5
            axes.plot(
                [at, at + 1, at + 1, at, at],
                [place - 0.5, place - 0.5, place + 0.5, place + 0.5, place - 0.5],
                color=ORANGE, linewidth=1.6,
            )  # fmt: skip
    axes.set_xlim(-0.55, len(classes) - 0.45)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), [_name_row(row) for row in rows], fontsize=8)
    axes.set_xlabel("class (orange: the true one)", fontsize=9)
    bar = figure.colorbar(picture, ax=axes, shrink=0.8)
    bar.set_label("mean probability", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def plot_additive_maps(pairs: Sequence[MapPair]) -> Figure:
    """Typical crops without and with additive, with their Grad-CAM (as Fig. 4b of Oh et al.).

    Parameters
    ----------
    pairs
        Result of `map_pairs`, not empty.
    """
    figure = Figure(figsize=(8.4, 0.6 + 1.74 * len(pairs)), layout="constrained")
    panels = figure.subplots(len(pairs), 5, squeeze=False)
    for axes, pair in zip(panels, pairs, strict=True):
        for panel in axes:
            panel.set_xticks([])
            panel.set_yticks([])
            panel.spines[:].set_visible(False)
        name = f"{pair.class_name}\n+ {pair.additive}" if pair.additive else pair.class_name
        axes[0].set_ylabel(name, fontsize=8)
        if pair.without is None:
            annotate_empty(axes[0], "none")
        else:
            _draw_pair(axes[0], axes[1], pair.without)
        _draw_pair(axes[2], axes[3], pair.within)
        if pair.within_true is not None:
            _draw_map(axes[4], pair.within_true)
    heads = ("without", "Grad-CAM, predicted", "with", "Grad-CAM, predicted", "Grad-CAM, true")
    if not any(pair.additive for pair in pairs):
        heads = ("test split", heads[1], "new electrode", *heads[3:])
    for panel, head in zip(panels[0], heads, strict=True):
        panel.set_title(f"{head}\n{panel.get_title(loc='left')}", fontsize=8, loc="left")
    return figure


def _list_rows(report: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Conditions by class, the test split (in-distribution reference) first."""
    rows = [(_KNOWN, entry) for entry in report["known"]]
    rows += [(_WITH if e["additive"] else _WITHOUT, e) for e in report["conditions"]]
    order = list(_STYLES)[::-1]
    return sorted(rows, key=lambda row: (row[1]["class"], order.index(row[0]), row[1]["additive"]))


def _name_row(row: tuple[str, Mapping[str, Any]]) -> str:
    kind, entry = row
    if kind == _KNOWN:
        return f"{entry['class']}, test split ({entry['n_areas']} areas)"
    areas = "1 area" if entry["n_areas"] == 1 else f"{entry['n_areas']} areas"
    return f"{name_condition(entry)} ({areas})"


def _draw_scores(axes: Axes, rows: list[tuple[str, Mapping[str, Any]]], score: str) -> None:
    for place, (kind, entry) in enumerate(rows):
        found, (colour, marker) = entry[score], _STYLES[kind]
        if found is None:
            axes.text(0.02, place, "class not in the model", va="center", fontsize=7, color=GREY)
            continue
        spread = None
        if found["low"] is not None:
            low, high = found["value"] - found["low"], found["high"] - found["value"]
            spread = [[max(low, 0.0)], [max(high, 0.0)]]
        axes.errorbar(
            found["value"], place, xerr=spread, fmt=marker, markersize=5, capsize=3, color=colour,
            label=kind,
        )  # fmt: skip


def _collect_labels(axes: Axes) -> tuple[list[Any], list[str]]:
    handles, labels = axes.get_legend_handles_labels()
    first = {label: handle for handle, label in zip(handles[::-1], labels[::-1], strict=True)}
    kinds = [kind for kind in _STYLES if kind in first]
    return [first[kind] for kind in kinds], kinds


def _draw_pair(left: Axes, right: Axes, crop: MappedCrop) -> None:
    left.imshow(crop.grey_yx, cmap="gray")
    height, width = crop.grey_yx.shape
    draw_scale_bar(left, (height, width), crop.pixel_size_um)
    _draw_map(right, crop)


def _draw_map(axes: Axes, crop: MappedCrop) -> None:
    strength = scale_map(crop.map_yx)
    axes.imshow(crop.grey_yx, cmap="gray")
    axes.imshow(strength, cmap="inferno", alpha=_OPACITY * np.sqrt(strength), vmin=0, vmax=1)
    axes.set_title(f"{crop.target}  p = {crop.probability:.2f}", fontsize=8, loc="left")


_COLOURS = {"texture": BLUE, "network": ORANGE}
_NAMES = {"texture": "texture baseline", "network": "network"}
_SHIFT = 0.13


def plot_transfer(report: Mapping[str, Any]) -> Figure:
    """Balanced accuracy on what was held out, beside that where it was in training.

    Parameters
    ----------
    report
        Part of the result of `report_transfer`.
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
        axes.set_title(f"{rows[0]['head']}, with a {kind} held out", fontsize=10, loc="left")
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
            label = f"{name}, in training"
            _draw_score(axes, seen, at - _SHIFT / 2, colour=colour, label=label, face="white")
        unseen = [row["balanced_accuracy"], row["low"], row["high"]]
        _draw_score(
            axes, unseen, at + _SHIFT / 2, colour=colour, label=f"{name}, held out", face=colour
        )
    for place, name in enumerate(names):
        chance = next(row["chance"] for row in rows if row["held_out"] == name)
        axes.plot(
            [chance, chance], [place - 0.45, place + 0.45], color=GREY, linestyle=":",
            label="chance",
        )  # fmt: skip
    areas = {row["held_out"]: row["n_test_areas"] for row in rows}
    axes.set_yticks(range(len(names)), [f"{n} ({areas[n]} areas)" for n in names], fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.3)


def _draw_score(
    axes: Axes, score: Sequence[float], at: float, *, colour: str, label: str, face: str
) -> None:
    value, low, high = np.array(score, dtype=np.float64)  # bounds may be None
    spread = np.maximum([[value - low], [high - value]], 0.0)
    axes.errorbar(
        value, at, xerr=spread, fmt="o", markersize=5, capsize=2.5, color=colour,
        markerfacecolor=face, label=label,
    )  # fmt: skip
