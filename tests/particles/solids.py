"""Digitised solids whose measures are known in closed form.

A solid is the set where a level function is positive. The function takes points (..., 3) in um
along x, y, z of the body, whose long axis is x, and is about the distance to the surface near it.
A voxel belongs to the solid if its centre does.
"""

from dataclasses import dataclass, field
from itertools import product

import numpy as np
from scipy.integrate import quad
from scipy.spatial.transform import Rotation
from scipy.special import elliprg

CUBE = (0.1, 0.1, 0.1)
# Somewhere in a voxel: at its centre or corner many voxels are equally far from the surface.
AMID = (0.21, -0.13, 0.37)


@dataclass(frozen=True)
class Exact:
    """Measures of a solid in um.

    ``walls_um2`` is the whole surface of voids and cracks; ``opening_um2`` the part of the outer
    surface through which cracks leave the solid. ``axes`` holds the long, middle and short axis in
    its rows, along x, y, z of the volume.
    """

    volume: float
    outer: float
    walls: float = 0.0
    opening: float = 0.0
    void: float = 0.0
    elongation: float = 1.0
    axes: np.ndarray = field(default_factory=lambda: np.eye(3))

    @property
    def damage(self):
        return self.void / self.volume

    @property
    def inner(self):
        """Surface of the damaged solid less that of the filled one."""
        return self.walls - self.opening

    @property
    def sphericity(self):
        return 36 * np.pi * self.volume**2 / self.outer**3

    @property
    def vs_ratio(self):
        return self.volume ** (1 / 3) / self.outer**0.5


@dataclass(frozen=True)
class Shape:
    """A solid before it is turned and digitised: level functions, half extents (um), measures."""

    level: object
    half_um: tuple
    exact: Exact
    crack: object = None


@dataclass(frozen=True)
class Solid:
    """A digitised solid: labels (Z, Y, X), the marked cracks or None, edges of a voxel (um)."""

    labels: np.ndarray
    cracks: np.ndarray | None
    voxel_size_um: tuple
    exact: Exact
    centre_um: tuple = (0.0, 0.0, 0.0)


def digitise(shape, *, turn=None, offset_vx=AMID, voxel_um=CUBE, margin_vx=3, marked=True):
    """Sample a shape at voxel centres.

    ``turn`` takes body axes to those of the volume (x, y, z); ``offset_vx`` moves the centre from
    the middle of the volume (z, y, x). Cracks stay in the labels and are marked, or, with
    ``marked=False``, are background.
    """
    turn = turn or Rotation.identity()
    matrix, voxel = turn.as_matrix(), np.asarray(voxel_um)
    half = (np.abs(matrix) @ np.asarray(shape.half_um))[::-1]
    size = 2 * (np.ceil(half / voxel).astype(int) + margin_vx) + 1
    centre = (size / 2 + np.asarray(offset_vx)) * voxel
    points = body_points(size, voxel, centre, matrix)
    inside = shape.level(points) > 0
    crack = None if shape.crack is None else inside & (shape.crack(points) > 0)
    labels = (inside if crack is None or marked else inside & ~crack).astype(np.uint32)
    exact = Exact(**{**shape.exact.__dict__, "axes": shape.exact.axes @ matrix.T})
    cracks = crack.astype(np.uint8) if crack is not None and marked else None
    return Solid(labels, cracks, tuple(voxel_um), exact, tuple(centre))


