"""Materials, the interface of particles, the load, and time steps."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ncm_kedro.params.base import FrozenParams

Symmetry = Literal["generalised_plane_strain", "plane_strain", "axisymmetric"]


class MaterialParams(FrozenParams):
    """Transport, kinetics and elasticity; what is not here stands in ``half_cell/materials.py``."""

    diffusivity_m2_s: float = Field(default=2e-14, gt=0.0, le=1e-6)
    """Diffusivity of lithium in NMC, in m2/s."""

    molar_volume_m3_mol: float = Field(default=2e-6, ge=0.0, le=2e-5)
    """Partial molar volume of lithium in NMC (Omega), in m3/mol."""

    initial_stoichiometry: float = Field(default=0.9, gt=0.0, lt=1.0)
    """Lithium fraction of the NMC at the start, where it is free of stress."""

    conductivity_high_s_m: float = Field(default=100.0, gt=0.0, le=1e7)
    """Conductivity of the highly conductive CB, in S/m."""

    conductivity_low_s_m: float = Field(default=2e-3, gt=0.0, le=1e7)
    """Conductivity of the other CB, in S/m."""

    porosity_cb: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Part of the CB that is filled with electrolyte."""

    young_nmc_gpa: float = Field(default=140.0, gt=0.0, le=2000.0)
    """Elastic modulus of NMC, in GPa."""

    young_cb_gpa: float = Field(default=2.0, gt=0.0, le=2000.0)
    """Elastic modulus of CB, in GPa."""

    poisson: float = Field(default=0.3, gt=-1.0, lt=0.5)
    """Poisson's ratio of both."""

    stress_diffusion: bool = True
    """Whether gradients of hydrostatic stress drive lithium."""

    symmetry: Symmetry = "generalised_plane_strain"
    """What is assumed about the third direction. In generalised plane strain each particle has its
    own axial strain, for which its axial force is 0; the CB is in plane strain."""


class InterfaceParams(FrozenParams):
    """Contact and cohesion between NMC and CB."""

    strength_mpa: float = Field(default=300.0, gt=0.0, le=1e5)
    """Traction at which the interface starts to fail, in MPa."""

    fracture_energy_j_m2: float = Field(default=0.4, gt=0.0, le=1e4)
    """Energy of opening a unit area completely, in J/m2."""

    opening_at_strength_nm: float = Field(default=0.1, gt=0.0, le=100.0)
    """Opening at which the traction reaches its strength, in nm."""

    viscous_time_s: float = Field(default=1.0, ge=0.0, le=1e4)
    """Time by which damage lags behind the bilinear law, in s; the process zone is only 9 nm."""

    contact_loss: bool = True
    """Whether an open interface resists the current."""

    resistance_ohm_m2: float = Field(default=1e-3, ge=0.0, le=1e3)
    """Resistance of the closed interface (R0), in ohm m2."""

    gap_reference_nm: float = Field(default=1.0, gt=0.0, le=1e4)
    """Gap over which the resistance grows by a factor of e (lambda_ref), in nm."""

    gap_initial_high_nm: float = Field(default=0.0, ge=0.0, le=1e3)
    """Gap at the start next to highly conductive CB (lambda_ini), in nm."""

    gap_initial_low_nm: float = Field(default=0.2, ge=0.0, le=1e3)
    """The same next to the other CB, in nm."""

    @model_validator(mode="after")
    def check_opening(self) -> Self:
        """Reject an interface that fails completely before it reaches its strength."""
        final_nm = 2e3 * self.fracture_energy_j_m2 / self.strength_mpa
        if self.opening_at_strength_nm >= final_nm:
            raise ValueError(
                f"opening_at_strength_nm must be below 2 x energy / strength = {final_nm:.3g} nm"
            )
        return self


class CyclingLoadParams(FrozenParams):
    """Constant-current cycles, charge first."""

    cycles: int = Field(default=10, ge=1, le=10_000)
    """Number of cycles."""

    c_rate: float = Field(default=5.0, gt=0.0, le=100.0)
    """Current in multiples of the one that uses the NMC between its stoichiometry at the start and
    that at the upper voltage in one hour."""

    voltage_min_v: float = Field(default=2.5, gt=0.0, le=6.0)
    """Voltage at which a discharge ends, in V."""

    voltage_max_v: float = Field(default=4.5, gt=0.0, le=6.0)
    """Voltage at which a charge ends, in V."""

    dead_fraction: float = Field(default=0.01, gt=0.0, lt=1.0)
    """The cell is dead when a half-cycle has less than this fraction of the nominal capacity."""

    @model_validator(mode="after")
    def check_window(self) -> Self:
        """Reject a window without voltage in it."""
        if self.voltage_max_v <= self.voltage_min_v:
            raise ValueError("voltage_max_v must be above voltage_min_v")
        return self


class SteppingParams(FrozenParams):
    """Time steps and Newton's method."""

    step_first_s: float = Field(default=0.2, gt=0.0, le=100.0)
    """First step of every half-cycle, in s."""

    step_max_s: float = Field(default=30.0, gt=0.0, le=1e4)
    """Longest step, in s."""

    tolerance: float = Field(default=0.03, gt=0.0, le=1.0)
    """Largest deviation of the stoichiometry from its linear prediction in one step."""

    newton_tolerance: float = Field(default=1e-7, gt=0.0, le=1e-2)
    """Newton ends when no field changes by more than this, each in its own scale."""
