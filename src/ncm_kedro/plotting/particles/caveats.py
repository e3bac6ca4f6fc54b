"""What could fool the reader of particle attributes.

What the page on particles says of its figures and definitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ncm_kedro.plotting.axes import write_unit

_FEW = 30
_BORDER_SHARE = 0.5
_TOO_LARGE_SHARE = 0.01
_PIECES_SHARE = 0.05
_VOXEL_RATIO = 1.1
_EDGES = ("voxel_z_um", "voxel_y_um", "voxel_x_um")


def list_sample_caveats(
    attributes: pd.DataFrame, details: pd.DataFrame, facts: Mapping[str, Any]
) -> list[str]:
    """List what limits the conclusions from a sample.

    Parameters
    ----------
    attributes, details
        Tables of the sample.
    facts
        Its row of the tomogram table.

    Returns
    -------
    list of str
        A sentence or two each.
    """
    if attributes.empty:
        return ["no particle was measured: the labels are empty. See the page of tomo_segment."]
    border = attributes["touches_border"].to_numpy(dtype=bool)
    whole = int((~border).sum())
    found = []
    if whole < _FEW:
        found.append(f"only {whole} particles are whole: distributions over them are rough.")
    if border.mean() > _BORDER_SHARE:
        found.append(
            f"{border.mean():.0%} of the particles are cut by the border. They are left out of all "
            "distributions and comparisons; since large particles are cut more often, what is left "
            "is smaller than the electrode's particles."
        )
    if attributes["electron_density"].isna().all():
        found.append("no grey values: electron density and homogeneity are null.")
    if pd.isna(facts.get("field_of_view_fraction")):
        found.append(
            "no field of view is known: all of the volume counts as seen. If it is a cylinder in a "
            "box, packing densities near its edge are too low and particles there count as whole."
        )
    return found + _evaluate_flags(details)


def list_pair_caveats(samples: Sequence[str], table: pd.DataFrame) -> list[str]:
    """List what makes samples hard to compare, whatever their particles.

    Parameters
    ----------
    samples
        Names.
    table
        Tomogram table.
    """
    rows = table[table["sample"].isin(samples)]
    if len(rows) < 2:
        return []
    found = []
    edge = rows[list(_EDGES)].astype(float).prod(axis=1) ** (1 / 3)
    if edge.max() > _VOXEL_RATIO * edge.min():
        found.append(
            f"The voxels differ in size ({edge.min():.3g} to {edge.max():.3g} um). Thin cracks and "
            "rough surfaces are seen by the smaller voxels alone: a difference in damage, inner "
            "surface or roughness may be one of resolution."
        )
    rates = rows["c_rate"].dropna().unique()
    if len(rates) > 1:
        found.append(
            "The C-rates differ ("
            + ", ".join(f"{rate:g}" for rate in np.sort(rates))
            + "): cycles and rate cannot be told apart."
        )
    unknown = rows.loc[rows["cycles"].isna(), "sample"].tolist()
    if unknown:
        found.append(
            f"The number of cycles is not known of {', '.join(unknown)}: these come last, by name. "
            "Give it as cycles in the sample's .yml."
        )
    return found


def list_setting_caveats(attributes: Mapping[str, pd.DataFrame]) -> list[str]:
    """List the settings in which the measurements of samples differ.

    Parameters
    ----------
    attributes
        Attribute table by sample, its settings in ``attrs``.
    """
    settings = [table.attrs.get("settings", {}) for table in attributes.values()]
    names = sorted({name for known in settings for name in known})
    differ = [name for name in names if any(s.get(name) != settings[0].get(name) for s in settings)]
    if not differ:
        return []
    return [
        f"The samples were not measured alike: {', '.join(differ)} differ. Measure all of them "
        "with the same settings before you compare."
    ]


def list_uncertain(sample: str, weighed: pd.DataFrame) -> list[str]:
    """Name the attributes that the segmentation could move further than particles differ.

    Parameters
    ----------
    sample
        Its name.
    weighed
        What `ncm_kedro.particles.statistics.compare.weigh_uncertainty` returned for it.
    """
    beyond = weighed.loc[weighed["uncertainty"] > weighed["spread"], "attribute"]
    if beyond.empty:
        return []
    names = ", ".join(write_unit(name, "1") for name in beyond)
    return [
        f"{sample}: the segmentation could move these further than particles differ in them: "
        f"{names}. What sets particles apart there may be their outlines."
    ]


def _evaluate_flags(details: pd.DataFrame) -> list[str]:
    marked = {
        flag: float(details["flags"].str.split(",").map(lambda names, f=flag: f in names).mean())
        for flag in ("too_large", "pieces")
    }
    found = []
    if marked["too_large"] > _TOO_LARGE_SHARE:
        found.append(
            f"{marked['too_large']:.0%} of the particles are too large to be filled: their damage "
            "is that of the marked cracks alone. Raise max_cutout_vx."
        )
    if marked["pieces"] > _PIECES_SHARE:
        found.append(
            f"{marked['pieces']:.0%} of the particles fall into pieces that do not touch: look "
            "whether these labels join particles."
        )
    return found


BORDER_NOTE = (
    "Particles that touch the border of the volume or of the field of view are left out of every "
    "distribution and every comparison, positions included."
)
CAPTIONS = {
    "distributions": "The 24 attributes of Table S1 by sample. Bar: median; thick line: quartiles. "
    "Volumes and outer surfaces on a logarithmic scale",
    "stages": "Position, sphericity, volume and damage by sample, and damage against volume. p: "
    "Mann-Whitney U after Holm over the attributes; δ: Cliff's delta, positive where the later "
    "sample is larger. Grey bars, where uncertainties were measured and particles are few: how far "
    "the segmentation could move the damage",
    "profiles": "Damage in shells from surface to core, whole particles. Thick line: all voxels of "
    "a shell together, so that large particles count more; dotted line and band: median and "
    "quartiles over particles, which count alike",
    "pairs": "Attributes against each other; above the diagonal Spearman's rank correlation, in "
    "the colour of the sample",
    "truth": "Measured against known values. Filled: whole particles, which the numbers are of; "
    "hollow: cut by the border. Bias: mean of measured minus true (volume and diameter: in per "
    "cent of the true value) ± standard deviation",
}
SHEET_CAPTION = (
    "The most and the least damaged whole particles of {sample}, cut in the xy plane through the "
    "centre; number and damage of the whole particle. Yellow: outline of the label; red: marked "
    "cracks and voids. A section may miss what the volume holds"
)
DEFINITIONS = {
    "corrected": (
        "Volume: the label with its cracks and voids filled (closing by a ball, then enclosed "
        "voids), without other particles. Damage: share of it that is crack or void.",
        "Surfaces: Crofton's formula over 13 directions; outer: of the filled particle, inner: of "
        "its cracks and voids. Sphericity 36 π V² / S³ and vs_ratio V^(1/3) / S^(1/2) take the "
        "outer surface: they are one quantity in two forms. Elongation: longest over shortest "
        "principal axis.",
        "Contact: share of the outer surface that faces another particle across the contact gap "
        "or less. Packing density: labelled share of the window around the particle that lies in "
        "the volume and the field of view. Distance: mean to the nearest particles' centres; "
        "*_std and orientation isotropy (nematic order, 1: aligned): over the nearest whole ones.",
        "Electron density and homogeneity: mean and inverse standard deviation of the grey values "
        "of the solid, cracks left out. What is not defined is null, never 0. docs/attributes.md "
        "sets every definition beside the paper's text and code.",
    ),
    "paper": (
        "These are the definitions of Li et al. 2022 as the text gives them, the published code's "
        "where it is silent, known errors included: intact particles get damage, grey values "
        "include the cracks, shape takes the surface of the cracks along. Use them to compare "
        "with published numbers, and the preset corrected for everything else. "
        "docs/attributes.md sets both side by side.",
        "Orientation isotropy is here the standard deviation of the angles over the nearest "
        "particles, in degrees.",
    ),
}
STATISTICS = (
    "Difference: of the medians, with its bootstrap interval. p: two-sided Mann-Whitney U "
    "test, after Holm over the attributes of a pair. Cliff's delta: how much more often a "
    "particle of the second sample is above one of the first than below it, from -1 to 1; "
    "its size in words after Romano et al. (2006): negligible below 0.147, small below 0.33, "
    "medium below 0.474, large above. Intervals are at a confidence of {confidence:.4g} %."
)
UNCERTAINTY = (
    "Everything was measured again with outlines one voxel wider and one voxel tighter and, where "
    "cracks are marked and grey values are known, with the threshold between solid and crack "
    "raised and lowered. Uncertainty: half the span of what came out. Spread: between the "
    "quartiles of the particles (of angles: about their mean axis). Ratio: uncertainty over "
    "spread. Outlines that are wrong in the same way everywhere move all particles together: that "
    "shifts medians, and leaves the order of the particles nearly as it is. Noise, the choice of "
    "definition and particles that were not found are not in these numbers."
)
PROFILES = (
    "Depth is counted from each particle's surface to its deepest place. Shells near the core hold "
    "few voxels: their quartiles are rough, and an inner void shows there as damage. Outlines that "
    "stand too far out or in show as too much or too little damage in the first shell."
)
