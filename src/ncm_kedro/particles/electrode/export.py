"""Electrode geometries as parameters of PyBaMM and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.particles.electrode.electrode import ElectrodeGeometry
from ncm_kedro.units import M_PER_UM

_DENSITY = "Positive area-weighted particle-size distribution [m-1]"
_KERNEL = "pybamm.expression_tree"
_NO_DOMAINS: dict[str, list[str]] = {
    level: [] for level in ("primary", "secondary", "tertiary", "quaternary")
}


def to_pybamm(geometry: ElectrodeGeometry) -> dict[str, Any]:
    """Give an electrode in PyBaMM's names and SI units.

    The dictionary is what ``pybamm.ParameterValues.from_json`` reads. It holds what the sample
    shows and no more, so it goes on top of a complete parameter set. The radius is the
    area-weighted mean: with it PyBaMM's ``3 * fraction / radius`` is the surface of the equivalent
    balls, in models of one size as in those with a distribution.

    Returns
    -------
    dict
        Numbers, and one tabulated function. A quantity that is not known has no entry: the
        thickness of a layer that the volume cuts, the porosity without a given inactive solid.
    """
    values: dict[str, Any] = {}
    if np.isfinite(geometry.active_fraction):
        values["Positive electrode active material volume fraction"] = geometry.active_fraction
    if geometry.layer is not None and geometry.layer.complete:
        values["Positive electrode thickness [m]"] = geometry.layer.thickness_um * M_PER_UM
    if geometry.porosity is not None:
        values["Positive electrode porosity"] = geometry.porosity
    if geometry.radius is not None and geometry.sizes is not None:
        radius_m = geometry.sizes.radius_um * M_PER_UM
        values["Positive particle radius [m]"] = geometry.radius.area_mean_um * M_PER_UM
        values["Positive minimum particle radius [m]"] = float(radius_m[0])
        values["Positive maximum particle radius [m]"] = float(radius_m[-1])
        values[_DENSITY] = _write_function(radius_m, geometry.sizes.area_per_um / M_PER_UM)
    return values


def to_table(geometries: Mapping[str, ElectrodeGeometry]) -> pd.DataFrame:
    """List what was measured of each sample.

    Returns
    -------
    pandas.DataFrame
        ``sample, quantity, value, unit, basis``; what is not known has no value, and ``basis``
        gives the reason.
    """
    rows = [
        (sample, *row)
        for sample, geometry in geometries.items()
        for part in (_list_fractions, _list_radii, _list_surfaces)
        for row in part(geometry)
    ]
    return pd.DataFrame(rows, columns=["sample", "quantity", "value", "unit", "basis"])


def tabulate_sizes(geometries: Mapping[str, ElectrodeGeometry]) -> pd.DataFrame:
    """List the particle-size distribution of each sample.

    Returns
    -------
    pandas.DataFrame
        ``sample, radius_um, number_per_um, area_per_um, volume_per_um``.
    """
    columns = ["radius_um", "number_per_um", "area_per_um", "volume_per_um"]
    tables = [
        pd.DataFrame({name: getattr(geometry.sizes, name) for name in columns}).assign(
            sample=sample
        )
        for sample, geometry in geometries.items()
        if geometry.sizes is not None
    ]
    if not tables:
        return pd.DataFrame(columns=["sample", *columns])
    return pd.concat(tables, ignore_index=True)[["sample", *columns]]


def _write_function(x: NDArray[np.float64], y: NDArray[np.float64]) -> dict[str, Any]:
    """Write a function of one variable, linear between points, as PyBaMM serialises it."""
    variable = {
        "$type": f"{_KERNEL}.parameter.Parameter", "name": "R", "domains": _NO_DOMAINS,
    }  # fmt: skip
    table = {
        "$type": f"{_KERNEL}.interpolant.Interpolant", "name": "particle sizes",
        "x": [x.tolist()], "y": y.tolist(), "interpolator": "linear", "extrapolate": True,
        "_num_derivatives": 0, "children": [variable],
    }  # fmt: skip
    return {
        "$type": f"{_KERNEL}.operations.serialise.ExpressionFunctionParameter", "name": _DENSITY,
        "domains": _NO_DOMAINS, "func_name": "particle_sizes", "func_args": ["R"],
        "children": [table],
    }  # fmt: skip


_Row = tuple[str, float, str, str]


def _list_fractions(geometry: ElectrodeGeometry) -> Iterator[_Row]:
    layer, porosity = geometry.layer, geometry.porosity
    if layer is None:
        thickness, basis, where = np.nan, "axis_to_collector is not known", "the field of view"
    else:
        thickness, where = layer.thickness_um, "the layer"
        basis = "where the labelled share falls below a tenth of its plateau"
        if not layer.complete:
            basis = "lower bound: the volume ends within the layer; not in the PyBaMM file"
    yield "electrode_thickness", thickness, "um", basis
    yield (
        "active_fraction", geometry.active_fraction, "1",
        f"labelled voxels without marked cracks over {where}",
    )  # fmt: skip
    yield (
        "void_and_binder_fraction", geometry.void_and_binder_fraction, "1",
        "1 - active_fraction: upper bound of the porosity",
    )  # fmt: skip
    if porosity is None:
        yield "porosity", np.nan, "1", "carbon and binder are not seen and no share was given"
    else:
        basis = f"1 - active_fraction - {geometry.inactive_fraction:g} (given, not measured)"
        yield "porosity", porosity, "1", basis


def _list_radii(geometry: ElectrodeGeometry) -> Iterator[_Row]:
    yield "particles", geometry.particles, "1", "labels in the volume"
    yield "whole_particles", geometry.whole_particles, "1", "labels that do not touch its border"
    ways = {"number": "each counts once", "area": "by surface", "volume": "by volume"}
    for name, how in ways.items():
        basis = f"equivalent balls of whole particles, {how}, corrected for the cut at the border"
        for kind in ("mean", "std"):
            value = getattr(geometry.radius, f"{name}_{kind}_um", np.nan)
            yield f"radius_{name}_{kind}", value, "um", basis
    for kind in ("min", "max"):
        value = getattr(geometry.radius, f"{kind}_um", np.nan)
        yield f"radius_{kind}", value, "um", "equivalent balls of whole particles"
    yield (
        "coordination_number", geometry.coordination, "1",
        "particles in contact with a whole particle, mean, corrected for the cut at the border",
    )  # fmt: skip


def _list_surfaces(geometry: ElectrodeGeometry) -> Iterator[_Row]:
    surfaces = geometry.surfaces
    yield (
        "surface_outer", surfaces.outer_per_um, "1/um",
        "outer surface per electrode volume (Crofton)",
    )  # fmt: skip
    yield (
        "surface_total", surfaces.total_per_um, "1/um",
        "the same with the surface of cracks and voids",
    )  # fmt: skip
    balls = np.nan
    if geometry.radius is not None:
        balls = 3 * geometry.active_fraction / geometry.radius.area_mean_um
    yield (
        "surface_balls", balls, "1/um",
        "3 * active_fraction / radius_area_mean: what PyBaMM works with",
    )  # fmt: skip
    yield (
        "crack_per_outer_surface", surfaces.crack_per_outer, "1",
        "surface of cracks and voids over outer surface",
    )  # fmt: skip
    yield "contact_fraction", surfaces.contact_fraction, "1", "of the outer surface"
    yield (
        "damage", surfaces.damage, "1", "volume of cracks and voids over that of filled particles",
    )  # fmt: skip
    yield (
        "crack_width", surfaces.crack_width_um, "um",
        "local thickness of cracks, particles counting by the volume of their cracks",
    )  # fmt: skip
