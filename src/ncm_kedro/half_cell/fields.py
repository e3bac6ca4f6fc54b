"""Fields of the end of each half-cycle as VTU files, which ParaView opens."""

from __future__ import annotations

from pathlib import Path

import ngsolve as ng

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.half_cell.cycle import HALVES, CaseResult
from ncm_kedro.half_cell.mesh import CellMesh

_FIELDS = {
    "particle_.*": ("stoichiometry", "stress_gpa"),
    "cb": ("potential_cb_v",),
    "cb|separator": ("potential_electrolyte_v", "salt_mol_l"),
}


def write_fields(result: CaseResult, folder: Path, animation: bytes) -> None:
    """Write ``<half-cycle>.vtu`` and ``charge.gif`` in place of those of an earlier run.

    Outside of where a field lives it is 0: threshold by ``material`` (1 and up: particles,
    0: CB, -1: separator).
    """
    problem, cell = result.fields.problem, result.cell
    names = [name for group in _FIELDS.values() for name in group]
    fields = [
        cell.mesh.MaterialCF(
            {one: problem.fields[name] for one in _list_materials(cell, group)}, default=0.0
        )
        for group, own in _FIELDS.items()
        for name in own
    ]
    numbers = {f"particle_{n + 1}": n + 1.0 for n in range(len(cell.names))}
    material = cell.mesh.MaterialCF({**numbers, "separator": -1.0}, default=0.0)
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.vtu"):
        stale.unlink()
    for index, half in enumerate(result.half_cycles):
        problem.state.vec.FV().NumPy()[:] = half.state["state"]
        path = folder / f"{index // 2 + 1:03d}_{HALVES[index % 2]}"
        output = ng.VTKOutput(
            cell.mesh, coefs=[*fields, material], names=[*names, "material"], filename=str(path)
        )
        output.Do()
    write_atomic(folder / "charge.gif", animation)


def _list_materials(cell: CellMesh, group: str) -> list[str]:
    particles = [f"particle_{n + 1}" for n in range(len(cell.names))]
    return particles if group.startswith("particle") else group.split("|")
