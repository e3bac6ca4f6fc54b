"""Measuring every particle of a labelled volume: one pass over blocks, one over cut-outs."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.errors import TomogramError
from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.particles import block_sums
from ncm_kedro.particles.block_sums import CELL_VX, LINES, CroftonWeights, SumsTask
from ncm_kedro.particles.cutouts import CutoutSettings, CutoutTask
from ncm_kedro.particles.kernels import cutouts as cutout_kernels
from ncm_kedro.particles.specimen import Specimen, check_specimen
from ncm_kedro.tomo.volumes.blocks import Block, list_blocks, run_blocks
from ncm_kedro.tomo.volumes.volume import Spacing, Triple

METHOD_VERSION = 2
"""Raised when the same settings give other numbers."""

PAPER_CLOSING_VX = 10.0
"""Radius of the published code's closing: the one that gives an intact ball of radius 15, 25, 35,
50 and 70 voxels the damage that the code gives it."""

_SPAN_SHARE = 0.5
_MIN_SPHERICITY = 0.05
_log = logging.getLogger(__name__)

Part = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Cells:
    """Counts of voxels in cells, for densities in any window.

    Attributes
    ----------
    edge_vx
        Voxels of a cell along z, y, x; the last cells may hold fewer.
    valid, filled
        Voxels within the field of view, and those with a label, uint8 (Nz, Ny, Nx).
    """

    edge_vx: Triple
    valid: NDArray[np.uint8]
    filled: NDArray[np.uint8]


@dataclass(frozen=True)
class Measurement:
    """What was measured in a sample; attributes are made of it.

    Attributes
    ----------
    name
        The sample.
    voxel_size_um
        Edges of a voxel along z, y, x.
    shape_zyx
        Voxels along z, y, x.
    axis_to_collector
        Where the current collector lies, as ``-z``, or None.
    particles
        Raw sums, a row per particle, ascending ``particle_id``.
    contacts
        ``particle_id, neighbour_id, area_um2``: surface of the first that faces the second.
    profiles
        ``particle_id, shell, depth_low, depth_high, voxel_count, crack_voxels``.
    cells
        Counts of voxels in cells.
    made_from
        Fingerprints of the labels and of the tomogram.
    variants
        Attributes with outlines and thresholds moved, tables one below the other with a column
        ``change``; empty unless requested.
    """

    name: str
    voxel_size_um: Spacing
    shape_zyx: Triple
    axis_to_collector: str | None
    particles: pd.DataFrame
    contacts: pd.DataFrame
    profiles: pd.DataFrame
    cells: Cells
    made_from: Mapping[str, str] = field(default_factory=dict)
    variants: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame({"change": pd.Series(dtype="str")})
    )


def measure_specimen(
    specimen: Specimen,
    params: AttributeParams,
    compute: TomoComputeParams,
    work: Path | None = None,
) -> Measurement:
    """Measure every particle of a labelled volume.

    Parameters
    ----------
    specimen
        Labels and what is known beside them.
    compute
        Who works on the blocks; the result does not depend on it, nor on the blocks.
    work
        Folder for what finished blocks returned: an interrupted run resumes from there. It
        belongs to this specimen and these settings alone. None: nothing is cached.

    Raises
    ------
    TomogramError
        If the labels cannot be measured: wrong type or shape, negative, not instances.
    """
    check_specimen(specimen)
    edge = compute.block_edge_vx
    blocks = list_blocks(specimen.shape_zyx, (edge, edge, edge))
    with _keep(work) as folder:
        sums = run_blocks(
            SumsTask(specimen, params.contact_gap_um),
            blocks,
            finished=Path(folder) / "sums",
            compute=compute,
            title=f"{specimen.name}: sums",
        )
        table = _join_sums(sums)
        _check_instances(specimen, table)
        task = _plan_cutouts(specimen, table, params, blocks)
        cut = run_blocks(
            task,
            blocks,
            finished=Path(folder) / "cutouts",
            compute=compute,
            title=f"{specimen.name}: particles",
        )
    particles, profiles = _join_cutouts(table, cut, params)
    _log.info("%s: %d particles measured", specimen.name, len(particles))
    return Measurement(
        name=specimen.name,
        voxel_size_um=specimen.voxel_size_um,
        shape_zyx=specimen.shape_zyx,
        axis_to_collector=specimen.axis_to_collector,
        particles=particles.assign(
            has_grey=specimen.grey is not None, has_cracks=specimen.cracks is not None
        ),
        contacts=_join_contacts(sums, specimen.voxel_size_um),
        profiles=profiles,
        cells=_join_cells(sums, blocks, specimen.shape_zyx),
    )


def _keep(work: Path | None) -> AbstractContextManager[Path | str]:
    return tempfile.TemporaryDirectory() if work is None else nullcontext(work)


def _join_sums(parts: Sequence[Part]) -> dict[str, NDArray[np.generic]]:
    """Add up blocks; ids ascend."""
    ids, place = np.unique(np.concatenate([part["label"] for part in parts]), return_inverse=True)
    table: dict[str, NDArray[np.generic]] = {"label": ids}
    for name in ("counts", "greys", "crossings", "solid_crossings"):
        rows = np.concatenate([part[name] for part in parts])
        total = np.zeros((len(ids), rows.shape[1]), dtype=rows.dtype)
        np.add.at(total, place, rows)
        table[name] = total
    rows = np.concatenate([part["box"] for part in parts])
    box = np.full((len(ids), 6), np.iinfo(np.int64).max)
    box[:, 3:] = 0
    np.minimum.at(box[:, :3], place, rows[:, :3])
    np.maximum.at(box[:, 3:], place, rows[:, 3:])
    table["box"] = box
    return table


def _check_instances(specimen: Specimen, table: Mapping[str, NDArray[np.generic]]) -> None:
    """Reject masks and phase maps: labels that span the volume, hold most of it, and are no bodies.

    A single particle in a tight volume spans it, too; but a network has far more surface.
    """
    voxels = np.asarray(table["counts"], dtype=np.int64)[:, 0]
    box = np.asarray(table["box"], dtype=np.int64)
    shape = np.array(specimen.shape_zyx)
    spans = ((box[:, :3] == 0) & (box[:, 3:] == shape)).sum(axis=1) >= 2
    surface = CroftonWeights.of(specimen.voxel_size_um).area(
        np.asarray(table["crossings"], dtype=np.int64)
    )
    volume = voxels * float(np.prod(specimen.voxel_size_um))
    is_body = (surface > 0) & (36 * np.pi * volume**2 >= _MIN_SPHERICITY * surface**3)
    networks = spans & ~is_body
    if voxels[networks].sum() > _SPAN_SHARE * voxels.sum():
        worst = table["label"][networks][np.argmax(voxels[networks])]
        raise TomogramError(
            f"sample {specimen.name}",
            found=f"{int(networks.sum())} of {len(voxels)} labels that reach from face to face of "
            f"the volume and fill it or branch like a network (label {worst} the largest)",
            expected="a label for each particle",
            action="a mask or a phase map must first be cut into particles: run tomo_segment, or "
            "label it by a watershed",
        )


def _plan_cutouts(
    specimen: Specimen,
    table: Mapping[str, NDArray[np.generic]],
    params: AttributeParams,
    blocks: Sequence[Block],
) -> CutoutTask:
    box = np.asarray(table["box"], dtype=np.int64)
    paper = params.preset == "paper"
    edge_um = float(np.cbrt(np.prod(specimen.voxel_size_um)))
    settings = CutoutSettings(
        closing_um=PAPER_CLOSING_VX * edge_um if paper else params.closing_um,
        tight=paper,
        roughness_um=params.roughness_um,
        profile_bins=params.profile_bins,
        crack_width=params.crack_width,
    )
    fits = np.prod(box[:, 3:] - box[:, :3], axis=1) <= params.max_cutout_vx
    if not fits.all():
        _log.warning(
            "%s: %d particles are larger than max_cutout_vx and are measured without filling",
            specimen.name, int((~fits).sum()),
        )  # fmt: skip
    block_edges = np.array(blocks[0].shape)
    numbers = -(-np.array(specimen.shape_zyx) // block_edges)
    cell = box[:, :3] // block_edges
    owner = (cell[:, 0] * numbers[1] + cell[:, 1]) * numbers[2] + cell[:, 2]
    return CutoutTask(
        specimen=specimen,
        ids=np.asarray(table["label"], dtype=np.int64),
        box=box,
        owner=np.where(fits, owner, -1),
        voxels=np.asarray(table["counts"], dtype=np.int64)[:, 0],
        settings=settings,
    )


def _join_cutouts(
    table: Mapping[str, NDArray[np.generic]], parts: Sequence[Part], params: AttributeParams
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bring sums and cut-outs into one table; a particle without a cut-out is its label alone."""
    ids = table["label"]
    joined = {
        name: np.concatenate([part[name] for part in parts])
        for name in ("row", "counts", "crossings", "rough", "shells", "width")
    }
    row = joined["row"].astype(np.int64)
    sums = table["counts"]
    counts = np.zeros((len(ids), len(cutout_kernels.COUNTS)), dtype=np.int64)
    counts[:, :12] = sums[:, [*range(10), 10, 12]]
    counts[:, cutout_kernels.COUNTS.index("closed")] = sums[:, 0]
    crossings = np.array(table["crossings"])
    rough = np.zeros((len(ids), len(cutout_kernels.ROUGHNESS)))
    width = np.full((len(ids), 2), np.nan)
    was_cut = np.zeros(len(ids), dtype=np.bool_)
    counts[row], crossings[row] = joined["counts"], joined["crossings"]
    rough[row], width[row], was_cut[row] = joined["rough"], joined["width"], True
    columns: dict[str, NDArray[np.generic]] = {"particle_id": ids.astype(np.int64)}
    columns |= {f"label_{name}": sums[:, n] for n, name in enumerate(block_sums.COUNTS)}
    columns |= {name: table["greys"][:, n] for n, name in enumerate(block_sums.GREYS)}
    columns |= {f"filled_{name}": counts[:, n] for n, name in enumerate(cutout_kernels.COUNTS)}
    columns |= {name: rough[:, n] for n, name in enumerate(cutout_kernels.ROUGHNESS)}
    for line in range(LINES):
        columns[f"filled_crossings_{line}"] = crossings[:, line]
        columns[f"label_crossings_{line}"] = table["crossings"][:, line]
        columns[f"solid_crossings_{line}"] = table["solid_crossings"][:, line]
    for axis, name in enumerate("zyx"):
        columns[f"{name}_start_vx"] = table["box"][:, axis]
        columns[f"{name}_stop_vx"] = table["box"][:, axis + 3]
    columns |= {"crack_width_mean_um": width[:, 0], "crack_width_max_um": width[:, 1]}
    columns["was_cut"] = was_cut
    return pd.DataFrame(columns), _list_shells(ids[row], joined["shells"], params.profile_bins)