def body_points(size, voxel, centre, matrix):
    """Voxel centres (Z, Y, X, 3) in um along the body's x, y, z."""
    axes = [(np.arange(n) + 0.5) * h - c for n, h, c in zip(size, voxel, centre, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    rows = [matrix[0, i] * x + matrix[1, i] * y + matrix[2, i] * z for i in range(3)]
    return np.stack(rows, axis=-1)


def ball(radius):
    exact = Exact(4 / 3 * np.pi * radius**3, 4 * np.pi * radius**2)
    return Shape(lambda p: radius - np.linalg.norm(p, axis=-1), (radius,) * 3, exact)


def ellipsoid(a, b, c):
    """Half axes along x, y, z, longest first; the surface is Carlson's integral R_G."""
    half = np.array([a, b, c])
    outer = 4 * np.pi * elliprg((a * b) ** 2, (a * c) ** 2, (b * c) ** 2)
    exact = Exact(4 / 3 * np.pi * a * b * c, float(outer), elongation=a / c)
    return Shape(lambda p: c * (1 - np.linalg.norm(p / half, axis=-1)), (a, b, c), exact)


def box(a, b, c):
    """Edges along x, y, z, longest first."""
    half = np.array([a, b, c]) / 2
    exact = Exact(a * b * c, 2 * (a * b + b * c + c * a), elongation=a / c)
    return Shape(lambda p: (half - np.abs(p)).min(axis=-1), tuple(half), exact)


def capsule(length, radius):
    """Cylinder along x of this length with half a ball at either end."""
    top = length / 2 + radius

    def section(x):
        return radius**2 - max(abs(x) - length / 2, 0) ** 2

    volume = np.pi * radius**2 * (length + 4 / 3 * radius)
    knots = [-length / 2, length / 2]
    along = quad(lambda x: x**2 * np.pi * section(x), -top, top, points=knots)[0]
    across = quad(lambda x: np.pi / 4 * section(x) ** 2, -top, top, points=knots)[0]
    exact = Exact(
        volume,
        2 * np.pi * radius * length + 4 * np.pi * radius**2,
        elongation=np.sqrt(along / across),
    )

    def level(p):
        beyond = np.maximum(np.abs(p[..., 0]) - length / 2, 0)
        return radius - np.sqrt(beyond**2 + p[..., 1] ** 2 + p[..., 2] ** 2)

    return Shape(level, (top, radius, radius), exact)


def hollow_ball(radius, void_radius, shift=0.0):
    """Ball with a round void whose centre lies ``shift`` off along x."""
    whole = ball(radius)
    exact = Exact(
        whole.exact.volume,
        whole.exact.outer,
        walls=4 * np.pi * void_radius**2,
        void=4 / 3 * np.pi * void_radius**3,
    )
    centre = np.array([shift, 0.0, 0.0])
    crack = lambda p: void_radius - np.linalg.norm(p - centre, axis=-1)  # noqa: E731
    return Shape(whole.level, whole.half_um, exact, crack)


def ball_with_slot(radius, width, floor=0.0):
    """Ball with a slot |x| < width / 2, open to the outside, that reaches down to z = floor."""
    whole, half = ball(radius), width / 2

    def segment(x):
        """Area of the disc at x that lies above the floor."""
        rho = np.sqrt(radius**2 - x**2)
        return rho**2 * np.arccos(floor / rho) - floor * np.sqrt(rho**2 - floor**2)

    void = quad(segment, -half, half)[0]
    bottom = quad(lambda x: 2 * np.sqrt(radius**2 - x**2 - floor**2), -half, half)[0]
    # dS = radius * angle * dx on a ball, whatever x
    opening = quad(
        lambda x: 2 * radius * np.arccos(floor / np.sqrt(radius**2 - x**2)), -half, half
    )[0]
    exact = Exact(
        whole.exact.volume,
        whole.exact.outer,
        walls=2 * segment(half) + bottom,
        opening=opening,
        void=void,
    )
    crack = lambda p: np.minimum(half - np.abs(p[..., 0]), p[..., 2] - floor)  # noqa: E731
    return Shape(whole.level, whole.half_um, exact, crack)


def ball_with_disc(radius, width, disc_radius):
    """Ball with an internal crack: a flat round void across x."""
    whole, half = ball(radius), width / 2
    exact = Exact(
        whole.exact.volume,
        whole.exact.outer,
        walls=2 * np.pi * disc_radius**2 + 2 * np.pi * disc_radius * width,
        void=np.pi * disc_radius**2 * width,
    )

    def crack(p):
        away = np.hypot(p[..., 1], p[..., 2])
        return np.minimum(half - np.abs(p[..., 0]), disc_radius - away)

    return Shape(whole.level, whole.half_um, exact, crack)


def wavy_ball(radius, amplitude, waves):
    """Ball whose radius swings by ``amplitude`` (standard deviation, um), in ``waves`` per turn."""
    bumps = _Bumps(waves)
    nodes, weights = _sphere_nodes()
    height, slope = bumps(nodes), bumps.slope(nodes)
    r = radius + amplitude * height
    volume = np.sum(weights * r**3) / 3
    outer = np.sum(weights * r * np.sqrt(r**2 + (amplitude * slope) ** 2))
    top = radius + amplitude * np.abs(height).max()

    def level(p):
        away = np.maximum(np.linalg.norm(p, axis=-1), 1e-9)
        return radius + amplitude * bumps(p / away[..., None]) - away

    return Shape(level, (top,) * 3, Exact(float(volume), float(outer)))


class _Bumps:
    """Sum of a cosine along each axis on the unit sphere, of mean 0 and standard deviation 1."""

    def __init__(self, waves):
        self.waves = waves
        nodes, weights = _sphere_nodes()
        raw = np.cos(waves * nodes).sum(axis=-1)
        self.mean = np.average(raw, weights=weights)
        self.scale = np.sqrt(np.average((raw - self.mean) ** 2, weights=weights))

    def __call__(self, n):
        return (np.cos(self.waves * n).sum(axis=-1) - self.mean) / self.scale

    def slope(self, n):
        """Length of the gradient along the unit sphere."""
        full = -self.waves * np.sin(self.waves * n) / self.scale
        along = (full * n).sum(axis=-1)
        return np.sqrt(np.maximum((full**2).sum(axis=-1) - along**2, 0))


def _sphere_nodes(polar=200, around=400):
    """Gauss-Legendre nodes on the unit sphere (N, 3) and their weights, which sum to 4 pi."""
    cosine, weight = np.polynomial.legendre.leggauss(polar)
    angle = (np.arange(around) + 0.5) * 2 * np.pi / around
    sine = np.sqrt(1 - cosine**2)[:, None]
    nodes = np.stack(
        [
            sine * np.cos(angle),
            sine * np.sin(angle),
            np.broadcast_to(cosine[:, None], (polar, around)),
        ],
        axis=-1,
    )
    weights = np.repeat(weight, around) * 2 * np.pi / around
    return nodes.reshape(-1, 3), weights


def random_rotations(count, seed=0):
    """The identity, a turn by 45 degrees about z, then random ones."""
    fixed = [Rotation.identity(), Rotation.from_euler("z", 45, degrees=True)]
    return (fixed + list(Rotation.random(count, rng=np.random.default_rng(seed))))[:count]


def random_offset(rng):
    """Place of a centre within a voxel (z, y, x)."""
    return tuple(rng.uniform(-0.5, 0.5, 3))


# Scenes of several particles.


def draw_shapes(size, shapes, centres_vx, turns=None, voxel_um=CUBE):
    """Labels (Z, Y, X) of shapes numbered from 1; earlier ones keep their voxels.

    Centres run along z, y, x; one of 0.5 is the middle of the first voxel.
    """
    labels, voxel = np.zeros(size, np.uint32), np.asarray(voxel_um)
    turns = turns or [Rotation.identity()] * len(shapes)
    for number, (shape, centre, turn) in enumerate(
        zip(shapes, centres_vx, turns, strict=True), start=1
    ):
        matrix = turn.as_matrix()
        half = (np.abs(matrix) @ np.asarray(shape.half_um))[::-1] / voxel
        low = np.maximum(np.floor(np.asarray(centre) - half).astype(int) - 1, 0)
        high = np.minimum(np.ceil(np.asarray(centre) + half).astype(int) + 1, size)
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        points = body_points(high - low, voxel, (centre - low) * voxel, matrix)
        free = labels[window] == 0
        labels[window][free & (shape.level(points) > 0)] = number
    return labels


def lattice_centres(counts, pitch_vx, first_vx):
    """Centres (N, 3) of a cubic lattice in voxels, z slowest."""
    return np.array(list(product(*map(range, counts))), float) * pitch_vx + first_vx


def cut_box(edges_um, turn, voxel_um=CUBE, margin_vx=3):
    """Label a box 1 and 2 on either side of its middle plane x = 0, the face between them."""
    whole = digitise(box(*edges_um), turn=turn, voxel_um=voxel_um, margin_vx=margin_vx)
    voxel = np.asarray(voxel_um)
    centre = np.asarray(whole.centre_um)
    points = body_points(whole.labels.shape, voxel, centre, turn.as_matrix())
    return np.where(whole.labels > 0, 1 + (points[..., 0] > 0), 0).astype(np.uint32)


def draw_scene(size=(72, 80, 88), count=24, seed=0, voxel_um=CUBE):
    """Random ellipsoids that touch each other and the border, some with a marked void or crack.

    Returns labels (uint32), cracks (uint8) and grey values (float32).
    """
    rng = np.random.default_rng(seed)
    extent = np.asarray(size)
    radii = np.sort(rng.uniform(0.5, 1.4, (count, 3)))[:, ::-1]
    centres = rng.uniform(0, 1, (count, 3)) * extent
    turns = list(Rotation.random(count, rng=rng))
    labels = draw_shapes(size, [ellipsoid(*r) for r in radii], centres, turns, voxel_um)
    cracks = np.zeros(size, np.uint8)
    grid = np.stack(np.indices(size), axis=-1) + 0.5
    for number in range(1, count + 1, 2):
        away = (grid - centres[number - 1]) * voxel_um
        normal = turns[number - 1].as_matrix()[0]
        cracks[(labels == number) & (np.abs(away @ normal) < 0.15)] = 1
    grey = np.where(labels > 0, 150.0, 60.0) - 70.0 * cracks + rng.normal(0, 8, size)
    return labels, cracks, grey.astype(np.float32)
