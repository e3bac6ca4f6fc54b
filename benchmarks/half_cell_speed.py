"""Time of half-cycles of the three-particle cell, and of NGSolve's direct solver beside SciPy's.

Usage: python benchmarks/half_cell_speed.py [interface_um]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu

from ncm_kedro.half_cell.cell import build_cell
from ncm_kedro.half_cell.cycle import run_case
from ncm_kedro.half_cell.geometry import lay_out_section
from ncm_kedro.half_cell.mesh import build_mesh
from ncm_kedro.params.half_cell.case import HalfCellParams


def main() -> None:
    """Print both."""
    edge_um = float(sys.argv[1]) if len(sys.argv) > 1 else 0.6
    params = HalfCellParams.model_validate(
        {"mesh": {"interface_um": edge_um}, "load": {"cycles": 1}}
    )
    cell = build_mesh(lay_out_section(params.layout), params.mesh)
    problem = build_cell(cell, params).problem
    free = np.flatnonzero(list(problem.space.FreeDofs()))
    problem.form.AssembleLinearization(problem.state.vec)
    rows, columns, values = problem.form.mat.COO()
    shape = (problem.space.ndof, problem.space.ndof)
    matrix = csc_matrix((values, (rows, columns)), shape=shape)[free][:, free]
    started = time.process_time()
    problem.form.mat.Inverse(problem.space.FreeDofs(), inverse="umfpack")
    ours = time.process_time() - started
    started = time.process_time()
    splu(matrix)
    theirs = time.process_time() - started
    print(
        f"{len(free)} unknowns, factorised in {ours:.2f} s; scipy splu / ours {theirs / ours:.1f}"
    )
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        result = run_case(cell, params, Path(folder), "benchmark")
        spent = time.process_time() - started
    steps = sum(len(half.steps) for half in result.half_cycles)
    print(f"one cycle: {spent:.0f} s of CPU, {steps} steps, end: {result.end}")


if __name__ == "__main__":
    main()
