"""Figure of where in the particles their cracks are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ncm_kedro.plotting.particle_axes import colour_samples, say_nothing, shorten


def summarise_profiles(profiles: pd.DataFrame, attributes: pd.DataFrame) -> pd.DataFrame:
    """Return the damage of a sample's whole particles in shells from surface to core.

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
        it, ``damage`` of all their voxels together, and ``low, middle, high``: quartiles of the
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
        Attribute table by sample, in the order to show. Whole particles alone count.
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
        say_nothing(axes, "no whole particle with a profile")
    axes.set_xlim(0, 1)
    axes.set_xlabel("normalised depth: 0 surface, 1 core")
    axes.set_ylabel("damage: share of voxels in cracks and voids")
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
        label=f"{shorten(sample)}: {most} whole", gid="pooled",
    )  # fmt: skip
