"""The equations of a half cell in weak form.

Units inside: um, s, GPa, V, A/m2; lithium as stoichiometry of NMC, salt in mol/l. A term returns
what stands under its integral; ``cell`` joins the terms to one nonlinear form. Equations and
sources: Li et al. (2022), supplement, "Finite element analysis", and ``docs/half_cell.md``.
"""

from __future__ import annotations

from typing import Any

import ngsolve as ng

from ncm_kedro.half_cell import materials as mat
from ncm_kedro.params.half_cell.physics import InterfaceParams, MaterialParams, Symmetry

Field = Any  # a proxy, grid function or coefficient function: ngsolve has no common type for them

UM_PER_M = 1e6
NM_PER_UM = 1e3
RESIDUAL_STIFFNESS = 1e-6
"""Part of the stiffness that a failed interface retains, so that debonded particles stay put."""
_EXPONENT_MAX = 50.0  # resistance of a wide gap: beyond it nothing flows
_FRACTION_MIN = 1e-3  # of filled and empty places in the exchange current
_SALT_MIN = 1e-3  # mol/l in transport and exchange current

LITHIUM_FLUX = UM_PER_M / (mat.FARADAY * mat.CONCENTRATION_MAX)
"""um/s of stoichiometry per A/m2."""
SALT_FLUX = UM_PER_M * (1.0 - mat.TRANSFERENCE) / (mat.FARADAY * 1000.0)
"""um/s of mol/l per A/m2."""


def diffuse(
    x: Field, stress: Field, rate_of_x: Field, test: Field, params: MaterialParams
) -> Field:
    """Weak form of lithium in NMC, without what crosses the surface.

    dx/dt = div(D (grad x - Omega x / (R T) grad s)), with hydrostatic stress s in GPa.
    """
    diffusivity = params.diffusivity_m2_s * UM_PER_M**2
    flow = ng.grad(x)
    if params.stress_diffusion:
        drift = params.molar_volume_m3_mol * 1e9 / (mat.GAS * mat.TEMPERATURE_K)
        flow = flow - drift * x * ng.grad(stress)
    return rate_of_x * test + diffusivity * flow * ng.grad(test)


def strain(u: Field, axial: Field, symmetry: Symmetry) -> tuple[Field, Field, Field]:
    """Strain in the plane (2, 2), normal to it, and its trace; `axial` is that of the particle."""
    gradient = ng.grad(u)
    plane = 0.5 * (gradient + gradient.trans)
    normal = u[0] / ng.x if symmetry == "axisymmetric" else axial
    return plane, normal, gradient[0, 0] + gradient[1, 1] + normal


def stretch(
    strains: tuple[Field, Field, Field],
    virtual: tuple[Field, Field, Field],
    swelling: Field,
    young_gpa: float,
    poisson: float,
) -> Field:
    """Virtual work of an elastic body with an isotropic `swelling` (strain of each direction)."""
    first, shear = lame(young_gpa, poisson)
    plane, normal, trace = strains
    plane_v, normal_v, trace_v = virtual
    pressure = first * (trace - 3.0 * swelling) - 2.0 * shear * swelling
    return pressure * trace_v + 2.0 * shear * (ng.InnerProduct(plane, plane_v) + normal * normal_v)


def lame(young_gpa: float, poisson: float) -> tuple[float, float]:
    """Lame's constants in GPa."""
    first = young_gpa * poisson / ((1 + poisson) * (1 - 2 * poisson))
    return first, young_gpa / (2 * (1 + poisson))


def bulk_modulus(young_gpa: float, poisson: float) -> float:
    """Bulk modulus in GPa."""
    return young_gpa / (3 * (1 - 2 * poisson))


def opening(jump: Field, normal: Field) -> tuple[Field, Field]:
    """Split a displacement jump (CB less NMC) into opening and sliding, in um."""
    tangent = ng.CF((-normal[1], normal[0]))
    return jump * normal, jump * tangent


def next_damage(
    gap: Field, slide: Field, damage: Field, step_s: Field, params: InterfaceParams
) -> Field:
    """Damage at the end of a step: the bilinear law, which never heals, with a viscous delay.

    The law depends on sqrt(max(gap, 0)^2 + slide^2). The delay is
    dd/dt = (d_law - d) / tau, by backward Euler (Duvaut and Lions 1976).
    """
    start = params.opening_at_strength_nm / NM_PER_UM
    end = 2.0 * params.fracture_energy_j_m2 / params.strength_mpa  # um, as J/m2 / MPa = um
    size = ng.sqrt(ng.IfPos(gap, gap * gap, 0.0) + slide * slide + (1e-6 * start) ** 2)
    law = ng.IfPos(size - end, 1.0, end * (size - start) / (size * (end - start)))
    share = 1.0 if params.viscous_time_s == 0.0 else step_s / (step_s + params.viscous_time_s)
    return damage + ng.IfPos(law - damage, share * (law - damage), 0.0)