def _list_shells(ids: NDArray[np.generic], shells: NDArray[np.generic], bins: int) -> pd.DataFrame:
    order = np.argsort(ids, kind="stable")
    number = np.tile(np.arange(bins), len(ids))
    return pd.DataFrame(
        {
            "particle_id": np.repeat(ids[order], bins).astype(np.int64),
            "shell": number,
            "depth_low": number / max(bins, 1),
            "depth_high": (number + 1) / max(bins, 1),
            "voxel_count": shells[order, 0].ravel().astype(np.int64),
            "crack_voxels": shells[order, 1].ravel().astype(np.int64),
        }
    )


def _join_contacts(parts: Sequence[Part], voxel_size_um: Spacing) -> pd.DataFrame:
    pairs, place = np.unique(
        np.concatenate([part["pair"] for part in parts]), axis=0, return_inverse=True
    )
    crossings = np.zeros((len(pairs), LINES), dtype=np.int64)
    np.add.at(crossings, place.ravel(), np.concatenate([part["pair_crossings"] for part in parts]))
    return pd.DataFrame(
        {
            "particle_id": pairs[:, 0].astype(np.int64),
            "neighbour_id": pairs[:, 1].astype(np.int64),
            "area_um2": CroftonWeights.of(voxel_size_um).area(crossings),
        }
    )


def _join_cells(parts: Sequence[Part], blocks: Sequence[Block], shape_zyx: Triple) -> Cells:
    size = [-(-n // CELL_VX) for n in shape_zyx]
    valid, filled = np.zeros(size, dtype=np.uint8), np.zeros(size, dtype=np.uint8)
    for part, block in zip(parts, blocks, strict=True):
        at = tuple(
            slice(a // CELL_VX, a // CELL_VX + n)
            for a, n in zip(block.start, part["valid"].shape, strict=True)
        )
        valid[at], filled[at] = part["valid"], part["filled"]
    return Cells((CELL_VX, CELL_VX, CELL_VX), valid, filled)
