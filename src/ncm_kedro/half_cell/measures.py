"""What particles do: concentration, current, gap, damage and stress; synchrony in a cycle.

Synchrony is the chi^2 of Golomb and Rinzel (1994, Physica D 72, 259): variance over time of the
particles' mean over the mean of their variances, 1 where all do the same, 1/N where they are
independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ngsolve as ng
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ncm_kedro.half_cell.cell import HalfCell, evaluate, integrate_by_element
from ncm_kedro.half_cell.forms import LITHIUM_FLUX
from ncm_kedro.half_cell.mesh import CellMesh

FloatArray = NDArray[np.float64]

_ORDER = 8  # of the quadrature that measures; the test functions have order 0

PARTICLE_QUANTITIES = (
    "stoichiometry", "stress_mpa", "surface_stoichiometry", "current_a_m2", "gap_nm", "damage",
    "debonded_fraction", "activity",
)  # fmt: skip
"""Means over a particle, or over its surface. ``debonded_fraction`` is the part of the surface that
holds less than half of its strength; ``activity`` is the current over the volume of a
particle relative to that of all particles: 1 where it takes part in proportion."""
CYCLE_COLUMNS = (
    "cycle", "charge_capacity", "discharge_capacity", "activity_spread", "synchrony",
    "rank_correlation", "isolated_fraction", "damage_mean", "damage_spread", "imbalance",
)  # fmt: skip
_RANK_RESOLUTION = 3  # decimals of activity; what is closer is equal to the accuracy of a mesh
ISOLATED_BELOW = 0.1
"""Mean activity in a half-cycle below which a particle counts as isolated."""


class Gauge:
    """Measures the particles of a cell in its present state.

    Parameters
    ----------
    half_cell
        The cell; its state may change between measurements.
    """

    def __init__(self, half_cell: HalfCell) -> None:
        mesh, problem = half_cell.cell.mesh, half_cell.problem
        names = half_cell.cell.names
        self.shape = (len(names), len(PARTICLE_QUANTITIES))
        self._half_cell = half_cell
        surface, volume = ng.SurfaceL2(mesh, order=0), ng.L2(mesh, order=0)
        on_surface = ng.ds(
            definedon=problem.interface,
            intrules=problem.fields["damage"].space.GetIntegrationRules(),
        )
        fields, weight = problem.fields, half_cell.weight
        self._surface = {
            name: integrate_by_element(surface, weight * fields[name], on_surface)
            for name in ("stoichiometry", "current_a_m2", "gap_nm", "damage", "debonded")
        }
        self._length = evaluate(integrate_by_element(surface, weight, on_surface))
        inside = ng.dx(definedon=mesh.Materials("particle_.*"), bonus_intorder=_ORDER)
        self._volume = {
            name: integrate_by_element(volume, weight * fields[name], inside)
            for name in ("stoichiometry", "stress_gpa")
        }
        self._area = evaluate(integrate_by_element(volume, weight, inside))
        self._edges_of = [
            _dofs(surface, mesh.Boundaries(f"interface_{n + 1}")) for n in range(len(names))
        ]
        self._elements_of = [
            _dofs(volume, mesh.Materials(f"particle_{n + 1}")) for n in range(len(names))
        ]
        self._vertices = np.unique(
            [v.nr for el in mesh.Materials("particle_.*").Elements() for v in el.vertices]
        )

    def measure(self) -> FloatArray:
        """Measure every particle, (P, len(`PARTICLE_QUANTITIES`))."""
        surface = {name: evaluate(form) for name, form in self._surface.items()}
        volume = {name: evaluate(form) for name, form in self._volume.items()}
        areas = np.array([self._area[own].sum() for own in self._elements_of])
        currents = np.array([surface["current_a_m2"][own].sum() for own in self._edges_of])
        total = currents.sum() / areas.sum()
        rows = np.empty(self.shape)
        for row, edges, elements in zip(rows, self._edges_of, self._elements_of, strict=True):
            length, area = self._length[edges].sum(), self._area[elements].sum()
            row[0] = volume["stoichiometry"][elements].sum() / area
            row[1] = 1e3 * volume["stress_gpa"][elements].sum() / area
            for place, name in enumerate(self._surface, start=2):
                row[place] = surface[name][edges].sum() / length
        rows[:, -1] = currents / areas / total
        return rows

    def measure_edges(self) -> dict[str, FloatArray]:
        """Mean damage, gap, current and stoichiometry of every edge of the interface, (E,) each."""
        own = np.concatenate(self._edges_of)
        return {
            name: evaluate(form)[own] / self._length[own] for name, form in self._surface.items()
        }

    def count_lithium(self) -> float:
        """Lithium of all particles, in A/m2 x um x s; the electrolyte conserves its own."""
        return float(evaluate(self._volume["stoichiometry"]).sum() / LITHIUM_FLUX)

    def sample_vertices(self) -> FloatArray:
        """Stoichiometry at the vertices, (V,); NaN outside particles."""
        values = np.full(self._half_cell.cell.mesh.nv, np.nan)
        nodal = self._half_cell.problem.state.components[0].vec.FV().NumPy()
        values[self._vertices] = nodal[self._vertices]  # the first dofs are those of vertices
        return values


def list_triangles(cell: CellMesh) -> tuple[FloatArray, NDArray[np.int64], NDArray[np.int64]]:
    """List vertices (V, 2) in um, triangles of particles (T, 3), and those of CB (C, 3)."""
    points = np.array([vertex.point for vertex in cell.mesh.vertices])
    particles, cb = (
        np.array([[v.nr for v in el.vertices] for el in cell.mesh.Materials(name).Elements()])
        for name in ("particle_.*", "cb")
    )
    return points, particles, cb


def list_edges(cell: CellMesh) -> FloatArray:
    """List the ends of the edges of the interface, (E, 2, 2) in um, as `Gauge.measure_edges`."""
    return np.array(
        [
            [cell.mesh[vertex].point for vertex in element.vertices]
            for number in range(1, len(cell.names) + 1)
            for element in cell.mesh.Boundaries(f"interface_{number}").Elements()
        ]
    )


def tabulate_particles(
    names: Sequence[str], steps: pd.DataFrame, measured: Sequence[FloatArray]
) -> pd.DataFrame:
    """Give a row per step and particle.

    Parameters
    ----------
    steps
        ``cycle, half, step, time_s`` among others.
    measured
        By half-cycle (S, P, Q), in the order of `steps`.
    """
    values = np.concatenate(measured)
    keys = steps.loc[steps.index.repeat(len(names)), ["cycle", "half", "step", "time_s"]]
    table = keys.reset_index(drop=True)
    table["particle"] = np.tile(np.arange(1, len(names) + 1), len(steps))
    table["name"] = list(names) * len(steps)
    for place, quantity in enumerate(PARTICLE_QUANTITIES):
        table[quantity] = values[:, :, place].ravel()
    return table


def summarise_cycles(steps: pd.DataFrame, particles: pd.DataFrame) -> pd.DataFrame:
    """Measure each cycle: capacity, spread of activity and damage, synchrony, isolated particles.

    Returns
    -------
    DataFrame
        `CYCLE_COLUMNS`, a row per cycle that has a discharge. ``activity_spread`` is the standard
        deviation over particles of their mean activity on discharge; ``synchrony`` is chi^2 of
        their stoichiometry; ``rank_correlation`` is Spearman's of their activity with the cycle
        before (null in the first, or where all are equal to 3 decimals).
    """
    rows: list[dict[str, Any]] = []
    before: FloatArray | None = None
    for cycle, own in particles.groupby("cycle"):
        mine = steps[steps["cycle"] == cycle]
        capacity = mine.groupby("half")["capacity_fraction"].max()
        if "discharge" not in capacity:
            break
        activity = _mean_over_time(own[own["half"] == "discharge"], "activity")
        last = own[own["time_s"] == own["time_s"].max()]
        rows.append(
            {
                "cycle": cycle,
                "charge_capacity": capacity["charge"],
                "discharge_capacity": capacity["discharge"],
                "activity_spread": float(activity.std()),
                "synchrony": measure_synchrony(own),
                "rank_correlation": _correlate_ranks(before, activity),
                "isolated_fraction": float((activity < ISOLATED_BELOW).mean()),
                "damage_mean": float(last["damage"].mean()),
                "damage_spread": float(last["damage"].std(ddof=0)),
                "imbalance": float(mine["imbalance"].abs().max()),
            }
        )
        before = activity
    types = {"cycle": "int64", **dict.fromkeys(CYCLE_COLUMNS[1:], "float64")}
    return pd.DataFrame(rows, columns=list(CYCLE_COLUMNS)).astype(types)


def list_metrics(cycles: pd.DataFrame) -> dict[str, list[dict[str, float]]]:
    """List the columns of `summarise_cycles` by cycle, for a tracking server."""
    names = [name for name in cycles.columns if name != "cycle"]
    known = {name: cycles[["cycle", name]].dropna() for name in names}
    return {
        name: [{"value": float(value), "step": int(cycle)} for cycle, value in rows.to_numpy()]
        for name, rows in known.items()
        if len(rows)
    }


def order_debonding(particles: pd.DataFrame) -> pd.DataFrame:
    """List when half of each particle's interface had failed, first to fail first.

    Returns
    -------
    DataFrame
        ``particle, name, cycle, time_s, debonded_fraction, damage``: the first step with half of
        the interface or more debonded, null where it was not reached, and both at the end.
    """
    rows = []
    for (number, name), own in particles.groupby(["particle", "name"]):
        failed = own[own["debonded_fraction"] >= 0.5]
        first = failed.iloc[0] if len(failed) else None
        rows.append(
            {
                "particle": number,
                "name": name,
                "cycle": np.nan if first is None else first["cycle"],
                "time_s": np.nan if first is None else first["time_s"],
                "debonded_fraction": own["debonded_fraction"].iloc[-1],
                "damage": own["damage"].iloc[-1],
            }
        )
    return pd.DataFrame(rows).sort_values("time_s", ignore_index=True)


def measure_synchrony(particles: pd.DataFrame) -> float:
    """chi^2 of the stoichiometry of the particles in one cycle; its steps need not be equal.

    Parameters
    ----------
    particles
        ``time_s, particle, stoichiometry``.
    """
    table = particles.pivot(index="time_s", columns="particle", values="stoichiometry")
    steps = np.diff(table.index.to_numpy())
    weights = np.append(steps, 0.0) + np.insert(steps, 0, 0.0)  # the trapezoidal rule
    values = table.to_numpy()

    def variance(signal: FloatArray) -> FloatArray:
        mean = np.average(signal, axis=0, weights=weights)
        return np.asarray(np.average((signal - mean) ** 2, axis=0, weights=weights))

    single = float(variance(values).mean())
    return float(variance(values.mean(axis=1))) / single if single > 0 else float("nan")


def _mean_over_time(particles: pd.DataFrame, quantity: str) -> FloatArray:
    table = particles.pivot(index="time_s", columns="particle", values=quantity)
    time = table.index.to_numpy()
    values = table.to_numpy()
    if len(time) == 1:
        return np.asarray(values[0])
    return np.asarray(np.trapezoid(values, time, axis=0) / (time[-1] - time[0]))


def _correlate_ranks(before: FloatArray | None, now: FloatArray) -> float:
    if before is None:
        return float("nan")
    before, now = before.round(_RANK_RESOLUTION), now.round(_RANK_RESOLUTION)
    if np.ptp(before) == 0 or np.ptp(now) == 0:
        return float("nan")
    return float(stats.spearmanr(before, now).statistic)


def _dofs(space: ng.FESpace, region: ng.Region) -> NDArray[np.int64]:
    return np.array([space.GetDofNrs(element)[0] for element in region.Elements()])
