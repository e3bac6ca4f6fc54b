"""The coupled problem of a half cell: spaces, the joined form, and the fields of its state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import ngsolve as ng
import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import SettingsError
from ncm_kedro.half_cell import forms
from ncm_kedro.half_cell import materials as mat
from ncm_kedro.half_cell.mesh import CellMesh
from ncm_kedro.half_cell.solve import Problem
from ncm_kedro.params.half_cell.case import HalfCellParams

SCALES = {
    "stoichiometry": 1.0, "stress_gpa": 1.0, "displacement_nmc_um": 0.01,
    "displacement_cb_um": 0.01, "potential_cb_v": 1.0, "potential_electrolyte_v": 1.0,
    "salt_mol_l": 1.0, "current_a_m2": 10.0, "voltage_v": 1.0,
}  # fmt: skip
"""Components in their order, each with what is a large change of it. ``potential_cb_v`` is that
against the collector. The axial strains of the particles follow."""
FloatArray = NDArray[np.float64]

_AXIAL_SCALE = 0.01
_WET = "cb|separator"


@dataclass(frozen=True)
class HalfCell:
    """A problem on its mesh.

    Attributes
    ----------
    cell
        The mesh.
    problem
        What `ncm_kedro.half_cell.solve.Stepper` steps.
    current
        Total current over depth (A/m2 x um; over radian where axisymmetric); positive charges.
    weight
        What an area is multiplied with: the radius where axisymmetric, else 1.
    capacity
        Charge between the stoichiometry at the start and that at the upper voltage, in
        A/m2 x um x s.
    """

    cell: CellMesh
    problem: Problem
    current: ng.Parameter
    weight: Any
    capacity: float


class _Parts(NamedTuple):
    """Trial, test or state, by component."""

    x: Any
    stress: Any
    u_nmc: Any
    u_cb: Any
    phi_cb: Any
    phi_l: Any
    salt: Any
    current: Any
    voltage: Any
    axial: tuple[Any, ...]

    @classmethod
    def split(cls, components: Sequence[Any]) -> _Parts:
        first = len(SCALES)
        parts = dict(zip(cls._fields, components[:first], strict=False))
        return cls(**parts, axial=tuple(components[first:]))


def build_cell(cell: CellMesh, params: HalfCellParams) -> HalfCell:
    """Set up spaces and equations, at rest in the initial state.

    Raises
    ------
    SettingsError
        If the NMC cannot be charged from its stoichiometry at the start to the upper voltage.
    """
    window = _find_window(params)
    space = _make_space(cell, params)
    state, history = ng.GridFunction(space), ng.GridFunction(space)
    rate, step_s, current = (ng.Parameter(value) for value in (1.0, 1.0, 0.0))
    interface = cell.mesh.Boundaries("interface_.*")
    rule = ng.comp.IntegrationRuleSpaceSurface(
        cell.mesh, order=2 * params.mesh.order, definedon=interface
    )
    damage = ng.GridFunction(rule)
    weight = ng.x if params.material.symmetry == "axisymmetric" else ng.CF(1.0)
    trial, test = (_Parts.split(parts) for parts in space.TnT())
    past = history.components
    rates = rate * trial.x + past[0], rate * trial.salt + past[6]
    form = ng.BilinearForm(space)
    _add_bodies(form, cell, trial=trial, test=test, rates=rates, weight=weight, params=params)
    on_surface = ng.ds(definedon=interface, intrules=rule.GetIntegrationRules())
    # By the rule of the form: the currents balance to rounding, not to the error of a quadrature.
    constants = ng.SurfaceL2(cell.mesh, order=0)
    length = evaluate(integrate_by_element(constants, weight, on_surface)).sum()
    surface = _interface_work(cell, trial, test, damage, params)
    form += (weight * (surface - test.voltage * current / length) * on_surface).Compile()
    plated = forms.plating_current(trial.phi_l, trial.salt)
    leaving = plated * test.phi_l + forms.SALT_FLUX * plated * test.salt
    form += weight * leaving * ng.ds(definedon=cell.mesh.Boundaries("lithium"))
    _set_initial(state, params)
    fields = _describe(cell, _Parts.split(state.components), damage, step_s, params)
    problem = Problem(
        space=space, form=form, state=state, history=history, rate=rate, step_s=step_s,
        scales=(*SCALES.values(), *(_AXIAL_SCALE for _ in space.components[len(SCALES) :])),
        stored=(0, 6), damage=damage, damage_next=fields["damage_next"], interface=interface,
        fields=fields,
    )  # fmt: skip
    area = ng.Integrate(weight, cell.mesh, definedon=cell.mesh.Materials("particle_.*"))
    return HalfCell(cell, problem, current, weight, area * window / forms.LITHIUM_FLUX)


def _find_window(params: HalfCellParams) -> float:
    """Stoichiometry between the start and the upper voltage."""
    initial, upper_v = params.material.initial_stoichiometry, params.load.voltage_max_v
    start_v, empty_v = (mat.open_circuit_v(x, math.exp) for x in (initial, 0.0))
    if not start_v < upper_v < empty_v:
        raise SettingsError(
            "half_cell, load.voltage_max_v",
            found=f"{upper_v:g} V",
            expected=f"a charge from {start_v:.3f} V, the open-circuit voltage at "
            f"material.initial_stoichiometry = {initial:g}, to less than {empty_v:.3f} V, that of "
            "NMC without lithium",
            action="change load.voltage_max_v, or make material.initial_stoichiometry larger",
        )
    return initial - mat.stoichiometry_at(upper_v)


def integrate_by_element(space: ng.FESpace, what: Any, measure: Any) -> ng.LinearForm:
    """Set up integrals over single elements; `space` has piecewise constants."""
    form = ng.LinearForm(space)
    form += what * space.TestFunction() * measure
    return form


def evaluate(form: ng.LinearForm) -> FloatArray:
    """Return the integrals in the present state."""
    form.Assemble()
    values: FloatArray = form.vec.FV().NumPy().copy()
    return values


def _make_space(cell: CellMesh, params: HalfCellParams) -> ng.FESpace:
    mesh, order = cell.mesh, params.mesh.order
    nmc, cb, wet = (mesh.Materials(name) for name in ("particle_.*", "cb", _WET))
    edge = "collector|side_cb|top"
    parts = [
        ng.H1(mesh, order=order, definedon=nmc),
        ng.H1(mesh, order=max(order - 1, 1), definedon=nmc),
        ng.VectorH1(mesh, order=order, definedon=nmc, dirichletx="axis"),
        ng.VectorH1(mesh, order=order, definedon=cb, dirichletx=f"{edge}|axis", dirichlety=edge),
        ng.H1(mesh, order=order, definedon=cb, dirichlet="collector"),
        ng.H1(mesh, order=order, definedon=wet),
        ng.H1(mesh, order=order, definedon=wet),
        ng.SurfaceL2(mesh, order=order - 1, definedon=mesh.Boundaries("interface_.*")),
        ng.NumberSpace(mesh),
    ]
    if params.material.symmetry == "generalised_plane_strain":
        particles = [mesh.Materials(f"particle_{n}") for n in range(1, len(cell.names) + 1)]
        parts += [ng.NumberSpace(mesh, definedon=particle) for particle in particles]
    return ng.FESpace(parts)


def _add_bodies(
    form: ng.BilinearForm,
    cell: CellMesh,
    *,
    trial: _Parts,
    test: _Parts,
    rates: tuple[Any, Any],
    weight: Any,
    params: HalfCellParams,
) -> None:
    """Add what is integrated over particles, CB and electrolyte."""
    mesh, material = cell.mesh, params.material
    symmetry, poisson = material.symmetry, material.poisson
    for number in range(len(cell.names)):
        # An axial strain exists in its own particle only: evaluated in another it is not 0.
        own = mesh.Materials(f"particle_{number + 1}")
        nmc = _particle_work(trial, test, rates[0], number, params)
        form += (weight * nmc * ng.dx(definedon=own)).Compile()
    flat = ng.CF(0.0)
    soft = forms.stretch(
        forms.strain(trial.u_cb, flat, symmetry), forms.strain(test.u_cb, flat, symmetry),
        flat, material.young_cb_gpa, poisson,
    )  # fmt: skip
    conductivity = forms.UM_PER_M * (
        material.conductivity_low_s_m
        + cell.cb_high * (material.conductivity_high_s_m - material.conductivity_low_s_m)
    )
    electrons = conductivity * ng.grad(trial.phi_cb) * ng.grad(test.phi_cb)
    porosity = mesh.MaterialCF({"separator": mat.POROSITY_SEPARATOR}, default=material.porosity_cb)
    ions, salt = forms.conduct_salt(
        trial.phi_l, trial.salt, porosity, (test.phi_l, test.salt), rates[1]
    )
    form += (weight * (soft + electrons) * ng.dx(definedon=mesh.Materials("cb"))).Compile()
    form += (weight * (ions + salt) * ng.dx(definedon=mesh.Materials(_WET))).Compile()


def _particle_work(
    trial: _Parts, test: _Parts, rate_of_x: Any, number: int, params: HalfCellParams
) -> Any:
    """Diffusion, hydrostatic stress and elasticity of one particle, per area of it."""
    material = params.material
    axial, axial_test = (
        parts.axial[number] if parts.axial else ng.CF(0.0) for parts in (trial, test)
    )
    swelling = _swelling(trial.x, params)
    strains = forms.strain(trial.u_nmc, axial, material.symmetry)
    virtual = forms.strain(test.u_nmc, axial_test, material.symmetry)
    bulk = forms.bulk_modulus(material.young_nmc_gpa, material.poisson)
    return (
        forms.diffuse(trial.x, trial.stress, rate_of_x, test.x, material)
        + (trial.stress - bulk * (strains[2] - 3.0 * swelling)) * test.stress
        + forms.stretch(strains, virtual, swelling, material.young_nmc_gpa, material.poisson)
    )


def _interface_work(
    cell: CellMesh, trial: _Parts, test: _Parts, damage: Any, params: HalfCellParams
) -> Any:
    """Cohesion, charge transfer, and what crosses the interface, per area of it.

    The damage is that of the step before: implicit softening has no solution that a large step
    finds, and the step control bounds by how much damage lags.
    """
    normal = _normal(cell)
    gap, slide = forms.opening(trial.u_cb - trial.u_nmc, normal)
    gap_test, slide_test = forms.opening(test.u_cb - test.u_nmc, normal)
    pull, shear = forms.traction(gap, slide, damage, params.interface)
    kinetics = forms.kinetics(
        current=trial.current,
        drop=trial.voltage + trial.phi_cb - trial.phi_l,
        x=trial.x,
        salt=trial.salt,
        gap_nm=forms.NM_PER_UM * gap,
        gap_initial_nm=_initial_gap_nm(cell, params),
        params=params.interface,
    )
    crossing = (
        forms.LITHIUM_FLUX * test.x
        + test.phi_cb
        - test.phi_l
        - forms.SALT_FLUX * test.salt
        + test.voltage
    )
    return pull * gap_test + shear * slide_test + kinetics * test.current + trial.current * crossing


def _describe(
    cell: CellMesh, state: _Parts, damage: Any, step_s: Any, params: HalfCellParams
) -> dict[str, Any]:
    """Name the fields of the present state that measures and pictures need."""
    gap, slide = forms.opening(state.u_cb - state.u_nmc, _normal(cell))
    return {
        **dict(zip(SCALES, state, strict=False)),
        "gap_nm": forms.NM_PER_UM * ng.IfPos(gap, gap, 0.0),
        "slide_nm": forms.NM_PER_UM * slide,
        "damage": damage,
        "debonded": ng.IfPos(damage - forms.find_debonded(params.interface), 1.0, 0.0),
        "damage_next": forms.next_damage(gap, slide, damage, step_s, params.interface),
        "outward": _normal(cell),
    }


def _normal(cell: CellMesh) -> Any:
    return cell.outward * ng.specialcf.normal(2)


def _swelling(x: Any, params: HalfCellParams) -> Any:
    material = params.material
    per_x = material.molar_volume_m3_mol * mat.CONCENTRATION_MAX / 3.0
    return per_x * (x - material.initial_stoichiometry)


def _initial_gap_nm(cell: CellMesh, params: HalfCellParams) -> Any:
    low, high = params.interface.gap_initial_low_nm, params.interface.gap_initial_high_nm
    return low + cell.interface_high * (high - low)


def _set_initial(state: ng.GridFunction, params: HalfCellParams) -> None:
    initial = params.material.initial_stoichiometry
    state.components[0].Set(initial)
    state.components[6].Set(mat.ELECTROLYTE_INITIAL / 1000.0)
    state.components[8].vec[0] = mat.open_circuit_v(initial, math.exp)
