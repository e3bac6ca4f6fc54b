"""Maps of a volume that holds phases: the distance transform in place of the network.

Touching particles of one phase are cut where their distance to the other phases has a saddle. The
phase is one value of a map, or what exceeds a threshold in smoothed grey values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import edt
import numpy as np
import zarr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.feature import peak_local_max

from ncm_kedro.errors import StoreError
from ncm_kedro.tomo.volumes.blocks import Block
from ncm_kedro.tomo.volumes.volume import Spacing, Volume

_SURVEY_VX = 8_000_000  # voxels from which the largest particle is measured
_FINEST = 4  # steps of the stored distance per voxel
_STEPS = 240  # of the largest distance
_SEED_VX = 2.0  # a core of this depth is as sure as any
_INSIDE = 64  # stored probability of a particle's outermost voxels
_SMOOTHING_VX, _TRUNCATE = 1.0, 3.0  # of grey values, before the threshold
_PEAK = 0.25  # of the largest distance; lower ones are no particles' cores


@dataclass(frozen=True)
class Phase:
    """What particles are made of.

    Attributes
    ----------
    value
        Value of the particles in a map.
    above
        Whether particles are what exceeds the value in smoothed grey values.
    """

    value: float
    above: bool = False

    @property
    def halo_vx(self) -> int:
        """Voxels around that a voxel depends on."""
        return int(_TRUNCATE * _SMOOTHING_VX + 0.5) if self.above else 0

    def find(self, values: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Mark the particles."""
        grey = values.astype(np.float32)
        if self.above:
            smooth = gaussian_filter(grey, _SMOOTHING_VX, mode="nearest", truncate=_TRUNCATE)
            return np.asarray(smooth > np.float32(self.value))
        return np.asarray(grey == np.float32(self.value))


@dataclass(frozen=True)
class PhaseScale:
    """Lengths of a map of phases.

    Attributes
    ----------
    step_um
        Of the stored distance.
    diameter_um
        Median of the largest balls within particles.
    """

    step_um: float
    diameter_um: float


@dataclass(frozen=True)
class PhaseTask:
    """The task that writes probability and distance of one block.

    Attributes
    ----------
    phase
        What the particles are.
    field_of_view
        Mask, None where everything is inside; what is outside is no particle.
    """

    grey: zarr.Array
    field_of_view: zarr.Array | None
    phase: Phase
    scale: PhaseScale
    voxel_size_um: Spacing
    probability: zarr.Array
    distance: zarr.Array

    def __call__(self, block: Block) -> Mapping[str, NDArray[np.generic]]:
        """Write one block; beyond the farthest stored distance nothing else matters."""
        reach_um = self.scale.step_um * (_STEPS + 2)
        halo = int(np.ceil(reach_um / min(self.voxel_size_um))) + self.phase.halo_vx
        outer = block.grow(halo, self.grey.shape)
        mask = self.phase.find(np.asarray(self.grey[outer.region]))
        if self.field_of_view is not None:
            mask &= np.asarray(self.field_of_view[outer.region]) > 0
        depth_um = edt.edt(mask, anisotropy=self.voxel_size_um, parallel=1)[block.within(outer)]
        depth_um = np.minimum(depth_um, reach_um)
        seed_um = _SEED_VX * min(self.voxel_size_um)
        sure = np.clip(np.rint(255 * depth_um / seed_um), _INSIDE, 255)
        steps = np.clip(np.ceil(depth_um / self.scale.step_um), 0, 255)
        self.probability[block.region] = np.where(depth_um > 0, sure, 0).astype(np.uint8)
        self.distance[block.region] = steps.astype(np.uint8)
        return {}


def measure_phase(volume: Volume, phase: Phase) -> PhaseScale:
    """Measure how large the particles of a phase are, on every so many voxels.

    Raises
    ------
    StoreError
        If no voxel has the value.
    """
    stride = max(1, int(np.ceil((np.prod(volume.shape_zyx) / _SURVEY_VX) ** (1 / 3))))
    mask = phase.find(np.asarray(volume.array[::stride, ::stride, ::stride]))
    if not mask.any():
        raise StoreError(
            volume.path,
            found=f"no voxel of the value {phase.value:g}",
            expected="the phase of the particles",
            action="set fusion.particle_phase to one of the values of this map",
        )
    sizes_um = [size * stride for size in volume.voxel_size_um]
    depth_um = edt.edt(np.ascontiguousarray(mask), anisotropy=sizes_um, parallel=1)
    largest = float(depth_um.max())
    peaks = peak_local_max(
        depth_um, min_distance=2, threshold_abs=_PEAK * largest, exclude_border=False
    )
    step_um = max(min(volume.voxel_size_um) / _FINEST, (largest + max(sizes_um)) / _STEPS)
    return PhaseScale(step_um, 2 * float(np.median(depth_um[tuple(peaks.T)])))
