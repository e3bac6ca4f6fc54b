"""From the fused maps on the detection grid to those at full resolution.

The particle probability of a volume: sections in three directions, fused.

Sections through a tomogram in three perpendicular directions go through a two-dimensional network,
and its predictions for a voxel are averaged (Li et al. 2022, supplement, particle identification).
Here all three directions are predicted on a grid of cubic voxels on which a particle spans what the
network was trained around, and the fused maps are interpolated back.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.params.tomo_segment import TomoComputeParams, TomoFusionParams
from ncm_kedro.tomo.detector.detector import Detector
from ncm_kedro.tomo.fusion.contrast import Contrast, find_contrast
from ncm_kedro.tomo.fusion.maps import (
    DIRECTIONS,
    STEPS_PER_VOXEL,
    Axis,
    ByteArray,
    FloatArray,
    GreyScale,
    SectionPass,
    keep_inside,
    list_slabs,
    open_scratch,
    predict_maps,
)
from ncm_kedro.tomo.fusion.phases import Phase, PhaseTask, measure_phase
from ncm_kedro.tomo.fusion.scale import (
    DetectionGrid,
    apply_weights,
    choose_grid,
    choose_source,
    weigh_axis,
)
from ncm_kedro.tomo.fusion.size import ResampleTask, sample_grey, scale_grey
from ncm_kedro.tomo.volumes.blocks import Block, Task, list_blocks, run_blocks
from ncm_kedro.tomo.volumes.identity import MADE_FROM, fingerprint, identify_sources
from ncm_kedro.tomo.volumes.volume import Volume, VolumePlan, VolumeTarget


@dataclass(frozen=True)
class FinalTask:
    """The task that writes one block at full resolution.

    Attributes
    ----------
    fused
        Array (3, Z, Y, X) of the detection grid: probability, distance, disagreement.
    field_of_view
        Mask at full resolution, None where everything is inside.
    """

    fused: Path
    grid: DetectionGrid
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


_METHOD = 6  # raised when the same inputs and settings give other values
_AXES: tuple[Axis, ...] = (0, 1, 2)
_CHANNELS = (2, 4, 3)  # maps in the array of each pass
_SCRATCH_BYTES = 8  # per detection voxel: grey values, and the arrays of two passes at the most
_TASK_BYTES = 20  # per voxel of a slab or a block: what a task holds
_NETWORK_BYTES = 800  # per pixel of a batch: the network's inner maps
_log = logging.getLogger(__name__)


def plan_probability(
    volume: Volume,
    detector: Detector,
    params: TomoFusionParams,
    compute: TomoComputeParams,
) -> VolumePlan:
    """Plan the fused particle probability of a volume.

    Parameters
    ----------
    volume
        The tomogram; its extra ``field_of_view`` says where it holds (1 inside).

    Returns
    -------
    VolumePlan
        Probability (uint8, 0 to 255 for 0 to 1) with the extras ``distance`` (uint8, distance to
        the particle's outline within a section, fused over the directions, in steps of the
        attribute ``distance_step_um``; above 0 inside a particle) and ``disagreement`` (uint8,
        range of the three probabilities, 0 to 255). All are 0 outside the field of view. Written
        with the array are ``distance_step_um``, ``particle_diameter_um``,
        ``detection_voxel_um``, ``contrast`` (``bright``, ``dark`` or ``phases``), ``grey_limits``
        and ``contrast_warnings``.
    """
    return VolumePlan(
        name=volume.name,
        shape_zyx=volume.shape_zyx,
        dtype=np.uint8,
        voxel_size_um=volume.voxel_size_um,
        fingerprint=fingerprint(
            f"probability-{_METHOD}", volume.fingerprint, detector.fingerprint, params=params
        ),
        write=ProbabilityWriter(volume, detector, params, compute),
        extras={"distance": np.uint8, "disagreement": np.uint8},
        averaged=frozenset({"distance", "disagreement"}),
        attributes={
            "detector": detector.fingerprint,
            MADE_FROM: identify_sources(tomogram=volume),
        },
    )


@dataclass(frozen=True)
class ProbabilityWriter:
    """Fills the arrays of a plan, stage by stage; called again after an interruption, it resumes.

    Attributes
    ----------
    volume, network, params, compute
        What ``plan_probability`` was given.
    """

    volume: Volume
    network: Detector
    params: TomoFusionParams
    compute: TomoComputeParams

    def __call__(self, target: VolumeTarget) -> None:
        """Write probability, distance and disagreement."""
        contrast = self._find_contrast(target)
        if contrast.kind == "phases":
            self._write_phases(target, contrast)
            return
        grid = self._choose_grid(target, contrast)
        self._announce(target, grid)
        grey = target.work / "grey"
        scale = self._resample(grey, grid, contrast)
        previous: Path | None = None
        for axis, name, channels in zip(_AXES, DIRECTIONS, _CHANNELS, strict=True):
            maps = target.work / f"maps-{name}"
            if not _flag(maps).exists():  # what it was made from may be gone once it is complete
                task = SectionPass(axis, self.network, grey, scale, previous, maps, self.params)
                slabs = list_slabs(grid.shape_zyx, axis, self.params)
                self._prepare(maps, (channels,), np.uint8, grid)
                self._run(task, slabs, maps)
                _flag(maps).touch()
            if previous is not None:
                shutil.rmtree(previous, ignore_errors=True)
            previous = maps
        shutil.rmtree(grey, ignore_errors=True)
        self._finish(target, target.work / f"maps-{DIRECTIONS[-1]}", grid)

    def _find_contrast(self, target: VolumeTarget) -> Contrast:
        """Find out once what the grey values are, and note it with the volume."""
        note = target.work / "contrast.json"
        if note.is_file():
            known = json.loads(note.read_bytes())
            contrast = Contrast(**{**known, "warnings": tuple(known["warnings"])})
        else:
            contrast = find_contrast(self.volume, self.network, self.params)
            write_atomic(note, json.dumps(asdict(contrast)).encode())
            for told in contrast.warnings:
                _log.warning("%s: %s", self.volume.name, told)
        target.array.attrs.update(
            {
                "contrast": contrast.kind,
                "grey_limits": [contrast.low, contrast.high],
                "contrast_warnings": list(contrast.warnings),
            }
        )
        return contrast

    def _write_phases(self, target: VolumeTarget, contrast: Contrast) -> None:
        """Write the maps of a volume of phases; the directions do not disagree."""
        phase = Phase(contrast.phase, contrast.above)
        scale = measure_phase(self.volume, phase)
        notes = {
            "distance_step_um": scale.step_um,
            "particle_diameter_um": scale.diameter_um,
            "detection_voxel_um": min(self.volume.voxel_size_um),
        }
        target.array.attrs.update(notes)
        task = PhaseTask(
            self.volume.array, self.volume.extras.get("field_of_view"), phase, scale,
            self.volume.voxel_size_um, target.array, target.extras["distance"],
        )  # fmt: skip
        depth, height, width = target.array.shards or target.array.chunks
        run_blocks(
            task,
            list_blocks(self.volume.shape_zyx, (depth, height, width)),
            finished=target.work / "phases",
            compute=self.compute,
            title=f"{self.volume.name}: distance transform",
        )

    def _choose_grid(self, target: VolumeTarget, contrast: Contrast) -> DetectionGrid:
        """Lay the grid by the particles' diameter, and note both with the volume."""
        diameter_um = contrast.diameter_um
        diameter_um = diameter_um or self.network.particle_px * min(self.volume.voxel_size_um)
        grid = choose_grid(self.volume, diameter_um, self.network.particle_px, self.params)
        notes = {
            "distance_step_um": grid.edge_um / STEPS_PER_VOXEL,
            "particle_diameter_um": diameter_um,
            "detection_voxel_um": grid.edge_um,
        }
        target.array.attrs.update(notes)
        return grid

    def _resample(self, grey: Path, grid: DetectionGrid, contrast: Contrast) -> GreyScale:
        """Bring the volume to the grid; return what is 0 and 1 for the network."""
        if _flag(grey).exists():
            low, high = json.loads(_flag(grey).read_bytes())
            return GreyScale(low, high)
        source = choose_source(self.volume, grid, contrast.reading)
        task = ResampleTask(source, grid, sample_grey(self.volume, source), grey)
        edge = self.params.slab_vx
        self._prepare(grey, (), np.float16, grid)
        histograms = self._run(task, list_blocks(grid.shape_zyx, (edge, edge, edge)), grey)
        scale = scale_grey(histograms)
        write_atomic(_flag(grey), json.dumps([scale.low, scale.high]).encode())
        return scale

    def _prepare(
        self, path: Path, channels: tuple[int, ...], dtype: DTypeLike, grid: DetectionGrid
    ) -> None:
        """Make the array of a stage that is not complete."""
        edges = tuple(min(self.params.slab_vx, n) for n in grid.shape_zyx)
        _ensure_array(path, (*channels, *grid.shape_zyx), (*channels, *edges), dtype)

    def _run(
        self, task: Task, blocks: list[Block], path: Path
    ) -> list[dict[str, NDArray[np.generic]]]:
        """Run the stage that fills an array."""
        return run_blocks(
            task,
            blocks,
            finished=path.with_name(f"{path.name}-blocks"),
            compute=self.compute,
            title=f"{self.volume.name}: {path.name}",
        )

    def _finish(self, target: VolumeTarget, fused: Path, grid: DetectionGrid) -> None:
        task = FinalTask(
            fused,
            grid,
            self.volume.extras.get("field_of_view"),
            target.array,
            target.extras["distance"],
            target.extras["disagreement"],
        )
        depth, height, width = target.array.shards or target.array.chunks
        run_blocks(
            task,
            list_blocks(self.volume.shape_zyx, (depth, height, width)),
            finished=target.work / "full",
            compute=self.compute,
            title=f"{self.volume.name}: full resolution",
        )

    def _announce(self, target: VolumeTarget, grid: DetectionGrid) -> None:
        """Log what the work needs before it starts."""
        voxels = int(np.prod(grid.shape_zyx))
        plane = [min(n, self.params.tile_px + 2 * self.network.receptive_px)
                 for n in sorted(grid.shape_zyx)[1:]]  # fmt: skip
        section = int(np.prod(plane))
        slab = section * self.params.slab_vx
        block = int(np.prod(target.array.shards or target.array.chunks))
        batch = max(section, self.params.batch_px)
        memory = self.compute.workers * (max(slab, block) * _TASK_BYTES + batch * _NETWORK_BYTES)
        _log.info(
            "%s: %s voxels of %.3g um, %.1f Mpx of sections; at most %.2f GB of memory and "
            "%.2f GB of scratch files; about %.0f s",
            self.volume.name, " x ".join(map(str, grid.shape_zyx)), grid.edge_um,
            3 * voxels / 1e6, memory / 1e9, voxels * _SCRATCH_BYTES / 1e9,
            3 * voxels * self._time_pixel(grid),
        )  # fmt: skip

    def _time_pixel(self, grid: DetectionGrid) -> float:
        """Seconds per pixel of a section, timed on a blank one."""
        height, width = (min(n, self.params.tile_px) for n in grid.shape_zyx[1:])
        blank_nyx = np.zeros((1, height, width), dtype=np.float32)
        predict_maps(self.network, blank_nyx, 0)
        started = time.perf_counter()
        predict_maps(self.network, blank_nyx, 0)
        return (time.perf_counter() - started) / blank_nyx.size


def _flag(path: Path) -> Path:
    """Return the file that marks a stage as complete."""
    return path.with_name(f"{path.name}.complete")


def _ensure_array(
    path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: DTypeLike
) -> None:
    """Make a scratch array unless it is there; one that a kill left without metadata is not."""
    try:
        if zarr.open_array(path, mode="r").shape == shape:
            return
    except (OSError, ValueError, KeyError):
        _log.debug("%s is made", path)
    zarr.create_array(
        path, shape=shape, chunks=chunks, dtype=dtype, compressors=None, overwrite=True
    )
