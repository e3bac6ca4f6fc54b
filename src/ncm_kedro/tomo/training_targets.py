"""What the network is to predict at each point: probability and distances to the outline.

Definitions of Schmidt et al., "Cell Detection with Star-convex Polygons" (MICCAI 2018): the
probability is the distance to the nearest pixel of another label, divided by its largest value in
the object; the distances run along rays of equal angles until the label changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import edt
import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_LEAP_MARGIN_PX = 1.42  # two roundings to a pixel centre, each at most half a diagonal


@dataclass(frozen=True)
class Targets:
    """What the network is to predict for one image.

    Attributes
    ----------
    prob_yx
        Object probability at the grid points, (H/g, W/g), 0 to 1.
    dist_yxk
        Distance to the outline in px of the input along each ray, (H/g, W/g, n_rays); 0 in the
        background. Ray k points along (sin, cos)(2 pi k / n_rays) in (y, x).
    """

    prob_yx: NDArray[np.float32]
    dist_yxk: NDArray[np.float32]


def compute_targets(labels_yx: NDArray[np.integer], n_rays: int, grid_px: int) -> Targets:
    """Compute the probability and the distances at every grid point.

    Parameters
    ----------
    labels_yx
        Object numbers (H, W), 0 for background.
    n_rays
        Rays.
    grid_px
        Spacing of the grid points, the first at pixel (0, 0).

    Returns
    -------
    Targets
        Arrays of (ceil(H/g), ceil(W/g)) points.
    """
    labels = np.ascontiguousarray(labels_yx, dtype=np.uint32)
    inner = edt.edt(labels, black_border=False, parallel=1)
    inner = np.minimum(inner, np.float32(sum(labels.shape)))  # infinite if one label fills all
    peak = np.asarray(ndimage.maximum(inner, labels, np.arange(int(labels.max()) + 1)))
    prob = np.where(labels > 0, inner / (peak[labels] + 1e-10), 0)[::grid_px, ::grid_px]
    angles = 2 * np.pi * np.arange(n_rays) / n_rays
    sines, cosines = np.sin(angles).astype(np.float32), np.cos(angles).astype(np.float32)
    padded = np.pad(labels, 1)
    leaps = np.floor(edt.edt(padded, parallel=1) - _LEAP_MARGIN_PX).clip(1).astype(np.float32)
    dist = _trace_rays(padded, leaps, sines, cosines, grid_px)
    return Targets(prob.astype(np.float32), dist)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _trace_rays(
    padded: NDArray[np.uint32],
    leaps: NDArray[np.float32],
    sines: NDArray[np.float32],
    cosines: NDArray[np.float32],
    grid: int,
) -> NDArray[np.float32]:
    """Follow each ray in whole steps of one pixel, leaping where the label surely stays."""
    height, width = padded.shape[0] - 2, padded.shape[1] - 2
    rows, columns = (height + grid - 1) // grid, (width + grid - 1) // grid
    dist = np.zeros((rows, columns, len(sines)), np.float32)
    for i in range(rows):
        for j in range(columns):
            label = padded[i * grid + 1, j * grid + 1]
            if label == 0:
                continue
            start = leaps[i * grid + 1, j * grid + 1]
            y, x = np.float32(i * grid + 1.5), np.float32(j * grid + 1.5)
            for k in range(len(sines)):
                dy, dx = sines[k], cosines[k]
                travelled = start
                while True:
                    at_y, at_x = np.uint32(y + travelled * dy), np.uint32(x + travelled * dx)
                    if padded[at_y, at_x] != label:
                        break
                    travelled += leaps[at_y, at_x]
                overshoot = np.float32(1.0) - np.float32(0.5) / max(abs(dy), abs(dx))
                dist[i, j, k] = travelled - overshoot
    return dist
