"""Sections and meshes: areas, regions, and what cannot be meshed."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest

ng = pytest.importorskip("ngsolve")

from half_cells import SMALL, make_cell, make_params  # noqa: E402

from ncm_kedro.errors import NcmError  # noqa: E402
from ncm_kedro.half_cell.geometry import Outline, Section, lay_out_section  # noqa: E402
from ncm_kedro.half_cell.mesh import build_mesh  # noqa: E402
from ncm_kedro.params.half_cell.geometry import LayoutParams, MeshParams  # noqa: E402


def test_regions_have_their_areas_and_normals_point_outward() -> None:
    cell = make_cell(make_params())
    normal = cell.outward * ng.specialcf.normal(2)
    for number in (1, 2):
        own = cell.mesh.Materials(f"particle_{number}")
        assert ng.Integrate(1.0, cell.mesh, definedon=own) == pytest.approx(4 * math.pi, rel=1e-3)
        edge = cell.mesh.Boundaries(f"interface_{number}")
        around = ng.Integrate(ng.CF((ng.x, ng.y)) * normal, cell.mesh, definedon=edge)
        assert around == pytest.approx(8 * math.pi, rel=1e-3)
    cb = cell.mesh.Materials("cb")
    high = ng.Integrate(cell.cb_high, cell.mesh, definedon=cb)
    assert high == pytest.approx(33.0 - 4 * math.pi, rel=1e-3)


def test_normals_point_outward_where_an_outline_is_concave() -> None:
    star = [
        (10 + r * math.cos(a), 6 + r * math.sin(a))
        for r, a in zip([4.0, 2.0] * 5, np.arange(10) * math.pi / 5, strict=True)
    ]
    section = Section(
        (Outline("star", polygon_nx2=np.array(star)),), 20.0, 12.0, 5.0, lambda x, _: x < 9
    )
    cell = build_mesh(section, MeshParams(interface_um=0.6, bulk_um=3.0))
    normal = cell.outward * ng.specialcf.normal(2)
    edge = cell.mesh.Boundaries("interface_1")
    around = ng.Integrate(ng.CF((ng.x, ng.y)) * normal, cell.mesh, definedon=edge)
    assert around == pytest.approx(2 * section.outlines[0].area_um2, rel=1e-9)


def test_the_same_settings_give_the_same_mesh() -> None:
    assert make_cell(make_params()).identity == make_cell(make_params()).identity


def test_random_circles_come_from_their_seed_and_keep_their_distance() -> None:
    layout = LayoutParams(random_particles=4, width_um=40.0, height_um=24.0, seed=3)
    first, again = lay_out_section(layout), lay_out_section(layout)
    assert first.outlines == again.outlines
    assert first.outlines != lay_out_section(layout.model_copy(update={"seed": 4})).outlines
    places = [(o.circle.x_um, o.circle.y_um) for o in first.outlines if o.circle]
    gaps = [math.dist(a, b) for n, a in enumerate(places) for b in places[:n]]
    assert min(gaps) >= 10.0 + layout.min_gap_um


@pytest.mark.parametrize(
    ("circles", "named"),
    [
        ([(2.75, 3.0, 2.0), (4.0, 3.0, 2.0)], "particle 2"),
        ([(2.75, 3.0, 2.0), (10.0, 3.0, 2.0)], "particle 2"),
        ([(2.75, 30.0, 2.0), (8.25, 3.0, 2.0)], "particle 1"),
    ],
)
def test_circles_that_overlap_or_lie_outside_are_named(
    circles: list[tuple[float, float, float]], named: str
) -> None:
    given = [{"x_um": x, "y_um": y, "radius_um": r} for x, y, r in circles]
    layout = LayoutParams.model_validate({**SMALL["layout"], "circles": given})
    with pytest.raises(NcmError) as caught:
        lay_out_section(layout)
    assert named in caught.value.where


def test_random_circles_without_room_are_an_error() -> None:
    with pytest.raises(NcmError) as caught:
        lay_out_section(LayoutParams(random_particles=9))
    assert "random_particles" in caught.value.where


def test_an_outline_that_crosses_itself_is_named() -> None:
    sound = np.array([[1.0, 1.0], [3.0, 1.0], [3.0, 3.0], [1.0, 3.0]])
    bow = np.array([[5.0, 5.0], [9.0, 9.0], [9.0, 5.0], [5.0, 9.0]])
    outlines = (Outline("label 4", polygon_nx2=sound), Outline("label 7", polygon_nx2=bow))
    section = Section(outlines, 20.0, 12.0, 5.0, lambda x, _: x < 9)
    with pytest.raises(NcmError) as caught:
        build_mesh(section, MeshParams())
    assert "label 7" in caught.value.where


def test_outlines_that_cross_each_other_are_named() -> None:
    square = np.array([[2.0, 2.0], [6.0, 2.0], [6.0, 6.0], [2.0, 6.0]])
    outlines = (Outline("label 4", polygon_nx2=square), Outline("label 7", polygon_nx2=square + 1))
    section = Section(outlines, 20.0, 12.0, 5.0, lambda x, _: x < 9)
    with pytest.raises(NcmError) as caught:
        build_mesh(section, MeshParams())
    assert "label" in caught.value.where


def test_a_sphere_off_the_axis_of_an_axisymmetric_cell_is_named() -> None:
    rings = LayoutParams.model_validate(SMALL["layout"])
    with pytest.raises(NcmError) as caught:
        lay_out_section(rings, half=True)
    assert "particle 1" in caught.value.where
    ball = {**SMALL["layout"], "circles": [{"x_um": 0.0, "y_um": 3.0, "radius_um": 2.0}]}
    section = lay_out_section(LayoutParams.model_validate(ball), half=True)
    mesh = build_mesh(section, MeshParams(interface_um=0.7, bulk_um=3.0)).mesh
    volume = ng.Integrate(2 * math.pi * ng.x, mesh, definedon=mesh.Materials("particle_1"))
    assert volume == pytest.approx(4 / 3 * math.pi * 8.0, rel=1e-3)


def test_an_interface_is_of_the_kind_of_its_carbon_and_not_of_the_particle_beside_it() -> None:
    layout = LayoutParams.model_validate(SMALL["layout"])
    section = dataclasses.replace(
        lay_out_section(layout), is_high=lambda x, y: np.hypot(x - 2.75, y - 3.0) < 2.05
    )
    cell = build_mesh(section, MeshParams(interface_um=0.7, bulk_um=3.0))
    assert not cell.interface_high.vec.FV().NumPy().any()


def test_without_ngsolve_the_error_names_what_to_install() -> None:
    code = (
        "import sys; sys.modules['ngsolve'] = None\n"
        "from ncm_kedro.errors import SettingsError\n"
        "try:\n    import ncm_kedro.half_cell.sweep\n"
        "except SettingsError as error:\n    print(error.action)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install ngsolve" in done.stdout


@pytest.mark.parametrize(
    "wrong",
    [
        {"material": {"poisson": 0.5}},
        {"material": {"molar_volume_m3_mol": 1e-3}},
        {"load": {"voltage_min_v": 4.6}},
        {"interface": {"opening_at_strength_nm": 5.0}},
        {"mesh": {"interface": 0.5}},
        {"layout": {"circles": []}},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, dict[str, float]]) -> None:
    with pytest.raises(ValueError, match=next(iter(next(iter(wrong.values())))).split("_")[0]):
        make_params(**wrong)
