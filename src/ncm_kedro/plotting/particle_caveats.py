"""What could fool the reader of particle attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ncm_kedro.plotting.particle_axes import write_unit

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
    if pd.isna(facts.get("field_of_view_share")):
        found.append(
            "no field of view is known: all of the volume counts as seen. If it is a cylinder in a "
            "box, packing densities near its edge are too low and particles there count as whole."
        )
    return found + _judge_flags(details)


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
        What `ncm_kedro.particles.robustness.weigh_uncertainty` returned for it.
    """
    beyond = weighed.loc[weighed["uncertainty"] > weighed["spread"], "attribute"]
    if beyond.empty:
        return []
    names = ", ".join(write_unit(name, "1") for name in beyond)
    return [
        f"{sample}: the segmentation could move these further than particles differ in them: "
        f"{names}. What sets particles apart there may be their outlines."
    ]


def _judge_flags(details: pd.DataFrame) -> list[str]:
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
