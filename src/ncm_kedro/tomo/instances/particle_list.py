"""A row per labelled particle: place, size, border, and its uncertainty."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from numba import njit
from numpy.typing import NDArray

from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.tomo.instances.watershed_graph import measure_contacts, reduce_contacts
from ncm_kedro.tomo.volumes.blocks import Block, list_blocks, run_blocks
from ncm_kedro.tomo.volumes.volume import Volume

_SUMS = ("voxels", "z", "y", "x", "probability", "disagreement", "crack", "border")
_PEAKS = ("peak", "inner")
_BYTE = 255.0


@dataclass(frozen=True)
class _MeasureTask:
    """Sums, maxima and boxes of the particles in a block, and contacts between particles."""

    labels: zarr.Array
    probability: zarr.Array
    extras: Mapping[str, zarr.Array]  # distance, disagreement, cracks, field_of_view; none needed

    def __call__(self, block: Block) -> dict[str, NDArray[np.generic]]:
        shape = self.labels.shape
        outer = block.grow(1, shape)
        inner = block.within(outer)
        labels = np.asarray(self.labels[outer.region])
        probability = np.asarray(self.probability[outer.region])
        maps = {name: np.asarray(array[outer.region]) for name, array in self.extras.items()}
        zeros = np.zeros(labels.shape, dtype=np.uint8)
        distance = maps.get("distance", zeros)
        here = labels[inner]
        present = np.unique(here)
        local = np.searchsorted(present, here)
        origin = np.array(block.start, dtype=np.int64)
        sums, peaks, box = _add_up(
            local, len(present), origin, probability[inner], distance[inner],
            maps.get("disagreement", zeros)[inner], maps.get("cracks", zeros)[inner],
            _find_edges(maps.get("field_of_view"), outer, shape)[inner],
        )  # fmt: skip
        upper = tuple(slice(cut.start, None) for cut in inner)
        contacts = measure_contacts(labels[upper], probability[upper], distance[upper], block.shape)
        keep = present > 0
        return {
            "label": present[keep], "sums": sums[keep], "peaks": peaks[keep], "box": box[keep],
            "contact": contacts,
        }  # fmt: skip


def list_particles(
    labels: Volume, volume: Volume, probability: Volume, compute: TomoComputeParams
) -> pd.DataFrame:
    """List the particles of a volume.

    Parameters
    ----------
    labels
        Labels, with the extra ``cracks`` where there is one.
    volume
        Grey values; its extra ``field_of_view`` says where the volume ends.
    probability
        Fused probability, with the extras ``distance`` and ``disagreement`` where there are.
    compute
        Who works on the blocks; the list does not depend on it.

    Returns
    -------
    pandas.DataFrame
        A row per particle, ascending ``particle_id``: ``z_um, y_um, x_um`` of the centroid,
        counted from the volume's first corner; ``z_start_vx`` to ``x_stop_vx``, the bounding box
        (stop is one past the last voxel); ``voxel_count, volume_um3, equivalent_diameter_um``;
        ``touches_border``: has a voxel at a face of the volume or beside the edge of the field of
        view; ``probability`` and ``disagreement``, means over the particle (0 to 1);
        ``crack_fraction`` of its voxels; ``neck_uncertainty``: how nearly it was joined to a
        touching particle, 0 to 1:
        probability on the contact over the lower of the two peaks, the highest
        of its contacts; ``inner_radius_um``, the largest fused distance to the outline;
        ``contrast``, what the grey values were taken for: ``bright`` or ``dark`` particles, or
        ``phases``.
    """
    extras = {
        **{name: probability.extras[name] for name in ("distance", "disagreement")
           if name in probability.extras},
        **{name: labels.extras[name] for name in ("cracks",) if name in labels.extras},
        **{name: volume.extras[name] for name in ("field_of_view",) if name in volume.extras},
    }  # fmt: skip
    edge = compute.block_edge_vx
    blocks = list_blocks(labels.shape_zyx, (edge, edge, edge))
    task = _MeasureTask(labels.array, probability.array, extras)
    with tempfile.TemporaryDirectory() as folder:
        parts = run_blocks(
            task, blocks, finished=Path(folder), compute=compute, title=f"{labels.name}: measure"
        )
    step_um = float(probability.attributes.get("distance_step_um", np.nan))
    table = _tabulate(parts, labels.voxel_size_um, step_um)
    return table.assign(contrast=str(probability.attributes.get("contrast", "bright")))


def _tabulate(
    parts: Sequence[Mapping[str, NDArray[np.generic]]],
    voxel_size_um: tuple[float, float, float],
    step_um: float,
) -> pd.DataFrame:
    ids, place = np.unique(np.concatenate([part["label"] for part in parts]), return_inverse=True)
    sums = np.zeros((len(ids), len(_SUMS)), np.int64)
    peaks = np.zeros((len(ids), len(_PEAKS)), np.int64)
    low = np.full((len(ids), 3), np.iinfo(np.int64).max)
    high = np.zeros((len(ids), 3), np.int64)
    box = np.concatenate([part["box"] for part in parts])
    np.add.at(sums, place, np.concatenate([part["sums"] for part in parts]))
    np.maximum.at(peaks, place, np.concatenate([part["peaks"] for part in parts]))
    np.minimum.at(low, place, box[:, :3])
    np.maximum.at(high, place, box[:, 3:])
    total = dict(zip(_SUMS, sums.T, strict=True))
    voxels = total["voxels"]
    volume_um3 = voxels * float(np.prod(voxel_size_um))
    columns: dict[str, NDArray[np.generic]] = {"particle_id": ids.astype(np.int64)}
    for name, edge_um in zip("zyx", voxel_size_um, strict=True):
        columns[f"{name}_um"] = (total[name] / voxels + 0.5) * edge_um
    for axis, name in enumerate("zyx"):
        columns[f"{name}_start_vx"] = low[:, axis]
        columns[f"{name}_stop_vx"] = high[:, axis]
    columns |= {
        "voxel_count": voxels,
        "volume_um3": volume_um3,
        "equivalent_diameter_um": np.cbrt(6 * volume_um3 / np.pi),
        "touches_border": total["border"] > 0,
        "probability": total["probability"] / voxels / _BYTE,
        "disagreement": total["disagreement"] / voxels / _BYTE,
        "crack_fraction": total["crack"] / voxels,
        "neck_uncertainty": _measure_neck_uncertainty(
            ids, peaks[:, 0], [part["contact"] for part in parts]
        ),
        "inner_radius_um": peaks[:, 1] * step_um,
    }
    return pd.DataFrame(columns)


def _measure_neck_uncertainty(
    ids: NDArray[np.generic], peak: NDArray[np.int64], parts: Sequence[NDArray[np.generic]]
) -> NDArray[np.float64]:
    doubt = np.zeros(len(ids))
    contacts = reduce_contacts(parts)
    first, second = (np.searchsorted(ids, contacts[:, column]) for column in (0, 1))
    lower = np.maximum(np.minimum(peak[first], peak[second]), 1)
    share = np.clip(contacts[:, 2] / lower, 0, 1)
    np.maximum.at(doubt, first, share)
    np.maximum.at(doubt, second, share)
    return doubt


def _find_edges(
    view: NDArray[np.uint8] | None, outer: Block, shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Mark voxels at the volume's faces and beside the edge of the field of view."""
    edge = np.zeros(outer.shape, dtype=np.uint8)
    for axis in range(3):
        ahead = np.moveaxis(edge, axis, 0)
        if outer.start[axis] == 0:
            ahead[0] = 1
        if outer.stop[axis] == shape[axis]:
            ahead[-1] = 1
        if view is not None:
            seen = np.moveaxis(view, axis, 0)
            ahead[1:][seen[:-1] == 0] = 1
            ahead[:-1][seen[1:] == 0] = 1
    return edge


