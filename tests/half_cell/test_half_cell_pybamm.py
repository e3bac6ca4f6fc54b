"""Beside PyBaMM: diffusion in a sphere, and the voltage of an intact half cell."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ng = pytest.importorskip("ngsolve")
pybamm = pytest.importorskip("pybamm")

from half_cells import make_cell, make_params  # noqa: E402
from test_half_cell_terms import DIFFUSIVITY, RADIUS_UM, diffuse_on, make_disc  # noqa: E402

from ncm_kedro.half_cell import materials as mat  # noqa: E402
from ncm_kedro.half_cell.cycle import run_case  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::Warning")]


def solve_pybamm(model: Any, changes: dict[str, Any], times_s: np.ndarray, **grid: int) -> Any:
    values = pybamm.ParameterValues("Xu2019")
    chen = pybamm.ParameterValues("Chen2020")
    shared = {
        name: chen[name]
        for name in (
            "Maximum concentration in positive electrode [mol.m-3]",
            "Positive electrode exchange-current density [A.m-2]",
        )
    }
    values.update({**shared, "Lower voltage cut-off [V]": 0.0, "Upper voltage cut-off [V]": 9.0})
    values.update(
        {"Positive electrode OCP [V]": lambda x: mat.open_circuit_v(x, pybamm.exp), **changes}
    )
    points = {**model.default_var_pts, **grid}
    simulation = pybamm.Simulation(model, parameter_values=values, var_pts=points)
    return simulation.solve(times_s)


def test_surface_of_a_sphere_follows_the_single_particle_model() -> None:
    times_s = np.linspace(0.0, 400.0, 41)
    model = pybamm.lithium_ion.SPM({"working electrode": "positive"})
    changes = {
        "Positive particle diffusivity [m2.s-1]": DIFFUSIVITY * 1e-12,
        "Positive particle radius [m]": RADIUS_UM * 1e-6,
        "Initial concentration in positive electrode [mol.m-3]": 0.3 * mat.CONCENTRATION_MAX,
        "Current function [A]": 0.008,
    }
    solution = solve_pybamm(model, changes, times_s, r_p=400)
    current = solution["X-averaged positive electrode interfacial current density [A.m-2]"]
    surface = solution["X-averaged positive particle surface stoichiometry"].entries
    flux = -float(current.entries[0]) / (mat.FARADAY * mat.CONCENTRATION_MAX) * 1e6
    mesh = make_disc(0.5, 3, half=True)
    stepper = diffuse_on(mesh, 3, flux, weight=ng.x)
    stepper.problem.state.components[0].Set(0.3)
    stepper.restart()
    for step_s in [0.05] * 100 + [0.5] * 790:
        stepper.advance(step_s)
        stepper.accept(step_s)
    found = stepper.problem.state.components[0](mesh(RADIUS_UM * (1 - 1e-9), 0.0))
    assert abs(flux) > 1e-4
    assert abs(found - surface[-1]) <= 5e-4


def test_voltage_of_an_intact_cell_follows_the_porous_electrode(tmp_path: Path) -> None:
    fast = 1e-10
    params = make_params(
        material={
            "diffusivity_m2_s": fast, "molar_volume_m3_mol": 0.0, "conductivity_low_s_m": 100.0,
        },
        interface={"resistance_ohm_m2": 0.0, "contact_loss": False},
        load={"c_rate": 2.0},
        stepping={"tolerance": 0.05},
    )  # fmt: skip
    cell = make_cell(params)
    result = run_case(cell, params, tmp_path, "test")
    charge = result.half_cycles[0].steps
    layout = params.layout
    area = layout.width_um * layout.height_um
    solid = 2 * math.pi * 2.0**2 / area
    current = params.load.c_rate * result.fields.capacity / 3600 / layout.width_um  # A/m2
    wet = params.material.porosity_cb * (1 - solid)
    # The same path of ions per volume: pores of CB are 0.5^1.5 of a medium that fills 1 - solid.
    tortuosity = math.log((1 - solid) ** 1.5 * params.material.porosity_cb**1.5) / math.log(wet)
    changes = {
        "Positive electrode thickness [m]": layout.height_um * 1e-6,
        "Separator thickness [m]": layout.separator_um * 1e-6,
        "Positive electrode active material volume fraction": solid,
        "Positive electrode porosity": wet,
        "Positive electrode Bruggeman coefficient (electrolyte)": tortuosity,
        "Positive particle radius [m]": 3.0e-6,  # 3 / r of a sphere as 2 / r of a cylinder
        "Positive particle diffusivity [m2.s-1]": fast,
        "Initial concentration in positive electrode [mol.m-3]": 0.9 * mat.CONCENTRATION_MAX,
        "Electrode height [m]": 0.1,
        "Electrode width [m]": 0.1,
        "Current function [A]": -current * 0.01,
    }
    model = pybamm.lithium_ion.DFN({"working electrode": "positive"})
    solution = solve_pybamm(model, changes, np.linspace(0.0, charge[-2, 0], 200))
    known = np.interp(charge[1:-1, 0], solution.t, solution["Voltage [V]"].entries)
    settled = charge[1:-1, 0] > 5.0
    assert settled.sum() > 5
    assert np.abs(charge[1:-1, 1] - known)[settled].max() <= 5e-3
