"""What the segmentation is measured against: two common ways, on volumes that fit in memory."""

from __future__ import annotations

from collections.abc import Callable

import edt
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from ncm_kedro.tomo.refine import fill_voids
from ncm_kedro.tomo.score import count_overlaps, match_labels
from ncm_kedro.tomo.volume import Spacing

SegmentSection = Callable[[NDArray[np.float32]], NDArray[np.integer]]
"""Labels the particles of one section (Y, X); 0 is background."""


def label_otsu_watershed(
    grey_zyx: NDArray[np.generic],
    *,
    voxel_size_um: Spacing,
    smoothing_vx: float = 1.0,
    min_distance_um: float = 1.5,
    min_volume_um3: float = 1.0,
) -> NDArray[np.uint32]:
    """Label by Otsu's threshold and a watershed on the distance to the background.

    Parameters
    ----------
    grey_zyx
        Grey values (Z, Y, X).
    voxel_size_um
        Edges of a voxel along z, y, x.
    smoothing_vx
        Standard deviation of the Gaussian over the grey values (voxels).
    min_distance_um
        Least distance between two seeds (um).
    min_volume_um3
        Smaller particles are dropped (um3).

    Returns
    -------
    ndarray of uint32, (Z, Y, X)
        Labels 1 to n; enclosed voids are filled before the distance is taken.
    """
    smooth = gaussian_filter(grey_zyx.astype(np.float32), smoothing_vx)
    if smooth.min() == smooth.max():
        return np.zeros(grey_zyx.shape, dtype=np.uint32)
    mask = fill_voids(smooth > threshold_otsu(smooth))
    depth_um = edt.edt(np.ascontiguousarray(mask), anisotropy=voxel_size_um, parallel=1)
    depth_um = gaussian_filter(depth_um, 1.0)
    reach_vx = max(1, round(min_distance_um / min(voxel_size_um)))
    seeds = peak_local_max(
        depth_um, min_distance=reach_vx, labels=mask.astype(np.int32), exclude_border=False
    )
    markers = np.zeros(mask.shape, dtype=np.int32)
    markers[tuple(seeds.T)] = np.arange(1, len(seeds) + 1)
    labels = watershed(-depth_um, markers, mask=mask)
    return _drop_small(labels, voxel_size_um, min_volume_um3)


def link_slices(
    grey_zyx: NDArray[np.generic],
    segment: SegmentSection,
    *,
    voxel_size_um: Spacing,
    min_iou: float = 0.3,
    min_volume_um3: float = 1.0,
) -> NDArray[np.uint32]:
    """Label every xy section by itself and link labels of neighbouring sections that overlap.

    Parameters
    ----------
    grey_zyx
        Grey values (Z, Y, X).
    segment
        Labels one section.
    voxel_size_um
        Edges of a voxel along z, y, x.
    min_iou
        Least intersection over union of two labels that are linked (0 to 1).
    min_volume_um3
        Smaller particles are dropped (um3).

    Returns
    -------
    ndarray of uint32, (Z, Y, X)
        Labels 1 to n.
    """
    linked = np.zeros(grey_zyx.shape, dtype=np.int64)
    count = 0
    for z, section_yx in enumerate(grey_zyx):
        found = np.asarray(segment(section_yx.astype(np.float32))).astype(np.int64)
        name = np.zeros(int(found.max(initial=0)) + 1, dtype=np.int64)
        if z > 0:
            match = match_labels(count_overlaps(linked[z - 1], found), min_iou)
            name[match.predicted] = match.true
        fresh = np.unique(found[found > 0])
        fresh = fresh[name[fresh] == 0]
        name[fresh] = np.arange(count + 1, count + len(fresh) + 1)
        count += len(fresh)
        linked[z] = name[found]
    return _drop_small(linked, voxel_size_um, min_volume_um3)


def _drop_small(
    labels_zyx: NDArray[np.integer], voxel_size_um: Spacing, min_volume_um3: float
) -> NDArray[np.uint32]:
    size = np.bincount(labels_zyx.ravel())
    keep = size * float(np.prod(voxel_size_um)) >= min_volume_um3
    keep[0] = False
    name = np.zeros(len(size), dtype=np.uint32)
    name[keep] = np.arange(1, int(keep.sum()) + 1)
    return np.asarray(name[labels_zyx])