def find_debonded(params: InterfaceParams) -> float:
    """Return the damage above which an interface holds less than half of its strength.

    Damage is the part of the stiffness that is lost: 0.5 is reached where an opening has hardly
    begun to soften, long before an interface has failed.
    """
    start = params.opening_at_strength_nm / NM_PER_UM
    end = 2.0 * params.fracture_energy_j_m2 / params.strength_mpa
    half = 0.5 * (start + end)
    return end * (half - start) / (half * (end - start))


def traction(
    gap: Field, slide: Field, damage: Field, params: InterfaceParams
) -> tuple[Field, Field]:
    """Return normal and tangential traction in GPa; a closed gap pushes whatever the damage."""
    stiffness = 1e-3 * params.strength_mpa / (params.opening_at_strength_nm / NM_PER_UM)
    left = 1.0 - damage * (1.0 - RESIDUAL_STIFFNESS)
    return stiffness * ng.IfPos(gap, left * gap, gap), stiffness * left * slide


def kinetics(
    *,
    current: Field,
    drop: Field,
    x: Field,
    salt: Field,
    gap_nm: Field,
    gap_initial_nm: Field,
    params: InterfaceParams,
) -> Field:
    """Residual of the modified Butler-Volmer equation, in V, weighted between 0 and 1.

    2RT/F asinh(i / 2 i0) + i R = phi_s - phi_l - E with R = R0 exp((gap + gap_ini) / gap_ref). The
    equation is divided by 1 + R/R0, which leaves it bounded for any gap.
    """
    exchange = mat.exchange_current_nmc(
        _limit_salt(salt), _limit_fraction(x), _limit_fraction(1.0 - x)
    )
    over = 2.0 * mat.THERMAL_V * ng.asinh(current / (2.0 * exchange))
    balance = over - drop + mat.open_circuit_v(x, ng.exp)
    if not params.contact_loss:
        return balance + params.resistance_ohm_m2 * current
    power = (ng.IfPos(gap_nm, gap_nm, 0.0) + gap_initial_nm) / params.gap_reference_nm
    growth = ng.exp(ng.IfPos(_EXPONENT_MAX - power, power, _EXPONENT_MAX))
    return (balance + params.resistance_ohm_m2 * growth * current) / (1.0 + growth)


def conduct_salt(
    potential: Field, salt: Field, porosity: Field, tests: tuple[Field, Field], rate_of_salt: Field
) -> tuple[Field, Field]:
    """Weak forms of current and salt in the electrolyte, without what crosses boundaries.

    Concentrated solution with transference number t and thermodynamic factor 1:
    i = -kappa (grad phi - 2RT/F (1 - t) grad ln c); eps dc/dt = div(D grad c) + (1 - t)/F div i.
    Bruggeman's exponent scales both transport properties.
    """
    open_part = porosity**mat.BRUGGEMAN
    limited = _limit_salt(salt)
    kappa = UM_PER_M * open_part * mat.electrolyte_conductivity(limited)
    diffusivity = UM_PER_M**2 * open_part * mat.electrolyte_diffusivity(limited, ng.exp)
    junction = 2.0 * mat.THERMAL_V * (1.0 - mat.TRANSFERENCE)
    current = kappa * (ng.grad(potential) - junction / limited * ng.grad(salt))
    potential_test, salt_test = tests
    return (
        current * ng.grad(potential_test),
        porosity * rate_of_salt * salt_test + diffusivity * ng.grad(salt) * ng.grad(salt_test),
    )


def plating_current(potential: Field, salt: Field) -> Field:
    """Return the current from electrolyte into lithium metal at 0 V, in A/m2, by Butler-Volmer."""
    exchange = mat.exchange_current_lithium(_limit_salt(salt))
    return 2.0 * exchange * ng.sinh(potential / (2.0 * mat.THERMAL_V))


def _limit_fraction(fraction: Field) -> Field:
    """Stay above 0 smoothly: Newton's method crosses 0, the exchange current must not."""
    return 0.5 * (fraction + ng.sqrt(fraction * fraction + 4.0 * _FRACTION_MIN**2))


def _limit_salt(salt: Field) -> Field:
    return ng.IfPos(salt - _SALT_MIN, salt, _SALT_MIN)
