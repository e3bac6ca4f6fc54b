"""From outlines of particles to the mesh of a half cell, with its regions and boundaries named.

x runs along the collector, y from the collector to the lithium; lengths are in um.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # UMFPACK's small blocks: threads slow it down

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import SettingsError
from ncm_kedro.params.half_cell.geometry import CircleParams, LayoutParams, MeshParams

try:
    import ngsolve as ng
    from netgen.meshing import NgException
    from netgen.occ import Circle, Face, Glue, MoveTo, OCCGeometry, Pnt, WorkPlane
except ImportError as error:
    raise SettingsError(
        "half_cell",
        found=f"no NGSolve ({error})",
        expected="the package ngsolve, which solves the equations",
        action="install it: pip install ngsolve",
    ) from error

FloatArray = NDArray[np.float64]

_EDGE_UM = 1e-6
_TRIES = 20_000


@dataclass(frozen=True)
class Outline:
    """The section of a particle: a circle, or a polygon.

    Attributes
    ----------
    name
        What errors and tables call it.
    circle
        The circle, None for a polygon.
    polygon_nx2
        Corners x, y in um, counter-clockwise; empty for a circle.
    """

    name: str
    circle: CircleParams | None = None
    polygon_nx2: FloatArray | None = None


@dataclass(frozen=True)
class Section:
    """What is meshed.

    Attributes
    ----------
    outlines
        The particles.
    width_um, height_um, separator_um
        Width, thickness of the CB layer and of the separator.
    is_high
        Whether the CB at points x, y (N,) has the high conductivity.
    split_x_um
        A line that edges follow, None where the CB is not split by a line.
    half
        Whether the cell is the half x > 0 of one that is symmetric about the axis x = 0.
    """

    outlines: tuple[Outline, ...]
    width_um: float
    height_um: float
    separator_um: float
    is_high: Callable[[FloatArray, FloatArray], NDArray[np.bool_]]
    split_x_um: float | None = None
    half: bool = False


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
        The same on the edges of the interface.
    outward
        1 where the mesh's normal points out of the particle, -1 where it points in.
    identity
        Hash of the vertices and elements.
    """

    mesh: ng.Mesh
    names: tuple[str, ...]
    cb_high: ng.GridFunction
    interface_high: ng.GridFunction
    outward: ng.GridFunction
    identity: str


def lay_out_section(layout: LayoutParams, *, half: bool = False) -> Section:
    """Make the section of circles, given or random.

    Raises
    ------
    SettingsError
        If circles overlap, lie outside the CB, or do not fit.
    """
    circles = _place_circles(layout) if layout.random_particles else layout.circles
    outlines = tuple(Outline(f"particle {n + 1}", circle) for n, circle in enumerate(circles))
    _check_circles(layout, circles, half=half)
    return Section(
        outlines=outlines,
        width_um=layout.width_um,
        height_um=layout.height_um,
        separator_um=layout.separator_um,
        is_high=lambda x, _: x < layout.split_x_um,
        split_x_um=layout.split_x_um if 0.0 < layout.split_x_um < layout.width_um else None,
        half=half,
    )


def build_mesh(section: Section, params: MeshParams) -> CellMesh:
    """Mesh a section.

    Raises
    ------
    SettingsError
        If the mesher fails, naming the particle whose outline it cannot mesh.
    """
    shape = _assemble(section, params)
    try:
        raw = OCCGeometry(shape, dim=2).GenerateMesh(maxh=params.bulk_um)
    except (NgException, RuntimeError) as error:
        raise _mesh_error(section, params, error) from error
    mesh = ng.Mesh(raw)
    found = set(mesh.GetMaterials())
    lost = [o.name for n, o in enumerate(section.outlines) if f"particle_{n + 1}" not in found]
    if lost:
        raise SettingsError(
            f"mesh of {lost[0]}",
            found="no element inside its outline",
            expected="a particle inside the CB whose outline does not cross itself",
            action="move the particle, or make mesh.interface_um smaller",
        )
    if all(outline.circle for outline in section.outlines):
        mesh.Curve(max(params.order, 2))
    high, interface_high, outward = _mark(mesh, section)
    points = np.array([vertex.point for vertex in mesh.vertices])
    corners = np.array([[v.nr for v in el.vertices] for el in mesh.Elements(ng.VOL)])
    identity = hashlib.sha256(points.tobytes() + corners.tobytes()).hexdigest()[:16]
    names = tuple(outline.name for outline in section.outlines)
    return CellMesh(mesh, names, high, interface_high, outward, identity)


