"""Surface areas by Crofton's formula with 13 directions.

The surface of a body is four times its mean projected area, and the projected area along a
direction is half the number of times that parallel lines cross the surface, times the area that
belongs to a line. Voxels give lines along 13 directions; each stands for the part of the sphere
that is nearer to it than to the others (Ohser and Muecklich 2000, Statistical Analysis of
Microstructures in Materials Science, section 5.2; Lehmann and Legland 2012, Insight Journal 852).

Crossings are whole numbers per direction and add up over blocks, so that areas do not depend on
how a volume is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import SphericalVoronoi

from ncm_kedro.tomo.volumes.volume import Spacing

DIRECTIONS = np.array(
    [step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)], dtype=np.int64
)
"""Steps (z, y, x) to 13 of the 26 neighbours, (13, 3); the others are their opposites."""


@dataclass(frozen=True)
class CroftonWeights:
    """What a crossing counts for, for a voxel size.

    Attributes
    ----------
    area_um2
        Surface area per crossing along each of `DIRECTIONS`, (13,).
    grazing_um2
        What lines that graze a smooth convex body without meeting a voxel of it miss, whatever
        its size: a line closer to the rim than its chord is long may pass between voxels. For a
        ball and spacing l this is pi l^2 / 12 of the projected area.
    """

    area_um2: NDArray[np.float64]
    grazing_um2: float

    @classmethod
    def of(cls, voxel_size_um: Spacing) -> CroftonWeights:
        """Work out the weights.

        Parameters
        ----------
        voxel_size_um
            Edges of a voxel along z, y, x; they may differ.
        """
        steps_um = DIRECTIONS * np.asarray(voxel_size_um)
        length_um = np.sqrt((steps_um**2).sum(axis=1))
        unit = steps_um / length_um[:, None]
        share = SphericalVoronoi(np.concatenate([unit, -unit])).calculate_areas() / (4 * np.pi)
        weight = share[:13] + share[13:]
        line_um2 = np.prod(voxel_size_um) / length_um
        return cls(
            area_um2=2 * weight * line_um2,
            grazing_um2=float(np.pi / 3 * (weight * length_um**2).sum()),
        )

    def area(self, crossings: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return surface areas in um2.

        Parameters
        ----------
        crossings
            (..., 13), how often the surface is crossed along each of `DIRECTIONS`.
        """
        areas: NDArray[np.float64] = crossings @ self.area_um2
        return areas
