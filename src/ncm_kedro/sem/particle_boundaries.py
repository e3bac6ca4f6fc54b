"""Outlines of particles in a crop, by a simple segmentation that knows nothing of any network.

A particle is brighter than its surroundings; touching ones are parted along the dark valleys
between them by a watershed (Beucher & Meyer 1993). It is a yardstick for attention, not a count of
particles: neighbours of one brightness merge, and a large particle may be split.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.morphology import remove_small_holes, remove_small_objects
from skimage.segmentation import find_boundaries, watershed

from ncm_kedro.params.sem_explain import BoundaryParams

BETWEEN, INSIDE, BOUNDARY = 0, 1, 2

_SEED_BLUR = 0.25
_SURROUNDINGS = 2.0
_SEED_DISTANCE = 0.35
_SMALLEST = 0.5


def label_particles(
    grey_yx: NDArray[np.uint8], pixel_size_um: float, params: BoundaryParams
) -> NDArray[np.int32]:
    """Give each particle of a crop a number.

    Parameters
    ----------
    grey_yx
        (H, W) crop.
    pixel_size_um
        Pixel size of the crop, um.
    params
        Particle size and smoothing.

    Returns
    -------
    ndarray, (H, W)
        Particle of each pixel; 0 between particles, and everywhere in a uniform crop.
    """
    particle_px = params.particle_um / pixel_size_um
    grey = grey_yx.astype(np.float32)
    smooth = ndimage.gaussian_filter(grey, params.smoothing_um / pixel_size_um)
    surroundings = ndimage.gaussian_filter(grey, _SURROUNDINGS * particle_px)
    smallest_px2 = int(np.pi / 4.0 * (_SMALLEST * particle_px) ** 2)
    bright = remove_small_holes(smooth > surroundings + 1e-3, max_size=smallest_px2)
    bright = remove_small_objects(bright, max_size=smallest_px2)
    blurred = ndimage.gaussian_filter(grey, _SEED_BLUR * particle_px)
    peaks = peak_local_max(
        blurred,
        min_distance=max(1, round(_SEED_DISTANCE * particle_px)),
        labels=bright.astype(np.int32),
        exclude_border=False,
        num_peaks=grey.size,
    )
    seeds = np.zeros(grey.shape, dtype=np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(watershed(-smooth, seeds, mask=bright), dtype=np.int32)


def mark_regions(
    grey_yx: NDArray[np.uint8], pixel_size_um: float, params: BoundaryParams
) -> NDArray[np.uint8]:
    """Part a crop into particles, the ground between them and the band along their outlines.

    Parameters
    ----------
    grey_yx
        (H, W) crop.
    pixel_size_um
        Pixel size of the crop, um.
    params
        Particle size, smoothing, width of the band. The band is two pixels wide at least.

    Returns
    -------
    ndarray, (H, W)
        `BETWEEN`, `INSIDE` or `BOUNDARY`; a uniform crop is all `BETWEEN`. See `label_particles`.
    """
    labels = label_particles(grey_yx, pixel_size_um, params)
    outline = find_boundaries(labels, mode="thick")
    regions = np.where(labels > 0, INSIDE, BETWEEN).astype(np.uint8)
    if outline.any():
        beyond_um = (ndimage.distance_transform_edt(~outline) + 0.5) * pixel_size_um
        regions[outline | (beyond_um <= params.band_um / 2.0)] = BOUNDARY
    return regions
