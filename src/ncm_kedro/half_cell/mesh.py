"""The mesh of a half cell, with its regions and boundaries named."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ngsolve as ng
import numpy as np
from netgen.meshing import NgException
from netgen.occ import Circle, Face, Glue, MoveTo, OCCGeometry, Pnt, WorkPlane

from ncm_kedro.errors import NcmError, SettingsError
from ncm_kedro.half_cell.geometry import Outline, Section
from ncm_kedro.params.half_cell.geometry import MeshParams

_EDGE_UM = 1e-6
_AREA_TOLERANCE = 0.05  # of a particle's mesh against its outline


class MeshError(NcmError):
    """A section that cannot be meshed."""


@dataclass(frozen=True)
class CellMesh:
    """A mesh with what the forms need to know about it.

    Materials are ``particle_<n>``, ``cb`` and ``separator``; boundaries ``interface_<n>``,
    ``collector``, ``lithium``, ``top`` (between CB and separator), ``side_cb``,
    ``side_separator`` and ``axis``.

    Attributes
    ----------
    mesh
        The mesh, curved.
    names
        The particles, in the order of their numbers.
    cb_high
        1 in highly conductive CB, 0 in the other, by element.
    interface_high
        That of the CB element at each edge of the interface.
    outward
        1 where the mesh's normal points out of the particle, -1 where it points in.
    identity
        Hash of the vertices, elements and their materials.
    """

    mesh: ng.Mesh
    names: tuple[str, ...]
    cb_high: ng.GridFunction
    interface_high: ng.GridFunction
    outward: ng.GridFunction
    identity: str


def build_mesh(section: Section, params: MeshParams) -> CellMesh:
    """Mesh a section.

    Raises
    ------
    MeshError
        If the mesher fails, or a particle's mesh has another area than its outline (outlines that
        cross); it names the particle.
    """
    shape = _assemble(section, params)
    try:
        raw = OCCGeometry(shape, dim=2).GenerateMesh(maxh=params.bulk_um)
    except (NgException, RuntimeError) as error:
        raise _mesh_error(section, params, error) from error
    mesh = ng.Mesh(raw)
    if all(outline.circle for outline in section.outlines):
        mesh.Curve(max(params.order, 2))
    _check_areas(mesh, section)
    high, interface_high, outward = _mark(mesh, section)
    points = np.array([vertex.point for vertex in mesh.vertices])
    corners = np.array([[v.nr for v in el.vertices] for el in mesh.Elements(ng.VOL)])
    regions = np.array([el.mat for el in mesh.Elements(ng.VOL)])
    parts = (points.tobytes(), corners.tobytes(), regions.tobytes())
    identity = hashlib.sha256(b"|".join(parts)).hexdigest()[:16]
    names = tuple(outline.name for outline in section.outlines)
    return CellMesh(mesh, names, high, interface_high, outward, identity)


def _assemble(section: Section, params: MeshParams) -> Any:
    """Glue particles, CB and separator, with names and edge lengths."""
    width, height = section.width_um, section.height_um
    cb = MoveTo(0, 0).Rectangle(width, height).Face()
    separator = MoveTo(0, height).Rectangle(width, section.separator_um).Face()
    separator.faces.name = "separator"
    particles = [_draw(outline) for outline in section.outlines]
    if section.half:
        particles = [face * cb for face in particles]
    for number, face in enumerate(particles, start=1):
        face.faces.name = f"particle_{number}"
        cb = cb - face
    parts = [cb]
    if section.split_x_um is not None:
        left = MoveTo(0, 0).Rectangle(section.split_x_um, height).Face()
        parts = [cb * left, cb - left]
    for part in parts:
        part.faces.name = "cb"
    shape = Glue([*parts, separator, *particles])
    _name_edges(shape, section, params)
    return shape


def _draw(outline: Outline) -> Any:
    if outline.circle is not None:
        circle = outline.circle
        return Circle(Pnt(circle.x_um, circle.y_um), circle.radius_um).Face()
    if outline.polygon_nx2 is None:
        raise SettingsError(
            outline.name, found="no outline", expected="a circle or a polygon", action="give one"
        )
    start, *others = outline.polygon_nx2.tolist()
    plane = WorkPlane().MoveTo(*start)
    for corner in others:
        plane = plane.LineTo(*corner)
    face: Face = plane.Close().Face()
    return face


def _name_edges(shape: Any, section: Section, params: MeshParams) -> None:
    for edge in shape.edges:
        edge.name = "inside"
    for face in shape.faces:
        if str(face.name).startswith("particle"):
            for edge in face.edges:
                edge.name = str(face.name).replace("particle", "interface")
                edge.maxh = params.interface_um
    width, height = section.width_um, section.height_um
    lines: dict[str, Callable[[Any], bool]] = {
        "collector": lambda c: abs(c.y) < _EDGE_UM,
        "lithium": lambda c: abs(c.y - height - section.separator_um) < _EDGE_UM,
        "top": lambda c: abs(c.y - height) < _EDGE_UM,
        "axis": lambda c: section.half and abs(c.x) < _EDGE_UM,
        "side_cb": lambda c: min(abs(c.x), abs(c.x - width)) < _EDGE_UM and c.y < height,
        "side_separator": lambda c: min(abs(c.x), abs(c.x - width)) < _EDGE_UM,
    }
    for edge in shape.edges:
        name = next((name for name, lies_on in lines.items() if lies_on(edge.center)), None)
        if name is not None:
            edge.name = name


def _mark(
    mesh: ng.Mesh, section: Section
) -> tuple[ng.GridFunction, ng.GridFunction, ng.GridFunction]:
    """Set the CB's kind by element and by edge, and the side that the mesh's normal points to."""
    high = ng.GridFunction(ng.L2(mesh, order=0))
    centres = np.array(
        [np.mean([mesh[v].point for v in el.vertices], axis=0) for el in mesh.Elements(ng.VOL)]
    )
    high.vec.FV().NumPy()[:] = section.is_high(centres[:, 0], centres[:, 1])
    faces = ng.SurfaceL2(mesh, order=0)
    edge_high, outward = ng.GridFunction(faces), ng.GridFunction(faces)
    for element in mesh.Boundaries("interface_.*").Elements():
        beside = mesh[element.edges[0]].elements
        inside, outside = sorted(beside, key=lambda el: mesh[el].mat == "cb")
        (x0, y0), (x1, y1) = (mesh[v].point for v in element.vertices)
        to_centre = centres[inside.nr] - np.array([x0, y0])
        dof = faces.GetDofNrs(element)[0]
        turn = (x1 - x0) * to_centre[1] - (y1 - y0) * to_centre[0]
        outward.vec[dof] = 1.0 if turn > 0 else -1.0  # normal = (dy, -dx): right of the edge
        edge_high.vec[dof] = high.vec[outside.nr]
    return high, edge_high, outward


def _check_areas(mesh: ng.Mesh, section: Section) -> None:
    for number, outline in enumerate(section.outlines, start=1):
        found = ng.Integrate(1.0, mesh, definedon=mesh.Materials(f"particle_{number}"))
        expected = outline.area_um2 / (2.0 if section.half else 1.0)
        if abs(found - expected) > _AREA_TOLERANCE * expected:
            raise MeshError(
                f"mesh of {outline.name}",
                found=f"{found:.3g} um2, where its outline has {expected:.3g} um2",
                expected="outlines that cross neither themselves nor each other",
                action="make min_gap_um larger or mesh.interface_um smaller, or move the particle",
            )


def _mesh_error(section: Section, params: MeshParams, error: Exception) -> MeshError:
    """Find the particle that cannot be meshed by meshing each alone."""
    name = "the section"
    for outline in section.outlines:
        face = _draw(outline)
        face.edges.maxh = params.interface_um
        try:
            OCCGeometry(face, dim=2).GenerateMesh(maxh=params.bulk_um)
        except (NgException, RuntimeError):
            name = outline.name
            break
    return MeshError(
        f"mesh of {name}",
        found=f"an outline that cannot be meshed ({error})",
        expected="closed outlines that neither cross nor touch",
        action="make mesh.interface_um smaller, or min_gap_um larger",
    )
