"""Where in a particle its cracks are: voxels counted in shells from surface to core."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


def count_shells(
    depth_um_zyx: NDArray[np.float32],
    filled_zyx: NDArray[np.bool_],
    crack_zyx: NDArray[np.bool_],
    bins: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count a particle's voxels, and those of its cracks, in shells of equal normalised depth.

    Parameters
    ----------
    depth_um_zyx
        Distance of each voxel's centre to the nearest one outside ``filled_zyx``, (Z, Y, X), as
        a distance transform gives it. The surface stands half a voxel before that one, so that
        half the smallest distance is taken off. Where nothing is outside, it may be infinite:
        that is the core.
    filled_zyx
        The particle with its cracks and voids, (Z, Y, X).
    crack_zyx
        Cracks and voids, (Z, Y, X); those outside ``filled_zyx`` do not count.
    bins
        Shells; shell ``i`` holds normalised depths from ``i / bins`` to ``(i + 1) / bins``, 0 at
        the surface and 1 in the core.

    Returns
    -------
    voxels, crack_voxels
        Voxels of the particle and of its cracks in each shell, (bins,).
    """
    voxels = np.zeros(bins, dtype=np.int64)
    crack_voxels = np.zeros(bins, dtype=np.int64)
    if bins:
        _count(depth_um_zyx, filled_zyx, crack_zyx, voxels, crack_voxels)
    return voxels, crack_voxels


@njit(nogil=True)
def _count(
    depth: NDArray[Any],
    filled: NDArray[Any],
    crack: NDArray[Any],
    voxels: NDArray[Any],
    crack_voxels: NDArray[Any],
) -> None:
    deepest, surface = 0.0, np.inf
    for z, y, x in np.ndindex(filled.shape):
        if filled[z, y, x] and 0 < depth[z, y, x] < np.inf:
            deepest = max(deepest, float(depth[z, y, x]))
            surface = min(surface, 0.5 * float(depth[z, y, x]))
    last = len(voxels) - 1
    for z, y, x in np.ndindex(filled.shape):
        if filled[z, y, x]:
            shell = last
            if depth[z, y, x] < deepest:
                share = (float(depth[z, y, x]) - surface) / (deepest - surface)
                shell = min(int(max(share, 0.0) * len(voxels)), last)
            voxels[shell] += 1
            crack_voxels[shell] += crack[z, y, x] != 0
