"""Names, units and paper names of the attributes (Table S1 of Li et al. 2022); their values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

IDENTITY_COLUMNS = (
    "sample", "particle_id", "touches_border", "voxel_count", "orientation_defined",
)  # fmt: skip


@dataclass(frozen=True)
class Attribute:
    """A column of the attribute table.

    Attributes
    ----------
    name
        Column.
    paper_id
        ID in Table S1; 18 is not in the table but in the published code.
    paper_name
        Name there.
    unit
        Of the values; 1 for pure numbers.
    """

    name: str
    paper_id: int
    paper_name: str
    unit: str


ATTRIBUTES = (
    Attribute("x_um", 1, "X", "um"),
    Attribute("y_um", 2, "Y", "um"),
    Attribute("z_um", 3, "Z", "um"),
    Attribute("yaw_deg", 4, "Yaw", "degree"),
    Attribute("pitch_deg", 5, "Pitch", "degree"),
    Attribute("roll_deg", 6, "Roll", "degree"),
    Attribute("electron_density", 7, "EDensity", "grey value"),
    Attribute("homogeneity", 8, "Homogeneity", "1/grey value"),
    Attribute("surface_inner_um2", 9, "SurfaceInner", "um2"),
    Attribute("surface_outer_um2", 10, "SurfaceOuter", "um2"),
    Attribute("volume_um3", 11, "Volume", "um3"),
    Attribute("damage", 12, "Damage", "1"),
    Attribute("elongation", 13, "Elongation", "1"),
    Attribute("sphericity", 14, "Sphericity", "1"),
    Attribute("vs_ratio", 15, "VSratio", "1"),
    Attribute("roughness_inner", 16, "RoughInner", "1"),
    Attribute("roughness_outer", 17, "RoughOuter", "1"),
    Attribute("sphericity_std", 18, "SphericityStd", "1"),
    Attribute("contact", 19, "Contact", "1"),
    Attribute("packing_density", 20, "PDensity", "1"),
    Attribute("distance_nearest_um", 21, "DistNearest", "um"),
    Attribute("elongation_std", 22, "ElongStd", "1"),
    Attribute("volume_std_um3", 23, "VolumeStd", "um3"),
    Attribute("orientation_isotropy", 24, "OrienIso", "1"),
)
"""The 24, in the order of the table."""

ATTRIBUTE_NAMES = tuple(attribute.name for attribute in ATTRIBUTES)

ANGLES = ("yaw_deg", "pitch_deg", "roll_deg")
POSITIONS = ("z_um", "y_um", "x_um")
UNCERTAINTY = "_uncertainty"
"""Of the column that holds an attribute's uncertainty."""

GREY_UNIT = "grey_unit"
"""Attribute of a table: the unit of its sample's grey values, None where they have none."""

_PAPER_UNITS = {"orientation_isotropy": "degree"}
_GREY_VALUE = "grey value"


def order_samples(samples: Iterable[str], table: pd.DataFrame) -> list[str]:
    """Order samples by their cycles, then by name; those of unknown cycles come last.

    Parameters
    ----------
    table
        Tomogram table: ``sample, cycles``.
    """
    cycles = dict(zip(table["sample"], table["cycles"].astype(float), strict=True))

    def place(sample: str) -> tuple[float, str]:
        count = cycles.get(sample, np.nan)
        return (np.inf if np.isnan(count) else count, sample)

    return sorted(samples, key=place)


def select_values(attributes: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """Return the defined values of the complete particles, (N,)."""
    complete = ~attributes["touches_border"].to_numpy(dtype=bool)
    values: NDArray[np.float64] = attributes[name].to_numpy(dtype=np.float64, na_value=np.nan)[
        complete
    ]
    return values[np.isfinite(values)]


def find_unit(name: str, attributes: Mapping[str, pd.DataFrame]) -> str:
    """Return an attribute's unit, which for some depends on the preset or the grey values' unit.

    Parameters
    ----------
    attributes
        Attribute table by sample; ``attrs["preset"]`` of the first that has one decides, and
        ``attrs["grey_unit"]`` of all: where they differ, each is named.
    """
    presets = (table.attrs.get("preset") for table in attributes.values())
    if next((preset for preset in presets if preset), None) == "paper" and name in _PAPER_UNITS:
        return _PAPER_UNITS[name]
    unit = next(attribute.unit for attribute in ATTRIBUTES if attribute.name == name)
    if _GREY_VALUE not in unit:
        return unit
    greys = {str(table.attrs.get(GREY_UNIT) or _GREY_VALUE) for table in attributes.values()}
    known = [f"({grey})" if "/" in unit and "/" in grey else grey for grey in sorted(greys)]
    return " or ".join(unit.replace(_GREY_VALUE, grey) for grey in known) or unit
