"""One pass over the blocks of a volume: what adds up over blocks, for every particle at once.

Voxels, moments, grey values, crossings of the surface along 13 directions, and crossings that face
another particle. All but the grey values are whole numbers, so that the sums do not depend on how
the volume is cut.

Surface areas follow by Crofton's formula. The surface of a body is four times its mean projected
area, and the projected area along a direction is half the number of times that parallel lines cross
the surface, times the area that belongs to a line. Voxels give lines along 13 directions; in cubes
each stands for the part of the sphere that is nearer to it than to the others (Ohser and Muecklich
2000, Statistical Analysis of Microstructures in Materials Science, section 5.2; Lehmann and Legland
2012, Insight Journal 852). In voxels of unequal edges the 26 neighbours crowd around the short
edges, and no weights make up for what they do not look along: steps go over several voxels of a
short edge, so that the directions lie about as in cubes, and the weights are those that see a
surface of each orientation as the ones of cubes do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.spatial import SphericalVoronoi

from ncm_kedro.particles.kernels.blocks import OUTSIDE, add_up, encode_labels
from ncm_kedro.particles.specimen import Specimen, read_box, read_labels
from ncm_kedro.tomo.volumes.blocks import Block
from ncm_kedro.tomo.volumes.volume import Spacing

CELL_VX = 4
"""Edge of the cells in which labelled voxels are counted for the packing density."""

COUNTS = ("voxels", "z", "y", "x", "zz", "yy", "xx", "zy", "zx", "yx", "solid", "border",
          "perimeter", "perimeter_contact")  # fmt: skip
GREYS = ("grey_solid", "grey2_solid", "grey_label", "grey2_label")

_NEIGHBOURS = np.array(
    [step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)], dtype=np.int64
)
LINES = len(_NEIGHBOURS)
"""Directions along which crossings are counted."""

_LONGEST_VX = 8
_ROUND_UP = 0.49  # edges as 3 to 2 stay at one voxel, whatever the rounding
_ORIENTATIONS = 400
_FLAT = 1e-6


def list_steps(voxel_size_um: Spacing) -> NDArray[np.int64]:
    """List the steps (z, y, x) in voxels along which crossings are counted, (13, 3).

    In cubes these are 13 of the 26 neighbours; the others are their opposites. An edge that is
    shorter than the longest is taken as often as comes nearest to that one, at most 8 times, and
    steps are then shortened to the next voxel centre on their way.
    """
    ratio = max(voxel_size_um) / np.asarray(voxel_size_um)
    times = np.clip(np.floor(ratio + _ROUND_UP), 1, _LONGEST_VX).astype(np.int64)
    steps = _NEIGHBOURS * times
    return np.asarray(steps // np.gcd.reduce(steps, axis=1)[:, None], dtype=np.int64)


@dataclass(frozen=True)
class CroftonWeights:
    """What a crossing counts for, for a voxel size.

    Attributes
    ----------
    area_um2
        Surface area per crossing along each of `list_steps`, (13,).
    steps_um
        Steps x, y, z, (13, 3).
    shares
        Share of the sphere that each stands for, (13,).
    """

    area_um2: NDArray[np.float64]
    steps_um: NDArray[np.float64]
    shares: NDArray[np.float64]

    @classmethod
    def of(cls, voxel_size_um: Spacing) -> CroftonWeights:
        """Work out the weights.

        Parameters
        ----------
        voxel_size_um
            Edges of a voxel along z, y, x; they may differ.
        """
        steps_um = list_steps(voxel_size_um) * np.asarray(voxel_size_um)
        length_um = np.sqrt((steps_um**2).sum(axis=1))
        shares = _fit_shares(tuple(np.divide(voxel_size_um, max(voxel_size_um)).tolist()))
        line_um2 = np.prod(voxel_size_um) / length_um
        return cls(2 * shares * line_um2, steps_um[:, ::-1], shares)

    def area(self, crossings: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return surface areas in um2.

        Parameters
        ----------
        crossings
            (..., 13), how often the surface is crossed along each of `list_steps`.
        """
        areas: NDArray[np.float64] = crossings @ self.area_um2
        return areas

    def missed_area(
        self, spread_um2: NDArray[np.float64], direction: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the area that lines miss which graze a convex body, (n,) in um2.

        A line whose chord c is shorter than the spacing l meets no voxel in 1 - c / l of all
        cases. Summed over the rim of an ellipsoid x' A x = 1 this is, of the area projected along
        the unit vector u, pi l^2 (u' A u)^(3/2) / (12 sqrt(det A)), where it has chords of length
        l; for balls of any size pi l^2 / 12. Bodies count as the ellipsoids of their spread;
        those without a thickness as balls.

        Parameters
        ----------
        spread_um2
            Eigenvalues of the covariance of a body's points, (n, 3).
        direction
            Its axes x, y, z as rows, (n, 3, 3).
        """
        length = np.linalg.norm(self.steps_um, axis=1)
        is_body = spread_um2.min(axis=1) > _FLAT * spread_um2.max(axis=1)
        inverse = 1 / (5 * np.where(is_body[:, None], spread_um2, 1.0))
        along = np.einsum("nkx,lx->nkl", direction, self.steps_um / length[:, None])
        curved = (along**2 * inverse[:, :, None]).sum(axis=1)
        chords = np.minimum(curved * length**2 / 4, 1.0)  # the longest is 2 / sqrt(curved)
        missed = np.pi * np.sqrt(curved / inverse.prod(axis=1)[:, None])
        missed *= np.where(chords < 1, chords / 3, 1 - 4 / (3 * length * np.sqrt(curved)))
        balls = np.pi / 12 * length**2
        areas: NDArray[np.float64] = 4 * np.where(is_body[:, None], missed, balls) @ self.shares
        return areas


@lru_cache(maxsize=64)
def _fit_shares(edges: Spacing) -> NDArray[np.float64]:
    """Return the share of the sphere that each direction stands for, (13,); they sum to 1.

    A surface whose normal is n counts for twice the sum of the shares times the cosines between n
    and the directions, and should count for 1. The shares of cubes are the parts of the sphere;
    others are fitted, by least squares over evenly spread normals, to count as these do.
    """
    ends = _NEIGHBOURS / np.linalg.norm(_NEIGHBOURS, axis=1)[:, None]
    parts = SphericalVoronoi(np.concatenate([ends, -ends])).calculate_areas() / (4 * np.pi)
    cubic = parts[:LINES] + parts[LINES:]
    steps = list_steps(edges) * np.asarray(edges)
    along = steps / np.linalg.norm(steps, axis=1)[:, None]
    normals = _spread_normals()
    heavy = 1e3 * np.sqrt(len(normals))
    seen = np.concatenate([np.abs(normals @ along.T), np.full((1, LINES), heavy)])
    wanted = np.append(np.abs(normals @ ends.T) @ cubic, heavy)
    shares: NDArray[np.float64] = np.asarray(nnls(seen, wanted)[0])
    shares /= shares.sum()
    return shares


def _spread_normals() -> NDArray[np.float64]:
    """Spread unit vectors evenly over an eighth of the sphere, mirror and permute them, (N, 3)."""
    place = np.arange(_ORIENTATIONS) + 0.5
    z = place / _ORIENTATIONS
    angle = np.pi / 2 * (place * (np.sqrt(5) - 1) / 2 % 1)
    flat = np.sqrt(1 - z**2)
    corner = np.stack([z, flat * np.sin(angle), flat * np.cos(angle)], axis=1)
    mirrors = [(1, *signs) for signs in product((-1, 1), repeat=2)]
    half = np.concatenate([corner * mirror for mirror in mirrors])
    return np.concatenate([half[:, order] for order in permutations(range(3))])


@dataclass(frozen=True)
class SumsTask:
    """Add up what a block holds of each particle.

    Attributes
    ----------
    specimen
        The volume.
    contact_gap_um
        Largest gap between particles in contact.
    """

    specimen: Specimen
    contact_gap_um: float

    def __call__(self, block: Block) -> dict[str, NDArray[np.generic]]:
        """Return ids and their sums, contacts, and cells.

        Returns
        -------
        dict
            ``label`` (n,), ``counts`` (n, 14) in the order of `COUNTS`, with coordinates in voxels
            of the volume; ``greys`` (n, 4); ``crossings`` and ``solid_crossings`` (n, 13);
            ``box`` (n, 6); ``pair`` (m, 2) and ``pair_crossings`` (m, 13); ``valid`` and
            ``filled``, uint8 cells.
        """
        near = _list_near(self.contact_gap_um, self.specimen.voxel_size_um)
        steps = list_steps(self.specimen.voxel_size_um)
        halo = int(np.abs(steps).max()) + (int(np.abs(near).max()) if len(near) else 0)
        ids, code = self._encode(block, halo)
        core = tuple(slice(halo, -halo) for _ in range(3))
        valid, filled = _count_cells(code[core])
        counts, greys, crossings, solid, box, records = add_up(
            code, self._read_grey(block), np.array(block.start, dtype=np.int64), halo, len(ids),
            steps, near,
        )  # fmt: skip
        pair, pair_crossings = _count_records(records, ids)
        used = counts[:, 0] > 0
        return {
            "label": ids[used], "counts": counts[used], "greys": greys[used],
            "crossings": crossings[used], "solid_crossings": solid[used], "box": box[used],
            "pair": pair, "pair_crossings": pair_crossings, "valid": valid, "filled": filled,
        }  # fmt: skip

    def _encode(self, block: Block, halo: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return ids, and the code of each voxel of the block and its margin (`encode_labels`)."""
        specimen = self.specimen
        outer = block.grow(halo, specimen.shape_zyx)
        labels = read_labels(specimen, outer)
        code = np.full([n + 2 * halo for n in block.shape], OUTSIDE, dtype=np.int32)
        corner = [a - b + halo for a, b in zip(outer.start, block.start, strict=True)]
        nothing = np.zeros((0, 0, 0), dtype=np.uint8)
        ids = encode_labels(
            labels,
            nothing if specimen.cracks is None else read_box(specimen.cracks, outer),
            nothing if specimen.view is None else read_box(specimen.view, outer),
            code[tuple(slice(a, a + n) for a, n in zip(corner, labels.shape, strict=True))],
        )
        return ids, code

    def _read_grey(self, block: Block) -> NDArray[np.generic]:
        if self.specimen.grey is None:
            return np.zeros((0, 0, 0), dtype=np.uint8)
        return read_box(self.specimen.grey, block)


def _list_near(gap_um: float, voxel_size_um: tuple[float, float, float]) -> NDArray[np.int64]:
    """List the steps (n, 3) that are no longer than a gap, the shortest first; not the zero step.

    A particle's surface lies half a voxel before the centre of the first voxel outside it, and
    another particle's half a voxel before the centre of its first voxel: the gap between the two
    is the distance between these centres.
    """
    reach = [range(-int(gap_um / edge + 1e-6), int(gap_um / edge + 1e-6) + 1)
             for edge in voxel_size_um]  # fmt: skip
    steps = np.array(list(product(*reach)), dtype=np.int64)
    length = np.sqrt(((steps * voxel_size_um) ** 2).sum(axis=1))
    order = np.argsort(length, kind="stable")
    keep = order[(length[order] > 0) & (length[order] <= gap_um * (1 + 1e-6))]
    near: NDArray[np.int64] = steps[keep]
    return near


def _count_cells(
    code_zyx: NDArray[np.int32],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Count valid and labelled voxels in cells; the last ones may be smaller."""
    starts = [np.arange(0, n, CELL_VX) for n in code_zyx.shape]
    cells = []
    for marked in (code_zyx != OUTSIDE, code_zyx > 0):
        total = marked.astype(np.uint8)
        for axis, start in enumerate(starts):
            total = np.add.reduceat(total, start, axis=axis, dtype=np.uint8)
        cells.append(total)
    return cells[0], cells[1]


def _count_records(
    records: NDArray[np.int64], ids: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count crossings by pair of particles and direction."""
    key, number = np.unique(records, return_counts=True)
    pair_key, place = np.unique(key // LINES, return_inverse=True)
    crossings = np.zeros((len(pair_key), LINES), dtype=np.int64)
    crossings[place, key % LINES] = number
    width = max(len(ids), 1)
    pair = np.stack([ids[pair_key // width], ids[pair_key % width]], axis=1)
    return pair.astype(np.int64).reshape(-1, 2), crossings
