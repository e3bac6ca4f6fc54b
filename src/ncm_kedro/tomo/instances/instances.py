"""From fused maps to labelled particles, block by block.

The passes: watershed (or threshold), join across blocks, decide in a table, assign labels, refine
each particle, assemble. Labels do not depend on the cutting into blocks or on who works on them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from ncm_kedro.errors import StoreError
from ncm_kedro.params.tomo_segment import TomoComputeParams, TomoInstanceParams
from ncm_kedro.tomo.fusion.scale import GreyArray, read_as_detected
from ncm_kedro.tomo.instances.components import (
    ComponentTask,
    Draft,
    Parts,
    Results,
    TouchTask,
    choose_bins,
    choose_chunk,
    find_thresholds,
    join_drafts,
    join_pairs,
    name_parts,
    own_blocks,
)
from ncm_kedro.tomo.instances.merging import DEBRIS, DEBRIS_MAX, merge_basins
from ncm_kedro.tomo.instances.refine_tasks import AssembleTask, DraftTask, RefineTask
from ncm_kedro.tomo.instances.watershed import BasinTask, WatershedSettings, resolve_terminals
from ncm_kedro.tomo.instances.watershed_graph import GraphTask, build_table
from ncm_kedro.tomo.volumes.blocks import Block, Task, list_blocks, run_blocks
from ncm_kedro.tomo.volumes.identity import MADE_FROM, check_belongs, fingerprint, identify_sources
from ncm_kedro.tomo.volumes.volume import Triple, Volume, VolumePlan, VolumeTarget

METHOD_VERSION = 5
_PHASE_NECK = 0.75  # of the smaller ball within; a narrower neck parts two particles
_log = logging.getLogger(__name__)


def plan_labels(
    volume: Volume,
    probability: Volume,
    params: TomoInstanceParams,
    compute: TomoComputeParams,
) -> VolumePlan:
    """Plan the labelling of a volume.

    Parameters
    ----------
    volume
        Grey values, with ``field_of_view`` among its extras where there is one.
    probability
        Fused probability, uint8 (0 to 255 stand for 0 to 1), with the fused distance to the
        outline as extra ``distance`` (uint8, steps of the attribute ``distance_step_um``).

    Returns
    -------
    VolumePlan
        uint32 labels 1 to n of filled particles, numbered by the first voxel of their seed, 0
        elsewhere; extra ``cracks``, uint8, 1 in voids and cracks of a particle.

    Raises
    ------
    StoreError
        If the maps do not belong to the volume.
    """
    _check_maps(volume, probability, params)
    made_from_phases = probability.attributes.get("contrast") == "phases"
    return VolumePlan(
        name=volume.name,
        shape_zyx=volume.shape_zyx,
        dtype=np.uint32,
        voxel_size_um=volume.voxel_size_um,
        fingerprint=fingerprint(
            f"labels-{METHOD_VERSION}", volume.fingerprint, probability.fingerprint, params=params
        ),
        write=_Writer(
            volume, probability, _fit_phases(params) if made_from_phases else params, compute
        ),
        extras={"cracks": np.uint8},
        is_label=True,
        attributes={
            "fusion": params.fusion,
            MADE_FROM: identify_sources(tomogram=volume, probability=probability),
        },
    )


def _fit_phases(params: TomoInstanceParams) -> TomoInstanceParams:
    """Keep the outlines of a map of phases, and cut at the necks of its distance transform."""
    return params.model_copy(
        update={
            "refine": params.refine.model_copy(update={"enabled": False}),
            "merge_neck_fraction": max(params.merge_neck_fraction, _PHASE_NECK),
        }
    )


@dataclass(frozen=True)
class _Writer:
    """Fills a target; every pass resumes an interrupted run."""

    volume: Volume
    probability: Volume
    params: TomoInstanceParams
    compute: TomoComputeParams

    @property
    def _grey(self) -> GreyArray:
        return read_as_detected(self.volume, self.probability)

    def __call__(self, target: VolumeTarget) -> None:
        edges = self._block_edges(target.array)
        blocks = list_blocks(self.volume.shape_zyx, edges)
        work = target.work / "-".join(map(str, edges))  # scratch arrays depend on the blocks
        terminals = self._open_scratch(work, "terminals", np.uint64, edges)
        parts = (self._segment if self.params.fusion == "watershed" else self._connect)(
            work, terminals, blocks
        )
        target.array.attrs.update({"debris": parts.debris})
        drafted = self._open_scratch(work, "draft", np.uint32, edges)
        draft = self._assign_labels(work, terminals, drafted, parts, blocks)
        owner = own_blocks(parts.seed, blocks, self.volume.shape_zyx)
        box, count, refined = self._refine(work, drafted, draft, owner, blocks)
        final = self._number(count, len(parts.seed))
        task = AssembleTask(
            draft=drafted,
            labels=target.array,
            cracks=target.extras["cracks"],
            kept=np.where(np.r_[False, refined], 0, final).astype(np.uint32),
            final=np.where(np.r_[False, refined], final, 0).astype(np.uint32),
            owner=owner,
            box=box,
            masks=work / "masks",
        )
        self._run(task, blocks, work, "assemble")

    def _run(self, task: Task, blocks: list[Block], work: Path, name: str) -> Results:
        title = f"{self.volume.name}: {name}"
        return run_blocks(task, blocks, finished=work / name, compute=self.compute, title=title)

    def _block_edges(self, array: zarr.Array) -> Triple:
        """Edges of the tasks' blocks: whole shards, so that no two tasks write into one."""
        wanted = self.compute.block_edge_vx
        written = array.shards or array.chunks
        edges = [-(-wanted // int(edge)) * int(edge) for edge in written]
        return edges[0], edges[1], edges[2]

    def _open_scratch(
        self, work: Path, name: str, dtype: type[np.generic], edges: Triple
    ) -> zarr.Array:
        """Open an array for intermediate results, whose chunks do not cross blocks."""
        path = work / f"{name}.zarr"
        if (path / "zarr.json").is_file():
            return zarr.open_array(path, mode="r+")
        shape = self.volume.shape_zyx
        chunks = tuple(choose_chunk(edge, n) for edge, n in zip(edges, shape, strict=True))
        return zarr.create_array(path, shape=shape, chunks=chunks, dtype=dtype, overwrite=True)

    def _segment(self, work: Path, terminals: zarr.Array, blocks: list[Block]) -> Parts:
        distance = self.probability.extras["distance"]
        settings = WatershedSettings(
            smoothing_vx=self.params.smoothing_vx,
            above_probability=int(self.params.outline_probability * 255),
            above_distance=self.params.outline_steps if self.params.refine.enabled else 0,
        )
        pointers = BasinTask(self.probability.array, distance, terminals, settings)
        keys, root = resolve_terminals(self._run(pointers, blocks, work, "watershed"))
        roots, basin = np.unique(root, return_inverse=True)
        basins = (basin + 1).astype(np.uint32)
        graph = GraphTask(self.probability.array, distance, terminals, keys, basins)
        table = build_table(self._run(graph, blocks, work, "contacts"), len(roots))
        seed = round(self.params.seed_probability * 255)
        owner = merge_basins(
            table,
            seed=seed,
            saddle_fraction=self.params.merge_saddle_fraction,
            neck_fraction=self.params.merge_neck_fraction,
            absorb_fraction=self.params.absorb_fraction,
            check_shape=self.params.check_shape,
        )
        particles = len(np.unique(owner[owner >= 0]))
        debris = int(((owner == DEBRIS) & (table.peak >= seed)).sum())
        _log.info("%s: %d basins, %d particles; %d peaks with a low mean probability dropped as "
                  "debris", self.volume.name, len(roots), particles, debris)  # fmt: skip
        if debris > DEBRIS_MAX * (debris + particles):
            _log.warning(
                "%s: the detector is unsure of this volume: %d of %d peaks have a low mean "
                "probability and are dropped as debris; look at the probability map, and set "
                "instances.check_shape: false where they are particles",
                self.volume.name, debris, debris + particles,
            )  # fmt: skip
        return replace(name_parts(keys, owner[basin], roots), debris=debris)

    def _connect(self, work: Path, terminals: zarr.Array, blocks: list[Block]) -> Parts:
        split = ComponentTask(
            self.probability.array,
            terminals,
            at_least=max(1, int(np.ceil(self.params.threshold * 255))),
            connectivity=self.params.connectivity,
        )
        ends = [part["end"] for part in self._run(split, blocks, work, "components")]
        touch = TouchTask(terminals, self.params.connectivity)
        pairs = [part["pair"] for part in self._run(touch, blocks, work, "faces")]
        keys, root = join_pairs(
            np.concatenate(ends).astype(np.uint64), np.concatenate(pairs).astype(np.uint64)
        )
        roots, component = np.unique(root, return_inverse=True)
        return name_parts(keys, component.astype(np.int64), roots)

    def _assign_labels(
        self, work: Path, terminals: zarr.Array, drafted: zarr.Array, parts: Parts,
        blocks: list[Block],
    ) -> Draft:  # fmt: skip
        task = DraftTask(
            terminals=terminals,
            keys=parts.keys,
            labels=parts.labels,
            draft=drafted,
            grey=self._grey,
            view=self.volume.extras.get("field_of_view"),
            bins=choose_bins(self._grey),
            gap_vx=self.params.refine.gap_vx,
            shell_vx=self.params.refine.shell_vx,
        )
        return join_drafts(self._run(task, blocks, work, "draft"), len(parts.seed))

    def _refine(
        self, work: Path, drafted: zarr.Array, draft: Draft, owner: NDArray[np.int64],
        blocks: list[Block],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:  # fmt: skip
        """Return box and voxel count of each particle, and which ones were refined."""
        settings, inset_um = self.params.refine, 0.0
        if self.params.fusion == "paper":  # the text removes dark pixels and adds none
            settings = settings.model_copy(update={"grow_um": 0.0, "grow_vx": 0.0})
        else:
            step_um = float(self.probability.attributes["distance_step_um"])
            inset_um = self.params.outline_steps * step_um
        size = np.prod(draft.box[:, 3:] - draft.box[:, :3], axis=1)
        chosen = (size <= settings.max_cutout_vx) & settings.enabled & (draft.count > 0)
        if settings.enabled and (size > settings.max_cutout_vx).any():
            _log.warning(
                "%s: %d particles are larger than refine.max_cutout_vx and keep their outlines",
                self.volume.name, int((size > settings.max_cutout_vx).sum()),
            )  # fmt: skip
        if not chosen.any():
            return draft.box, draft.count, chosen
        task = RefineTask(
            draft=drafted,
            grey=self._grey,
            view=self.volume.extras.get("field_of_view"),
            owner=np.where(chosen, owner, -1),
            box=draft.box,
            threshold=find_thresholds(draft, choose_bins(self._grey)),
            voxel_size_um=self.volume.voxel_size_um,
            params=settings,
            inset_um=inset_um,
            masks=work / "masks",
        )
        box, count = draft.box.copy(), draft.count.copy()
        for part in self._run(task, blocks, work, "refine"):
            rows = part["refined"].astype(np.int64)
            count[rows[:, 0] - 1] = rows[:, 1]
            box[rows[:, 0] - 1] = rows[:, 2:]
        return box, count, chosen

    def _number(self, count: NDArray[np.int64], particles: int) -> NDArray[np.uint32]:
        """Give numbers to the particles that are large enough; index 0 is the background."""
        voxel_um3 = float(np.prod(self.volume.voxel_size_um))
        keep = (count > 0) & (count * voxel_um3 >= self.params.min_volume_um3)
        final = np.zeros(particles + 1, dtype=np.uint32)
        final[1:][keep] = np.arange(1, int(keep.sum()) + 1)
        if not keep.any():
            _log.warning(
                "%s: no particle found (of %d candidates none holds %g um3); look at the "
                "probability map, then at seed_probability and min_volume_um3",
                self.volume.name, particles, self.params.min_volume_um3,
            )  # fmt: skip
        else:
            _log.info("%s: %d particles of %d candidates", self.volume.name, int(keep.sum()),
                      particles)  # fmt: skip
        return final


def _check_maps(volume: Volume, probability: Volume, params: TomoInstanceParams) -> None:
    if probability.shape_zyx != volume.shape_zyx:
        raise StoreError(
            probability.path,
            found=f"a probability of {probability.shape_zyx} voxels",
            expected=f"{volume.shape_zyx}, as {volume.path} has",
            action="compute the probability of this volume again",
        )
    check_belongs(probability.path, probability.attributes.get(MADE_FROM), tomogram=volume)
    missing = [
        name
        for name, there in (
            ("the map 'distance'", "distance" in probability.extras),
            ("the attribute 'distance_step_um'", "distance_step_um" in probability.attributes),
        )
        if not there
    ]
    if missing and params.fusion == "watershed":
        raise StoreError(
            probability.path,
            found=f"a probability without {' and '.join(missing)}",
            expected="the fused distance to the outline beside the probability",
            action="compute the probability again, or set fusion to paper",
        )
