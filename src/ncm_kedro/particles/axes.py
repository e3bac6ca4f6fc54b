"""Principal axes of a particle: lengths, direction, and how well it is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.tomo.volume import Spacing

FloatArray = NDArray[np.float64]

_GIMBAL = 1e-9
_FLAT = 1e-9  # a particle of one layer has no thickness that could be measured


@dataclass(frozen=True)
class PrincipalAxes:
    """Principal axes of n particles.

    Attributes
    ----------
    centre_um
        Centroids z, y, x, (n, 3), from the volume's first corner.
    spread_um2
        Eigenvalues of the covariance of the particle's points, largest first, (n, 3).
    direction
        Unit vectors, (n, 3, 3): ``direction[i, k]`` is axis k (0 the longest) as x, y, z;
        right-handed.
    """

    centre_um: FloatArray
    spread_um2: FloatArray
    direction: FloatArray

    @property
    def elongation(self) -> FloatArray:
        """Longest over shortest axis, (n,)."""
        longest, shortest = self.spread_um2[:, 0], self.spread_um2[:, 2]
        ratio = np.full(len(shortest), np.nan)
        np.divide(longest, shortest, out=ratio, where=shortest > _FLAT * longest)
        return np.asarray(np.sqrt(ratio))

    def distinct(self, first: int, second: int, min_ratio: float) -> NDArray[np.bool_]:
        """Tell whether two axes differ in length by at least a factor."""
        one, two = self.spread_um2[:, first], self.spread_um2[:, second]
        has_length = one > _FLAT * np.maximum(self.spread_um2[:, 0], np.finfo(np.float64).tiny)
        return np.asarray(has_length & (one >= min_ratio**2 * two))


def find_axes(sums: NDArray[np.int64], voxel_size_um: Spacing) -> PrincipalAxes:
    """Find principal axes from sums over voxels.

    Parameters
    ----------
    sums
        (n, 10): number of voxels, sums of z, y, x, zz, yy, xx, zy, zx, yx in voxels.
    voxel_size_um
        Edges of a voxel along z, y, x. Voxels count as points: over random places of a solid the
        sums over the voxels whose centres it holds are its integrals, and the spread of a voxel
        over its own box (h^2 / 12) would come on top.
    """
    edges = np.asarray(voxel_size_um, dtype=np.float64)
    number = np.maximum(sums[:, :1], 1)
    mean = sums[:, 1:4] / number
    # n * sum(ab) - sum(a) * sum(b) may pass 2**63: take whole voxels off first
    near = np.rint(mean).astype(np.int64)
    rest = sums[:, 1:4] - near * number
    covariance = np.empty((len(sums), 3, 3))
    for column, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)), start=4):
        shifted = (
            sums[:, column]
            - near[:, a] * sums[:, 1 + b]
            - near[:, b] * sums[:, 1 + a]
            + near[:, a] * near[:, b] * number[:, 0]
        )
        value = shifted / number[:, 0] - (rest[:, a] / number[:, 0]) * (rest[:, b] / number[:, 0])
        covariance[:, a, b] = covariance[:, b, a] = value * edges[a] * edges[b]
    values, vectors = np.linalg.eigh(covariance)
    direction = np.swapaxes(vectors, 1, 2)[:, ::-1, ::-1]  # longest first; x, y, z
    return PrincipalAxes(
        centre_um=(mean + 0.5) * edges,
        spread_um2=values[:, ::-1],
        direction=_turn_axes(direction),
    )


def find_angles(direction: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return yaw, pitch and roll of axes.

    The rotation that takes x, y, z to the longest, middle and shortest axis, as counterclockwise
    turns about z, then the turned y, then the turned x (Table S1, ID 4 to 6). An axis has no sign:
    the longest one is taken with its x component positive, and a turn of the other two by half a
    circle changes nothing.

    Parameters
    ----------
    direction
        (n, 3, 3), as of `PrincipalAxes`.

    Returns
    -------
    yaw, pitch, roll
        Degrees, (n,): (-90, 90], [-90, 90] and (-90, 90]. Where the longest axis runs along z yaw
        and roll cannot be told apart: roll is 0 there.
    """
    long, middle, short = direction[:, 0], direction[:, 1], direction[:, 2]
    level = np.sqrt(long[:, 0] ** 2 + long[:, 1] ** 2)
    upright = level < _GIMBAL
    yaw = np.degrees(np.arctan2(long[:, 1], long[:, 0]))
    pitch = np.degrees(np.arctan2(-long[:, 2], level))
    roll = np.degrees(np.arctan2(middle[:, 2], short[:, 2]))
    yaw = np.where(upright, np.degrees(np.arctan2(-middle[:, 0], middle[:, 1])), yaw)
    roll = np.where(upright, 0.0, roll)
    return _halve(yaw), pitch, _halve(roll)


def _turn_axes(direction: FloatArray) -> FloatArray:
    """Choose signs: the longest axis towards positive x (then y, then z), right-handed."""
    turned = direction.copy()
    long = turned[:, 0]
    sign = np.zeros(len(turned))
    for component in range(3):
        clear = (sign == 0) & (np.abs(long[:, component]) > _GIMBAL)
        sign = np.where(clear, np.sign(long[:, component]), sign)
    turned[:, 0] *= np.where(sign == 0, 1, sign)[:, None]
    turned[:, 2] = np.cross(turned[:, 0], turned[:, 1])
    return turned


def _halve(angle_deg: FloatArray) -> FloatArray:
    """Bring the angle of an axis without sign into (-90, 90]."""
    halved: FloatArray = 90 - np.mod(90 - angle_deg, 180)
    return halved
