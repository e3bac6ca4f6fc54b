"""Figures and report page of particle attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.params.particle_features import AttributeParams, ParticleFigureParams
from ncm_kedro.particles.columns import ATTRIBUTE_NAMES, find_unit, order_samples, select_values
from ncm_kedro.particles.statistics import REPLICATE_CAVEAT
from ncm_kedro.particles.variants import compare_uncertainty
from ncm_kedro.plotting.axes import write_unit
from ncm_kedro.plotting.particles.distributions import (
    plot_crack_profiles,
    plot_distributions,
    plot_stages,
)
from ncm_kedro.plotting.particles.pairs import plot_pairs, plot_truth_scatter
from ncm_kedro.plotting.particles.sheet import choose_particles, cut_particles, plot_contact_sheet
from ncm_kedro.plotting.report import list_rows, render_page
from ncm_kedro.tomo.volumes.volume import Volume

SHEET_PREFIX = "sheet_"
_FLAGS = ("small", "pieces", "too_large", "closing")
_EDGES = ["voxel_z_um", "voxel_y_um", "voxel_x_um"]


def draw_particles(
    *,
    attributes: Mapping[str, pd.DataFrame],
    table: pd.DataFrame,
    comparison: pd.DataFrame,
    pairs: pd.DataFrame,
    profiles: Mapping[str, pd.DataFrame],
    volumes: Mapping[str, tuple[Volume | None, Volume]],
    params: ParticleFigureParams,
) -> dict[str, Figure]:
    """Draw the figures of all samples.

    Parameters
    ----------
    table
        Tomogram table; it gives the order.
    comparison
        What `ncm_kedro.particles.statistics.compare_samples` returned.
    pairs
        Measured and true values of particles; may be empty.
    profiles
        Crack profiles by sample; samples may be missing, tables may be empty.
    volumes
        Grey volume, where there is one, and labels by sample.

    Returns
    -------
    dict
        ``distributions``, ``stages``, ``pairs``, ``profiles`` where cracks were counted by depth,
        ``truth`` where there is a ground truth, and ``sheet_<sample>`` of each sample with volumes;
        nothing where there is no particle.
    """
    ordered = {name: attributes[name] for name in order_samples(attributes, table)}
    if not sum(len(rows) for rows in ordered.values()):
        return {}
    figures = {
        "distributions": plot_distributions(ordered),
        "stages": plot_stages(ordered, comparison),
        "pairs": plot_pairs(ordered, params.pair_attributes),
    }
    if any(len(profiles[name]) for name in ordered if name in profiles):
        figures["profiles"] = plot_crack_profiles(profiles, ordered)
    if len(pairs):
        figures["truth"] = plot_truth_scatter(pairs)
    for name, attribute_table in ordered.items():
        if name not in volumes or attribute_table.empty:
            continue
        image, labels = volumes[name]
        most, least = (
            cut_particles(rows, labels, image)
            for rows in choose_particles(attribute_table, params.shown_particles)
        )
        figures[f"{SHEET_PREFIX}{name}"] = plot_contact_sheet(most, least, title=name)
    return figures


def render_particle_report(
    *,
    attributes: Mapping[str, pd.DataFrame],
    details: Mapping[str, pd.DataFrame],
    table: pd.DataFrame,
    comparison: pd.DataFrame,
    quantities: pd.DataFrame,
    figures: Mapping[str, Figure],
    params: AttributeParams,
    confidence: float,
    rejections: Mapping[str, str] | None = None,
) -> str:
    """Render what was measured of the particles as one self-contained HTML page.

    Parameters
    ----------
    comparison
        What `ncm_kedro.particles.statistics.compare_samples` returned.
    quantities
        What was measured of each electrode: ``sample, quantity, value, unit, basis``.
    figures
        What `draw_particles` returned.
    confidence
        Level of the intervals in ``comparison``, in [0, 1].
    rejections
        Reason by sample that could not be measured; by default the ``rejections`` that
        ``attributes`` carries.
    """
    ordered = order_samples(attributes, table)
    measured = {name: attributes[name] for name in ordered}
    rows = table[table["sample"].isin(ordered)]
    edges = rows[_EDGES].astype(float).prod(axis=1) ** (1 / 3)
    facts = {row["sample"]: row for row in list_rows(table)}
    return render_page(
        "particles.html.j2",
        samples=[
            _describe_sample(name, measured[name], details[name], facts.get(name, {}))
            for name in ordered
        ],
        rejections=dict(
            getattr(attributes, "rejections", {}) if rejections is None else rejections
        ),
        edges_um=(edges.min(), edges.max()),
        c_rates=sorted(rows["c_rate"].dropna().unique()),
        without_cycles=rows.loc[rows["cycles"].isna(), "sample"].tolist(),
        differing_settings=_list_differing_settings(measured),
        pairs=_list_pairs(comparison),
        uncertainties=_list_uncertainties(measured),
        sheets={
            name.removeprefix(SHEET_PREFIX): figure
            for name, figure in figures.items()
            if name.startswith(SHEET_PREFIX)
        },
        figures=figures,
        quantities=quantities,
        params=params,
        confidence=confidence,
        replicate_caveat=REPLICATE_CAVEAT,
    )


def _describe_sample(
    name: str, attributes: pd.DataFrame, details: pd.DataFrame, facts: Mapping[str, Any]
) -> dict[str, Any]:
    border = attributes["touches_border"].to_numpy(dtype=bool)
    flags = details["flags"].str.split(",")
    damage, volume = (select_values(attributes, of) for of in ("damage", "volume_um3"))
    known = ("cycles", "c_rate", "field_of_view_fraction", *_EDGES)
    return {
        "name": name,
        "facts": {key: facts.get(key) for key in known},
        "particles": len(attributes),
        "complete": int((~border).sum()),
        "border_fraction": border.mean() if len(border) else 0.0,
        "flagged": {
            flag: int(flags.map(lambda names, flag=flag: flag in names).sum()) for flag in _FLAGS
        },
        "without_direction": int((~attributes["orientation_defined"] & ~border).sum()),
        "without_grey": bool(attributes["electron_density"].isna().all()),
        "median_diameter_um": np.cbrt(6 / np.pi * np.median(volume)) if len(volume) else None,
        "mean_damage": damage.mean() if len(damage) else None,
    }


def _list_differing_settings(attributes: Mapping[str, pd.DataFrame]) -> list[str]:
    """Name the settings in which the measurements of samples differ."""
    settings = [table.attrs.get("settings", {}) for table in attributes.values()]
    names = sorted({name for known in settings for name in known})
    return [name for name in names if any(s.get(name) != settings[0].get(name) for s in settings)]


def _list_pairs(comparison: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the comparison of every two samples, attributes in the order of Table S1."""
    order = list(ATTRIBUTE_NAMES)
    return [
        {
            "first": first,
            "second": second,
            "rows": list_rows(rows.set_index("attribute").reindex(order).reset_index()),
        }
        for (first, second), rows in comparison.groupby(["sample_a", "sample_b"], sort=False)
    ]


def _list_uncertainties(attributes: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Return the samples whose uncertainty is known, and what it exceeds the spread of."""
    found = []
    for name, rows in attributes.items():
        weighed = compare_uncertainty(rows)
        beyond = weighed.loc[weighed["uncertainty"] > weighed["spread"], "attribute"]
        units = [find_unit(of, {"": rows}) for of in weighed["attribute"]]
        if weighed["n"].any():
            found.append(
                {
                    "name": name,
                    "beyond": [write_unit(of, "1") for of in beyond],
                    "rows": list_rows(weighed.assign(unit=units)),
                }
            )
    return found
