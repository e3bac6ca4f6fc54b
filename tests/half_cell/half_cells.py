"""Small cells for tests, made in a second or two."""

from __future__ import annotations

from typing import Any

from ncm_kedro.half_cell.geometry import lay_out_section
from ncm_kedro.half_cell.mesh import CellMesh, build_mesh
from ncm_kedro.params.half_cell.case import HalfCellParams

SMALL: dict[str, Any] = {
    "layout": {
        "width_um": 11.0, "height_um": 6.0, "separator_um": 4.0, "split_x_um": 5.5,
        "circles": [
            {"x_um": 2.75, "y_um": 3.0, "radius_um": 2.0},
            {"x_um": 8.25, "y_um": 3.0, "radius_um": 2.0},
        ],
    },
    "mesh": {"interface_um": 0.7, "bulk_um": 3.0},
    "load": {"cycles": 1},
    "stepping": {"tolerance": 0.2, "step_max_s": 100.0},
}  # fmt: skip


def make_params(**changes: dict[str, Any]) -> HalfCellParams:
    """Settings of `SMALL`, with the given keys of its groups changed."""
    groups = {name: {**SMALL.get(name, {}), **changes.get(name, {})} for name in {*SMALL, *changes}}
    return HalfCellParams.model_validate(groups)


def make_cell(params: HalfCellParams) -> CellMesh:
    half = params.material.symmetry == "axisymmetric"
    return build_mesh(lay_out_section(params.layout, half=half), params.mesh)