def _place_circles(layout: LayoutParams) -> tuple[CircleParams, ...]:
    """Put circles of the first one's radius at random places, one after the other."""
    rng = np.random.default_rng(layout.seed)
    radius = layout.circles[0].radius_um
    edge = radius + layout.min_gap_um
    placed: list[CircleParams] = []
    for _ in range(_TRIES):
        x = rng.uniform(edge, max(edge, layout.width_um - edge))
        y = rng.uniform(edge, max(edge, layout.height_um - edge))
        if all(
            math.hypot(x - p.x_um, y - p.y_um) >= 2 * radius + layout.min_gap_um for p in placed
        ):
            placed.append(CircleParams(x_um=x, y_um=y, radius_um=radius))
        if len(placed) == layout.random_particles:
            return tuple(placed)
    raise SettingsError(
        "layout.random_particles",
        found=f"room for {len(placed)} of {layout.random_particles} circles after {_TRIES} tries",
        expected="circles that fit beside each other",
        action="make layout.width_um or layout.height_um larger, or the radius of the first of "
        "layout.circles smaller",
    )


def _check_circles(layout: LayoutParams, circles: tuple[CircleParams, ...], *, half: bool) -> None:
    for number, one in enumerate(circles, start=1):
        left = math.inf if half else one.x_um
        gap = min(left, layout.width_um - one.x_um, one.y_um, layout.height_um - one.y_um)
        if gap - one.radius_um < layout.min_gap_um - _EDGE_UM:
            raise SettingsError(
                f"layout.circles, particle {number}",
                found=f"a circle that ends {gap - one.radius_um:.3g} um inside the CB",
                expected=f"at least min_gap_um = {layout.min_gap_um:g} um of CB around it, in "
                f"0 < x < {layout.width_um:g} and 0 < y < {layout.height_um:g} um",
                action="move it, make radius_um smaller, or width_um or height_um larger",
            )
    for (i, a), (j, b) in itertools.combinations(enumerate(circles, start=1), 2):
        gap = math.hypot(a.x_um - b.x_um, a.y_um - b.y_um) - a.radius_um - b.radius_um
        if gap < layout.min_gap_um - _EDGE_UM:
            raise SettingsError(
                f"layout.circles, particle {i} and particle {j}",
                found=f"a gap of {gap:.3g} um between them (negative: they overlap)",
                expected=f"at least min_gap_um = {layout.min_gap_um:g} um of CB",
                action="move one of them, or make its radius_um smaller",
            )


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
        inside = next(
            other for other in mesh[element.facets[0]].elements if "particle" in mesh[other].mat
        )
        (x0, y0), (x1, y1) = (mesh[v].point for v in element.vertices)
        to_centre = centres[inside.nr] - np.array([x0, y0])
        dof = faces.GetDofNrs(element)[0]
        turn = (x1 - x0) * to_centre[1] - (y1 - y0) * to_centre[0]
        outward.vec[dof] = 1.0 if turn > 0 else -1.0  # normal = (dy, -dx): right of the edge
        middle = np.array([[(x0 + x1) / 2], [(y0 + y1) / 2]])
        edge_high.vec[dof] = float(section.is_high(*middle)[0])
    return high, edge_high, outward


def _mesh_error(section: Section, params: MeshParams, error: Exception) -> SettingsError:
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
    return SettingsError(
        f"mesh of {name}",
        found=f"an outline that cannot be meshed ({error})",
        expected="closed outlines that neither cross nor touch",
        action="make mesh.interface_um smaller, or min_gap_um larger",
    )
