"""How well auto-encoder and principal components reconstruct (Fig. S8B-D of Li et al. 2022)."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from ncm_kedro.plotting.damage_axes import MEDIUM, PAGE_WIDTH_IN, SMALL
from ncm_kedro.plotting.tomo_colours import BLUE, GREEN, GREY, ORANGE

_WORDS = {"regularised": "regularised", "plain": "not regularised", "pca": "components"}
_STYLES = {"regularised": (BLUE, "o"), "plain": (ORANGE, "s"), "pca": (GREEN, "^")}


def plot_autoencoder_errors(errors: pd.DataFrame, chosen: int) -> Figure:
    """Show errors against the number of latent dimensions, mean and standard error of repeats.

    Left: the network's errors of whole validation rows, and of values hidden from it; the chosen
    number is marked. Middle: with and without regularisation. Right: against principal
    components. Solid: hidden values; dashed: whole rows.

    Parameters
    ----------
    errors
        ``d, repeat, method, train_error, validation_error, hidden_error``, errors as mean squares
        per value in standardised units.
    chosen
        Number of latent dimensions that was chosen.
    """
    figure = Figure(figsize=(PAGE_WIDTH_IN, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3, sharey=True)
    _draw_choice(left, errors, chosen)
    _draw_methods(middle, errors, ("regularised", "plain"))
    _draw_methods(right, errors, ("regularised", "pca"))
    left.set_ylabel("mean squared error / variance", fontsize=MEDIUM)
    titles = ("number of dimensions", "regularisation", "against principal components")
    for axes, title in zip((left, middle, right), titles, strict=True):
        axes.set_title(title, fontsize=MEDIUM)
        axes.set_xlabel("latent dimensions", fontsize=MEDIUM)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.tick_params(labelsize=SMALL)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), frameon=False, fontsize=SMALL)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_choice(axes: Axes, errors: pd.DataFrame, chosen: int) -> None:
    for column, colour, marker, words in (
        ("hidden_error", BLUE, "o", "hidden values"),
        ("validation_error", GREY, "D", "whole validation rows"),
        ("train_error", GREY, "", "training rows"),
    ):
        line = "--" if column != "train_error" else ":"
        _draw_curve(
            axes, errors, ("regularised", column), colour=colour, marker=marker, label=words,
            line="-" if column == "hidden_error" else line,
        )  # fmt: skip
    axes.axvline(
        chosen, color=ORANGE, linewidth=1.4, zorder=0, label=f"chosen: {chosen}", gid="chosen"
    )


def _draw_methods(axes: Axes, errors: pd.DataFrame, methods: tuple[str, ...]) -> None:
    for column, line in (("hidden_error", "-"), ("validation_error", "--")):
        for method in methods:
            colour, marker = _STYLES[method]
            kind = "hidden" if column == "hidden_error" else "whole rows"
            _draw_curve(
                axes, errors, (method, column), colour=colour, marker=marker,
                label=f"{_WORDS[method]}, {kind}", line=line,
            )  # fmt: skip


def _draw_curve(
    axes: Axes,
    errors: pd.DataFrame,
    what: tuple[str, str],
    *,
    colour: str,
    marker: str,
    label: str,
    line: str,
) -> None:
    method, column = what
    own = errors[errors["method"] == method].groupby("d")[column]
    mean, standard_error = own.mean(), own.sem().fillna(0.0)
    axes.errorbar(
        mean.index, mean, yerr=standard_error, color=colour, marker=marker, markersize=3,
        linewidth=1.3, linestyle=line, capsize=2, elinewidth=0.8, label=label,
    )  # fmt: skip
