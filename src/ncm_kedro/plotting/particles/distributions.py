"""Figures of attributes by sample: all distributions, and the typical ones with statistics.

Figure of where in the particles their cracks are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ncm_kedro.particles.columns import ATTRIBUTE_NAMES, UNCERTAINTY
from ncm_kedro.plotting.axes import (
    add_sample_legend,
    annotate_empty,
    colour_samples,
    draw_violins,
    name_attribute,
    shorten,
    tick_decades,
)
from ncm_kedro.plotting.numbers import state_p
from ncm_kedro.plotting.style import GREY

STAGE_ATTRIBUTES = ("z_um", "sphericity", "volume_um3", "damage")
_COLUMNS = 6
_TITLE_LENGTH = 26  # characters in a line
_SHOWN_POINTS = 3000
_SHOWN_PAIRS = 4
_MIN_RUNNING = 20
_MAX_BARS = 300


def plot_distributions(attributes: Mapping[str, pd.DataFrame]) -> Figure:
    """Show the distribution of each of the 24 attributes in each sample.

    Parameters
    ----------
    attributes
        Attribute table by sample, in the order to show. Complete particles alone count.
    """
    colours = colour_samples(list(attributes))
    rows = -(-len(ATTRIBUTE_NAMES) // _COLUMNS)
    figure = Figure(figsize=(13.5, 2.15 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes, name in zip(panels, ATTRIBUTE_NAMES, strict=False):
        draw_violins(axes, attributes, name, colours)
        axes.set_title(fill(name_attribute(name, attributes), _TITLE_LENGTH), fontsize=9)
    add_sample_legend(figure, colours, attributes)
    return figure


def plot_stages(attributes: Mapping[str, pd.DataFrame], comparison: pd.DataFrame) -> Figure:
    """Show z, sphericity, volume and damage by sample with their statistics, and damage against
    volume (compare Li et al. 2022, Fig. S6).

    Parameters
    ----------
    attributes
        Attribute table by sample, in the order to show. Complete particles alone count.
    comparison
        What `ncm_kedro.particles.statistics.compare_samples` returned.
    """  # noqa: D205
    samples = list(attributes)
    colours = colour_samples(samples)
    figure = Figure(figsize=(12.0, 7.4), layout="constrained")
    panels = figure.subplot_mosaic([list("abcd"), list("eeee")], height_ratios=[1.0, 1.15])
    for letter, name in zip("abcd", STAGE_ATTRIBUTES, strict=True):
        draw_violins(panels[letter], attributes, name, colours)
        lines = _format_statistics(comparison, samples, name)
        panels[letter].set_title(
            "\n".join([name_attribute(name, attributes), *lines]),
            fontsize=9 if len(lines) < 2 else 8,
        )
    _draw_damage(panels["e"], attributes, colours)
    add_sample_legend(figure, colours, attributes)
    return figure


def run_median(places: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the running median and quartiles over windows of equally many particles.

    Parameters
    ----------
    places, values
        (N,).

    Returns
    -------
    ndarray
        (4, M): median place of the window, lower quartile, median and upper quartile of its
        values; windows overlap by half. M is 0 for few particles.
    """
    width = max(len(places) // 8, _MIN_RUNNING // 2)
    if len(places) < _MIN_RUNNING:
        return np.zeros((4, 0))
    order = np.argsort(places)
    starts = np.unique(np.linspace(0, len(places) - width, 15).astype(np.int64))
    windows = [order[start : start + width] for start in starts]
    return np.array(
        [
            [np.median(places[window]), *np.quantile(values[window], [0.25, 0.5, 0.75])]
            for window in windows
        ]
    ).T


def _format_statistics(comparison: pd.DataFrame, samples: Sequence[str], name: str) -> list[str]:
    lines = []
    for number, (first, second) in enumerate(list(pairwise(samples))[:_SHOWN_PAIRS], start=1):
        match = comparison[
            (comparison["sample_a"] == first)
            & (comparison["sample_b"] == second)
            & (comparison["attribute"] == name)
        ]
        if match.empty or np.isnan(match["cliffs_delta"].iloc[0]):
            continue
        row = match.iloc[0]
        pair = "" if len(samples) == 2 else f"{number} → {number + 1}: "
        lines.append(
            f"{pair}{state_p(row['p_holm'])}, δ = {row['cliffs_delta']:+.2f} ({row['effect']})"
        )
    return lines


def _draw_bars(
    axes: Axes, whole: pd.DataFrame, volume: NDArray[np.float64], damage: NDArray[np.float64]
) -> None:
    """Draw how far the segmentation could move the damage, where few enough are drawn."""
    if f"damage{UNCERTAINTY}" not in whole or not 0 < len(whole) <= _MAX_BARS:
        return
    moved = whole[f"damage{UNCERTAINTY}"].to_numpy(dtype=np.float64, na_value=np.nan)
    low, high = np.minimum(moved, damage), np.minimum(moved, 1.0 - damage)
    axes.errorbar(
        volume, damage, yerr=[low, high], fmt="none", ecolor=GREY, elinewidth=0.6, alpha=0.6,
        zorder=0.5,
    )  # fmt: skip


def _draw_damage(
    axes: Axes, attributes: Mapping[str, pd.DataFrame], colours: Mapping[str, str]
) -> None:
    rng = np.random.default_rng(0)
    drawn = 0
    for sample, colour in colours.items():
        table = attributes[sample]
        whole = table[~table["touches_border"].to_numpy(dtype=bool)]
        both = whole[["volume_um3", "damage"]].to_numpy(dtype=np.float64, na_value=np.nan)
        known = np.isfinite(both).all(axis=1) & (both[:, 0] > 0)
        volume, damage = both[known].T
        _draw_bars(axes, whole[known], volume, damage)
        drawn += len(volume)
        shown = rng.permutation(len(volume))[:_SHOWN_POINTS]
        axes.scatter(
            volume[shown], damage[shown], s=9, color=colour, alpha=0.4, linewidths=0,
            rasterized=True,
        )  # fmt: skip
        place, low, middle, high = run_median(volume, damage)
        axes.fill_between(place, low, high, color=colour, alpha=0.16, linewidth=0)
        axes.plot(place, middle, color="white", linewidth=4.0)
        axes.plot(place, middle, color=colour, linewidth=2.2)
    if drawn:
        axes.set_xscale("log")
        tick_decades(axes.xaxis, *axes.dataLim.intervalx)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
        annotate_empty(axes, "no complete particle")
    axes.set_xlabel(name_attribute("volume_um3", attributes))
    axes.set_ylabel("damage")
    axes.set_title("damage against volume; line: running median, band: quartiles", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def summarise_profiles(profiles: pd.DataFrame, attributes: pd.DataFrame) -> pd.DataFrame:
    """Return the damage of a sample's complete particles in shells from surface to core.

    Parameters
    ----------
    profiles
        ``particle_id, shell, depth_low, depth_high, voxel_count, crack_voxels``, a row per
        particle and shell; may be empty.
    attributes
        Attribute table of the same sample.

    Returns
    -------
    DataFrame
        A row per shell: ``depth`` (its middle, 0 surface to 1 core), ``particles`` with voxels in
        it, ``damage`` of all their voxels pooled, and ``low, middle, high``: quartiles of the
        particles' own damage there.
    """
    columns = ["depth", "particles", "damage", "low", "middle", "high"]
    whole = attributes.loc[~attributes["touches_border"].to_numpy(dtype=bool), "particle_id"]
    if profiles.empty:
        return pd.DataFrame(columns=columns, dtype=np.float64)
    known = profiles[profiles["particle_id"].isin(whole) & (profiles["voxel_count"] > 0)]
    rows = []
    for _, shell in known.groupby("shell"):
        voxels, cracks = shell["voxel_count"].to_numpy(), shell["crack_voxels"].to_numpy()
        quartiles = np.quantile(cracks / voxels, [0.25, 0.5, 0.75])
        depth = float(shell[["depth_low", "depth_high"]].iloc[0].mean())
        rows.append((depth, len(shell), cracks.sum() / voxels.sum(), *quartiles))
    return pd.DataFrame(rows, columns=columns, dtype=np.float64)


def plot_crack_profiles(
    profiles: Mapping[str, pd.DataFrame], attributes: Mapping[str, pd.DataFrame]
) -> Figure:
    """Show the damage of each sample against normalised depth.

    Parameters
    ----------
    profiles
        Crack profiles by sample; a sample may be missing.
    attributes
        Attribute table by sample, in the order to show. Complete particles alone count.
    """
    colours = colour_samples(list(attributes))
    figure = Figure(figsize=(8.5, 4.4), layout="constrained")
    axes = figure.subplots()
    for sample, colour in colours.items():
        if sample in profiles:
            _draw_profile(axes, summarise_profiles(profiles[sample], attributes[sample]), sample,
                          colour)  # fmt: skip
    if axes.lines:
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=9)
    else:
        axes.set_yticks([])
        annotate_empty(axes, "no complete particle with a profile")
    axes.set_xlim(0, 1)
    axes.set_xlabel("normalised depth: 0 surface, 1 core")
    axes.set_ylabel("damage: fraction of voxels in cracks and voids")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_profile(axes: Axes, shells: pd.DataFrame, sample: str, colour: str) -> None:
    if shells.empty:
        return
    most = int(shells["particles"].max())
    axes.fill_between(
        shells["depth"], shells["low"], shells["high"], color=colour, alpha=0.16, linewidth=0
    )
    axes.plot(shells["depth"], shells["middle"], color=colour, linewidth=1.0, linestyle=":")
    axes.plot(
        shells["depth"], shells["damage"], "o-", color=colour, linewidth=2.0, markersize=4,
        label=f"{shorten(sample)}: {most} complete", gid="pooled",
    )  # fmt: skip
