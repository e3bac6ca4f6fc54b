"""Tables of the page on particles, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ncm_kedro.particles.columns import ATTRIBUTE_NAMES
from ncm_kedro.particles.statistics.compare import select_values
from ncm_kedro.plotting.axes import name_attribute, write_unit


def tabulate_sample(
    name: str, attributes: pd.DataFrame, details: pd.DataFrame, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the row of a sample in the page's first table.

    Parameters
    ----------
    name
        The sample.
    attributes, details
        Its tables.
    facts
        Its row of the tomogram table.
    """
    border = attributes["touches_border"].to_numpy(dtype=bool)
    flags = details["flags"].str.split(",")
    damage, volume = select_values(attributes, "damage"), select_values(attributes, "volume_um3")
    edges = [facts.get(f"voxel_{axis}_um") for axis in "zyx"]
    diameter = np.cbrt(6 / np.pi * np.median(volume)) if len(volume) else None
    return {
        "sample": name,
        "cycles": say(facts.get("cycles")),
        "C-rate": say(facts.get("c_rate")),
        "voxel / µm (z, y, x)": " x ".join(say(edge) for edge in edges),
        "particles": len(attributes),
        "whole": int((~border).sum()),
        "cut by the border": int(border.sum()),
        "small": int(flags.map(lambda names: "small" in names).sum()),
        "in pieces": int(flags.map(lambda names: "pieces" in names).sum()),
        "without a direction": int((~attributes["orientation_defined"] & ~border).sum()),
        "median diameter / µm": say(diameter),
        "mean damage": say(damage.mean() if len(damage) else None),
    }


def format_comparison(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the comparison of a pair of samples as text, attributes in the order of Table S1.

    Parameters
    ----------
    rows
        Those of one pair out of what `particles.statistics.compare.compare_samples` returned.
    """
    table = rows.set_index("attribute").reindex(list(ATTRIBUTE_NAMES)).reset_index()
    return pd.DataFrame(
        {
            "attribute": [
                write_unit(name, unit)
                for name, unit in zip(table["attribute"], table["unit"], strict=True)
            ],
            "n (a, b)": [f"{a:.0f}, {b:.0f}" for a, b in zip(table["n_a"], table["n_b"],
                         strict=True)],
            "median a": table["median_a"].map(say),
            "median b": table["median_b"].map(say),
            "b - a (interval)": _format_interval(table, "difference", "difference"),
            "p": table["p_value"].map(say),
            "p (Holm)": table["p_holm"].map(say),
            "Cliff's delta (interval)": _format_interval(table, "cliffs_delta", "delta"),
            "size": table["effect"],
            "note": table["note"],
        }
    )  # fmt: skip


def format_uncertainty(attributes: pd.DataFrame, weighed: pd.DataFrame) -> pd.DataFrame:
    """Return uncertainties beside the spread between particles as text.

    Parameters
    ----------
    attributes
        Attribute table of a sample.
    weighed
        What `ncm_kedro.particles.statistics.compare.weigh_uncertainty` returned for it.
    """
    tables = {"": attributes}
    return pd.DataFrame(
        {
            "attribute": [name_attribute(name, tables) for name in weighed["attribute"]],
            "n": weighed["n"],
            "median uncertainty": weighed["uncertainty"].map(say),
            "spread between particles": weighed["spread"].map(say),
            "ratio": ["" if np.isnan(ratio) else f"{ratio:.2f}" for ratio in weighed["ratio"]],
        }
    )


def say(value: Any) -> str:
    """Return a number with four digits, another value as it is written, '' for what is missing.

    Parameters
    ----------
    value
        Anything.
    """
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if value is None or (isinstance(value, float) and np.isnan(value)) or value is pd.NA:
        return ""
    return f"{value:.4g}" if isinstance(value, int | float | np.number) else str(value)


def _format_interval(table: pd.DataFrame, value: str, bounds: str) -> list[str]:
    return [
        "" if pd.isna(middle) else f"{_sign(middle)} ({_sign(low)} to {_sign(high)})"
        for middle, low, high in zip(
            table[value], table[f"{bounds}_low"], table[f"{bounds}_high"], strict=True
        )
    ]


def _sign(value: float) -> str:
    return f"{value:+.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:+.3g}"
