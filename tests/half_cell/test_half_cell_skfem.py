"""Terms beside scikit-fem, which assembles them from its own basis and quadrature."""

from __future__ import annotations

import numpy as np
import pytest

ng = pytest.importorskip("ngsolve")
skfem = pytest.importorskip("skfem")

from netgen.occ import Circle, OCCGeometry, Pnt  # noqa: E402
from skfem.helpers import dot, grad  # noqa: E402
from skfem.models.elasticity import lame_parameters, linear_elasticity  # noqa: E402

from ncm_kedro.half_cell import forms  # noqa: E402
from ncm_kedro.params.half_cell.physics import MaterialParams  # noqa: E402


@pytest.fixture(scope="module")
def meshes() -> tuple[ng.Mesh, skfem.MeshTri]:
    """One mesh of straight triangles in both libraries, vertices in the same order."""
    mesh = ng.Mesh(OCCGeometry(Circle(Pnt(0, 0), 5.0).Face(), dim=2).GenerateMesh(maxh=1.5))
    points = np.array([vertex.point for vertex in mesh.vertices]).T
    corners = np.array([[v.nr for v in el.vertices] for el in mesh.Elements(ng.VOL)]).T
    return mesh, skfem.MeshTri(points, corners)


@pytest.mark.parametrize("symmetry", ["plane_strain", "generalised_plane_strain"])
def test_elastic_forces_are_those_of_scikit_fem(
    meshes: tuple[ng.Mesh, skfem.MeshTri], symmetry: str
) -> None:
    mesh, other = meshes
    space = ng.VectorH1(mesh, order=1)
    u, v = space.TnT()
    flat = ng.CF(0.0)
    form = ng.BilinearForm(space)
    strains, virtual = forms.strain(u, flat, symmetry), forms.strain(v, flat, symmetry)
    form += forms.stretch(strains, virtual, flat, 140.0, 0.3) * ng.dx
    state = ng.GridFunction(space)
    values = np.random.default_rng(1).normal(size=(2, mesh.nv))
    state.vec.FV().NumPy()[:] = values.ravel()
    found = state.vec.CreateVector()
    form.Apply(state.vec, found)

    basis = skfem.Basis(other, skfem.ElementVector(skfem.ElementTriP1()))
    stiffness = linear_elasticity(*lame_parameters(140.0, 0.3)).assemble(basis)
    expected = (stiffness @ values.T.ravel()).reshape(-1, 2).T
    np.testing.assert_allclose(
        found.FV().NumPy().reshape(2, -1), expected, atol=1e-10 * np.abs(expected).max()
    )


def test_lithium_that_concentration_and_stress_drive_is_that_of_scikit_fem(
    meshes: tuple[ng.Mesh, skfem.MeshTri],
) -> None:
    mesh, other = meshes
    space = ng.H1(mesh, order=1)
    x, test = space.TnT()
    rng = np.random.default_rng(2)
    filled, stress = ng.GridFunction(space), ng.GridFunction(space)
    filled.vec.FV().NumPy()[:] = rng.uniform(0.2, 0.9, mesh.nv)
    stress.vec.FV().NumPy()[:] = rng.normal(scale=0.3, size=mesh.nv)  # GPa
    form = ng.BilinearForm(space)
    params = MaterialParams()
    form += forms.diffuse(x, stress, ng.CF(0.0), test, params) * ng.dx
    found = filled.vec.CreateVector()
    form.Apply(filled.vec, found)

    @skfem.LinearForm
    def flux(v, w):  # type: ignore[no-untyped-def]
        pull = 2e-6 * 1e9 / (8.314462618 * 298.15)  # Omega / RT, per GPa
        return 2e-2 * dot(grad(w["x"]) - pull * w["x"] * grad(w["s"]), grad(v))  # D in um2/s

    basis = skfem.Basis(other, skfem.ElementTriP1(), intorder=4)
    fields = {"x": filled.vec.FV().NumPy().copy(), "s": stress.vec.FV().NumPy().copy()}
    interpolated = {name: basis.interpolate(one) for name, one in fields.items()}
    expected = flux.assemble(basis, **interpolated)
    np.testing.assert_allclose(found.FV().NumPy(), expected, atol=1e-10 * np.abs(expected).max())
