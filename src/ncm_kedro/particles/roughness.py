"""Roughness of a surface from local heights, voxel steps taken off.

The height of a surface voxel over the plane that a ball around it sees (integral invariants:
Pottmann et al. 2009, Comput. Aided Geom. Des. 26, 37) scatters even on a smooth surface, because
voxel centres lie at any depth below it. On a plane with normal n the voxels with an outer face
lie 0 to max(|n_i| h_i) deep, evenly; over all normals that scatter is a number of the voxel size,
which is taken off the variance.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.tomo.volume import Spacing

FloatArray = NDArray[np.float64]

_NORMALS = 4000
_GOLDEN = np.pi * (3 - np.sqrt(5))
_FEW = 20


def measure_roughness(raw: pd.DataFrame, voxel_size_um: Spacing) -> tuple[FloatArray, FloatArray]:
    """Return the standard deviation of the local height of outer and inner surfaces.

    Parameters
    ----------
    raw
        ``outer_n, outer_sum, outer_sum2, inner_n, inner_sum, inner_sum2``, heights in um.
    voxel_size_um
        Edges of a voxel along z, y, x.

    Returns
    -------
    outer, inner
        (n,), um; not a number where there are fewer than twenty surface voxels.
    """
    floor = find_voxel_scatter(voxel_size_um)
    found = []
    for name in ("outer", "inner"):
        number = raw[f"{name}_n"].to_numpy()
        number = np.where(number >= _FEW, number, np.nan)
        mean = raw[f"{name}_sum"].to_numpy() / number
        variance = raw[f"{name}_sum2"].to_numpy() / number - mean**2
        found.append(np.sqrt(np.maximum(variance - floor, 0.0)))
    return found[0], found[1]


def find_voxel_scatter(voxel_size_um: Spacing) -> float:
    """Return the variance of the depth of surface voxels below a smooth surface, um2.

    Parameters
    ----------
    voxel_size_um
        Edges of a voxel along z, y, x.
    """
    step = np.arange(_NORMALS)
    height = 1 - 2 * (step + 0.5) / _NORMALS
    flat = np.sqrt(1 - height**2)
    normal = np.stack([height, flat * np.sin(_GOLDEN * step), flat * np.cos(_GOLDEN * step)], 1)
    deepest = (np.abs(normal) * np.asarray(voxel_size_um)).max(axis=1)
    share = deepest / deepest.sum()  # voxels per area
    mean = float(share @ (deepest / 2))
    return float(share @ (deepest**2 / 3)) - mean**2
