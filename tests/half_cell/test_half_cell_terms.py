"""Single terms of the half cell, each against its closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, special

ng = pytest.importorskip("ngsolve")

from netgen.occ import Circle, MoveTo, OCCGeometry, Pnt  # noqa: E402

from ncm_kedro.half_cell import forms  # noqa: E402
from ncm_kedro.half_cell import materials as mat  # noqa: E402
from ncm_kedro.half_cell.solve import Problem, Stepper  # noqa: E402
from ncm_kedro.params.half_cell.physics import (  # noqa: E402
    InterfaceParams,
    MaterialParams,
    SteppingParams,
)

RADIUS_UM = 5.0
DIFFUSIVITY = 2e-14 * 1e12
EXACT = SteppingParams(newton_tolerance=1e-12)


def make_disc(edge_um: float, order: int, *, half: bool = False) -> ng.Mesh:
    face = Circle(Pnt(0, 0), RADIUS_UM).Face()
    face.edges.name = "surface"
    if half:
        face = face * MoveTo(0, -10).Rectangle(10, 20).Face()
        for edge in face.edges:
            edge.name = "axis" if abs(edge.center.x) < 1e-9 else "surface"
    mesh = ng.Mesh(OCCGeometry(face, dim=2).GenerateMesh(maxh=edge_um))
    mesh.Curve(order)
    return mesh


def diffuse_on(mesh: ng.Mesh, order: int, flux: float, *, weight: object = 1.0) -> Stepper:
    """Diffusion alone, with a constant flux (um/s of stoichiometry) into the disc."""
    space = ng.FESpace([ng.H1(mesh, order=order)])
    state, history = ng.GridFunction(space), ng.GridFunction(space)
    rate, step_s = ng.Parameter(1.0), ng.Parameter(1.0)
    (x,), (test,) = space.TnT()
    form = ng.BilinearForm(space)
    params = MaterialParams(stress_diffusion=False)
    form += weight * forms.diffuse(x, None, rate * x + history.components[0], test, params) * ng.dx
    form += -weight * flux * test * ng.ds(definedon="surface")
    return Stepper(Problem(space, form, state, history, rate, step_s, scales=(1.0,)), EXACT)


def crank_disc(radius_um: np.ndarray, time_s: float, flux: float) -> np.ndarray:
    """Crank (1975), The Mathematics of Diffusion, eq. 5.45: from empty, constant flux."""
    roots = special.jn_zeros(1, 60)
    tau, r = DIFFUSIVITY * time_s / RADIUS_UM**2, radius_um / RADIUS_UM
    series = sum(
        math.exp(-(root**2) * tau) * special.j0(root * r) / (root**2 * special.j0(root))
        for root in roots
    )
    return flux * RADIUS_UM / DIFFUSIVITY * (2 * tau + r**2 / 2 - 0.25 - 2 * series)


def test_disc_under_constant_flux_follows_crank() -> None:
    mesh, flux = make_disc(0.6, 3), 1e-3
    stepper = diffuse_on(mesh, 3, flux)
    for step_s in [0.02] * 50 + [0.2] * 45 + [1.0] * 190:
        stepper.advance(step_s)
        stepper.accept(step_s)
    radii = np.linspace(0.05, 4.9, 40)
    state = stepper.problem.state.components[0]
    found = np.array([state(mesh(r, 0.0)) for r in radii])
    expected = crank_disc(radii, stepper.time_s, flux)
    assert np.abs(found - expected).max() < 1e-4 * expected.max()
    held = ng.Integrate(state, mesh)
    space = stepper.problem.space.components[0]
    surface = ng.LinearForm(space)  # integrated as the flux of the form is
    surface += space.TestFunction() * ng.ds(definedon="surface")
    surface.Assemble()
    length = sum(surface.vec[vertex.nr] for vertex in mesh.vertices)
    entered = flux * stepper.time_s * length
    assert abs(held / entered - 1.0) < 1e-12


def test_time_steps_are_of_second_order() -> None:
    mesh = make_disc(0.8, 3)
    root = special.jn_zeros(1, 1)[0]
    shape = crank_mode(root)
    decay = DIFFUSIVITY * (root / RADIUS_UM) ** 2
    errors = []
    for steps in (8, 16, 32):
        stepper = diffuse_on(mesh, 3, 0.0)
        stepper.problem.state.components[0].Set(shape)
        stepper.restart()
        for _ in range(steps):
            stepper.advance(160.0 / steps)
            stepper.accept(160.0 / steps)
        off = stepper.problem.state.components[0] - math.exp(-decay * 160.0) * shape
        errors.append(math.sqrt(ng.Integrate(off * off, mesh)))
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert orders.min() >= 1.9


def crank_mode(root: float) -> object:
    """J0(root r / R) as a series, which ngsolve has no function for."""
    z2 = (root / (2 * RADIUS_UM)) ** 2 * (ng.x**2 + ng.y**2)
    return sum((-1.0) ** k / math.factorial(k) ** 2 * z2**k for k in range(16))


def test_interface_reaches_its_strength_and_dissipates_its_energy() -> None:
    mesh = make_disc(3.0, 1)
    params = InterfaceParams(viscous_time_s=0.0)
    for mode in ("open", "slide"):
        size, damage = ng.Parameter(0.0), ng.Parameter(0.0)
        gap, slide = (size, ng.CF(0.0)) if mode == "open" else (ng.CF(0.0), size)
        grown = forms.next_damage(gap, slide, damage, ng.Parameter(1.0), params)
        pull = forms.traction(gap, slide, damage, params)[0 if mode == "open" else 1]
        openings_um, tractions = np.linspace(0.0, 4e-3, 2001), []
        for opening in openings_um:
            size.Set(opening)
            damage.Set(grown(mesh(0.0, 0.0)))
            tractions.append(pull(mesh(0.0, 0.0)))
        assert max(tractions) == pytest.approx(0.3, rel=0.02)
        # GPa x um = kJ/m2
        assert 1e3 * integrate.trapezoid(tractions, openings_um) == pytest.approx(0.4, rel=5e-3)


def test_what_counts_as_debonded_holds_less_than_half_of_the_strength() -> None:
    mesh = make_disc(3.0, 1)
    params = InterfaceParams(viscous_time_s=0.0)
    limit, point = forms.find_debonded(params), mesh(0.0, 0.0)
    half_way_um = 0.5 * (1e-4 + 2 * 0.4 / 300.0)
    zero, step = ng.CF(0.0), ng.Parameter(1.0)
    law = forms.next_damage(ng.CF(half_way_um), zero, zero, step, params)
    assert law(point) == pytest.approx(limit, rel=1e-6)
    pull, _ = forms.traction(ng.CF(half_way_um), zero, ng.CF(limit), params)
    assert pull(point) == pytest.approx(0.15, rel=1e-3)


def test_damage_never_heals_and_a_closed_interface_pushes_back() -> None:
    mesh = make_disc(3.0, 1)
    params = InterfaceParams()
    point, step = mesh(0.0, 0.0), ng.Parameter(1.0)
    for gap_um in (-1e-3, 0.0, 1e-3, 1.0):
        grown = forms.next_damage(ng.CF(gap_um), ng.CF(0.0), ng.CF(0.6), step, params)
        assert 0.6 <= grown(point) <= 1.0
    pull, _ = forms.traction(ng.CF(-1e-3), ng.CF(0.0), ng.CF(1.0), params)
    assert pull(point) == pytest.approx(-3.0)  # 300 MPa / 0.1 nm over 1 nm
    pull, shear = forms.traction(ng.CF(1e-3), ng.CF(1e-3), ng.CF(1.0), params)
    assert max(abs(pull(point)), abs(shear(point))) < 1e-5


def test_viscous_damage_approaches_the_law_over_its_time() -> None:
    mesh = make_disc(3.0, 1)
    params = InterfaceParams(viscous_time_s=2.0)
    damage, step = ng.Parameter(0.0), ng.Parameter(0.01)
    grown = forms.next_damage(ng.CF(1.0), ng.CF(0.0), damage, step, params)
    for _ in range(200):
        damage.Set(grown(mesh(0.0, 0.0)))
    assert damage.Get() == pytest.approx(1 - math.exp(-1.0), abs=3e-3)


@pytest.mark.parametrize("order", [2, 3])
def test_stress_of_a_free_sphere_converges_at_its_order(order: int) -> None:
    """Against the closed form for a parabolic concentration (Cheng and Verbrugge 2009, eq. 12)."""
    params = MaterialParams(symmetry="axisymmetric")
    errors = []
    for edge_um in (2.0, 1.0):
        mesh = make_disc(edge_um, order, half=True)
        errors.append(_stress_error(mesh, order, params))
    assert math.log2(errors[0] / errors[1]) >= order - 0.2


def _stress_error(mesh: ng.Mesh, order: int, params: MaterialParams) -> float:
    """Relative error in L2 of the hydrostatic stress, with swelling = 1e-3 (r/R)^2."""
    young, poisson = params.young_nmc_gpa, params.poisson
    space = ng.FESpace([ng.VectorH1(mesh, order=order, dirichletx="axis"), ng.NumberSpace(mesh)])
    (u, shift), (v, shift_test) = space.TnT()
    r2 = (ng.x**2 + ng.y**2) / RADIUS_UM**2
    swelling = 1e-3 * r2
    strains = forms.strain(u, ng.CF(0.0), "axisymmetric")
    virtual = forms.strain(v, ng.CF(0.0), "axisymmetric")
    form = ng.BilinearForm(space)
    form += ng.x * forms.stretch(strains, virtual, swelling, young, poisson) * ng.dx
    form += ng.x * (u[1] * shift_test + v[1] * shift) * ng.dx  # along the axis the sphere rests
    state = ng.GridFunction(space)
    residual = state.vec.CreateVector()
    form.Apply(state.vec, residual)
    form.AssembleLinearization(state.vec)
    state.vec.data -= form.mat.Inverse(space.FreeDofs(), "umfpack") * residual
    found = forms.bulk_modulus(young, poisson) * (
        forms.strain(state.components[0], ng.CF(0.0), "axisymmetric")[2] - 3 * swelling
    )
    # sigma_h = 2 E / (3 (1 - nu)) (mean swelling - swelling), mean of r^2 over a ball = 3/5
    exact = 2 * young / (3 * (1 - poisson)) * (0.6e-3 - swelling)
    error = ng.Integrate(ng.x * (found - exact) ** 2, mesh, order=10)
    return math.sqrt(error / ng.Integrate(ng.x * exact**2, mesh, order=10))


def test_rigid_motion_and_rotated_axes_change_no_stress() -> None:
    mesh = make_disc(1.5, 2)
    space = ng.VectorH1(mesh, order=2)
    u = ng.GridFunction(space)
    u.Set(ng.CF((0.3 - 0.02 * ng.y, -0.1 + 0.02 * ng.x)))
    plane, _, trace = forms.strain(u, ng.CF(0.0), "generalised_plane_strain")
    assert ng.Integrate(ng.InnerProduct(plane, plane) + trace**2, mesh) < 1e-24

    def energy(angle: float) -> float:
        """Elastic energy of the same stretch along an axis that is turned."""
        c, s = math.cos(angle), math.sin(angle)
        along = c * ng.x + s * ng.y
        u.Set(ng.CF((1e-3 * along * c, 1e-3 * along * s)))
        strains = forms.strain(u, ng.CF(0.0), "generalised_plane_strain")
        return float(ng.Integrate(forms.stretch(strains, strains, ng.CF(0.0), 140.0, 0.3), mesh))

    assert energy(0.7) == pytest.approx(energy(0.0), rel=1e-10)


def test_open_circuit_voltage_falls_with_lithium_and_is_inverted() -> None:
    x = np.linspace(0.05, 0.999, 400)
    voltage = mat.open_circuit_v(x, np.exp)
    assert np.all(np.diff(voltage) < 0)
    for value in (2.9, 3.6, 4.2, 4.5):
        assert mat.open_circuit_v(mat.stoichiometry_at(value), math.exp) == pytest.approx(value)


def test_materials_are_those_of_the_named_sets() -> None:
    pybamm = pytest.importorskip("pybamm")
    chen, xu = pybamm.ParameterValues("Chen2020"), pybamm.ParameterValues("Xu2019")
    salt, x, t = pybamm.Scalar(1300.0), pybamm.Scalar(0.4), mat.TEMPERATURE_K
    c_max = pybamm.Scalar(mat.CONCENTRATION_MAX)
    kelvin = pybamm.Scalar(t)

    def value(name: str, values: object, *arguments: object) -> float:
        return float(values[name](*arguments).evaluate())

    assert chen["Maximum concentration in positive electrode [mol.m-3]"] == mat.CONCENTRATION_MAX
    assert mat.open_circuit_v(0.4, math.exp) == pytest.approx(
        value("Positive electrode OCP [V]", chen, x), abs=1e-12
    )
    assert mat.exchange_current_nmc(1.3, 0.4, 0.6) == pytest.approx(
        value("Positive electrode exchange-current density [A.m-2]", chen, salt, x * c_max, c_max,
              kelvin)
    )  # fmt: skip
    assert mat.electrolyte_conductivity(1.3) == pytest.approx(
        value("Electrolyte conductivity [S.m-1]", xu, salt, kelvin)
    )
    assert mat.electrolyte_diffusivity(1.3, math.exp) == pytest.approx(
        value("Electrolyte diffusivity [m2.s-1]", xu, salt, kelvin)
    )
    assert xu["Cation transference number"] == mat.TRANSFERENCE
    assert xu["Separator porosity"] == mat.POROSITY_SEPARATOR
    assert mat.exchange_current_lithium(1.3) == pytest.approx(
        value("Exchange-current density for lithium metal electrode [A.m-2]", xu, salt,
              pybamm.Scalar(76900.0), kelvin)
    )  # fmt: skip
