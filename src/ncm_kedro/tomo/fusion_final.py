"""From the fused maps on the working grid to those at full resolution."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr

from ncm_kedro.tomo.blocks import Block
from ncm_kedro.tomo.fusion_maps import ByteArray, FloatArray, keep_inside
from ncm_kedro.tomo.slabs import open_scratch
from ncm_kedro.tomo.working_scale import WorkingGrid, apply_weights, weigh_axis


@dataclass(frozen=True)
class FinalTask:
    """The task that writes one block at full resolution.

    Attributes
    ----------
    fused
        Array (3, Z, Y, X) of the working grid: probability, distance, disagreement.
    grid
        The working grid.
    field_of_view
        Mask at full resolution, None where everything is inside.
    probability, distance, disagreement
        The arrays at full resolution.
    """

    fused: Path
    grid: WorkingGrid
    field_of_view: zarr.Array | None
    probability: zarr.Array
    distance: zarr.Array
    disagreement: zarr.Array

    def __call__(self, block: Block) -> None:
        """Interpolate and write one block."""
        maps = self._read_maps(block)
        if self.field_of_view is not None:
            outside_zyx = np.asarray(self.field_of_view[block.region]) == 0
            for map_zyx in maps:
                map_zyx[outside_zyx] = 0
        arrays = (self.probability, self.distance, self.disagreement)
        for array, map_zyx in zip(arrays, maps, strict=True):
            array[block.region] = map_zyx

    def _read_maps(self, block: Block) -> list[ByteArray]:
        fused = open_scratch(self.fused, "r")
        if self.grid.is_volume:
            prob_zyx, distance_zyx, spread_zyx = np.asarray(fused[(slice(None), *block.region)])
            return [prob_zyx, keep_inside(distance_zyx), spread_zyx]
        weights = [
            weigh_axis(start, stop, 1 / ratio, length)
            for start, stop, ratio, length in zip(
                block.start, block.stop, self.grid.ratios, self.grid.shape_zyx, strict=True
            )
        ]
        spans = tuple(span for span, _ in weights)
        matrices = [matrix for _, matrix in weights]
        box = np.asarray(fused[(slice(None), *spans)]).astype(np.float32)
        prob_zyx, distance_zyx, spread_zyx = (apply_weights(one, matrices) for one in box)
        return [_round(prob_zyx), keep_inside(distance_zyx), _round(spread_zyx)]


def _round(map_zyx: FloatArray) -> ByteArray:
    return np.rint(map_zyx).astype(np.uint8)
