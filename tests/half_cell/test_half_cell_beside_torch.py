"""NGSolve and torch in one process: neither takes the other's linear algebra."""

import subprocess
import sys

import pytest

HALF_CELL = "ncm_kedro.half_cell.forms"
CODE = """
{first}
{second}
import ngsolve as ng, numpy as np, torch
from netgen.occ import OCCGeometry, Rectangle
a, b = torch.randn(2, 40, 30), torch.randn(2, 30, 20)
close = np.allclose(torch.baddbmm(torch.zeros(2, 1, 20), a, b), a.numpy() @ b.numpy(), atol=1e-4)
mesh = ng.Mesh(OCCGeometry(Rectangle(1, 1).Face(), dim=2).GenerateMesh(maxh=0.2))
space = ng.H1(mesh, order=2, dirichlet=".*")
u, v = space.TnT()
stiffness = ng.BilinearForm(ng.grad(u) * ng.grad(v) * ng.dx).Assemble().mat
load = ng.LinearForm(v * ng.dx).Assemble().vec
field = ng.GridFunction(space)
field.vec.data = stiffness.Inverse(space.FreeDofs(), inverse="umfpack") * load
raise SystemExit(not (close and abs(ng.Integrate(field, mesh) - 0.035144) < 1e-4))
"""


@pytest.mark.parametrize(
    "order",
    [(HALF_CELL, "torch"), pytest.param(("torch", HALF_CELL), marks=pytest.mark.slow)],
)
def test_both_compute_right_whichever_comes_first(order):
    first, second = (f"import {name}" for name in order)
    code = CODE.format(first=first, second=second)
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