@njit(cache=True, nogil=True)
def _add_up(  # noqa: PLR0917  (numba takes positions)
    local: NDArray[Any],
    labels: int,
    origin: NDArray[Any],
    probability: NDArray[Any],
    distance: NDArray[Any],
    disagreement: NDArray[Any],
    crack: NDArray[Any],
    edge: NDArray[Any],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    sums = np.zeros((labels, 8), dtype=np.int64)
    peaks = np.zeros((labels, 2), dtype=np.int64)
    box = np.zeros((labels, 6), dtype=np.int64)
    depth, rows, columns = local.shape
    for z in range(depth):
        for y in range(rows):
            for x in range(columns):
                at = local[z, y, x]
                here = (z + origin[0], y + origin[1], x + origin[2])
                for axis in range(3):
                    if sums[at, 0] == 0 or here[axis] < box[at, axis]:
                        box[at, axis] = here[axis]
                    if sums[at, 0] == 0 or here[axis] + 1 > box[at, axis + 3]:
                        box[at, axis + 3] = here[axis] + 1
                    sums[at, 1 + axis] += here[axis]
                sums[at, 0] += 1
                sums[at, 4] += probability[z, y, x]
                sums[at, 5] += disagreement[z, y, x]
                sums[at, 6] += crack[z, y, x] > 0
                sums[at, 7] += edge[z, y, x]
                peaks[at, 0] = max(peaks[at, 0], probability[z, y, x])
                peaks[at, 1] = max(peaks[at, 1], distance[z, y, x])
    return sums, peaks, box
