"""Volumes of known particles, with the maps that a perfect network would give."""

from dataclasses import dataclass, field
from pathlib import Path

import edt
import numpy as np
import zarr

from ncm_kedro.params.tomo_segment import TomoComputeParams, TomoInstanceParams
from ncm_kedro.tomo.instances.instances import plan_labels
from ncm_kedro.tomo.volumes.volume import Volume, VolumeTarget

STEP_UM = 0.25


@dataclass(frozen=True)
class RawArray:
    """A raw tomogram in memory."""

    values: np.ndarray
    voxel_size_um: tuple = (0.1, 0.1, 0.1)
    name: str = "s"
    source: str = "s.tif"
    voxel_size_source: str = "test"
    attributes: dict = field(default_factory=lambda: {"cycles": 10})
    fingerprint: str = "f"

    @property
    def shape_zyx(self):
        return self.values.shape

    @property
    def dtype(self):
        return self.values.dtype

    def read(self, region):
        return self.values[region]


def draw_balls(shape, centres, radii):
    labels = np.zeros(shape, np.uint32)
    grid = np.indices(shape, dtype=np.float32)
    for number, (centre, radius) in enumerate(zip(centres, radii, strict=True), start=1):
        away = ((grid - np.reshape(centre, (3, 1, 1, 1))) ** 2).sum(axis=0)
        labels[(away <= radius**2) & (labels == 0)] = number
    return labels


def pack_balls(edge, count, radius):
    """Balls of one radius on a close-packed lattice, each touching up to twelve others."""
    rows = []
    pitch = 2 * radius
    heights = np.arange(radius + 2, edge - radius - 2, pitch * np.sqrt(2 / 3))
    for layer, z in enumerate(heights):
        for row, y in enumerate(
            np.arange(radius + 2, edge - radius - 2 - radius, pitch * np.sqrt(3) / 2)
        ):
            shift = radius * ((row + layer) % 2)
            xs = np.arange(radius + 2 + shift, edge - radius - 2, pitch)
            rows += [(z, y + (layer % 2) * radius / np.sqrt(3), x) for x in xs]
    if len(rows) < count:
        raise ValueError(f"only {len(rows)} balls fit")
    return rows[:count]


def perfect_maps(labels, voxel_um=1.0):
    """Mean over three directions of the normalised and of the plain distance in each section."""
    prob, dist = (np.zeros(labels.shape, np.float32) for _ in range(2))
    for axis in range(3):
        sections, p, d = (np.moveaxis(array, axis, 0) for array in (labels, prob, dist))
        for at, section in enumerate(sections):
            depth = edt.edt(np.ascontiguousarray(section))
            peak = np.full(int(labels.max()) + 1, 1e-9, np.float32)
            np.maximum.at(peak, section.ravel(), depth.ravel())
            p[at] += np.where(section > 0, depth / peak[section], 0) / 3
            d[at] += depth * voxel_um / 3
    return (
        np.rint(prob * 255).astype(np.uint8),
        np.clip(np.rint(dist / STEP_UM), 0, 255).astype(np.uint8),
    )


def store_volume(folder: Path, array, *, extras=None, attributes=None, voxel_um=(1.0, 1.0, 1.0)):
    def store(name, values):
        chunks = tuple(min(32, n) for n in values.shape)
        made = zarr.create_array(
            folder / name, shape=values.shape, chunks=chunks, dtype=values.dtype
        )
        made[:] = values
        return made

    main = store("main", array)
    others = {name: store(name, values) for name, values in (extras or {}).items()}
    known = {"fingerprint": folder.name, **(attributes or {})}
    return Volume("sample", folder, main, (main,), voxel_um, others, known)


def store_case(folder: Path, grey, prob, dist, *, view=None, voxel_um=(1.0, 1.0, 1.0)):
    volume = store_volume(
        folder / "grey", grey, extras={} if view is None else {"field_of_view": view},
        voxel_um=voxel_um,
    )  # fmt: skip
    probability = store_volume(
        folder / "probability", prob, extras={"distance": dist},
        attributes={"distance_step_um": STEP_UM, "made_from": {"tomogram": volume.fingerprint}},
        voxel_um=voxel_um,
    )  # fmt: skip
    return volume, probability


def open_target(folder: Path, shape, edge):
    chunks = tuple(min(edge, n) for n in shape)
    arrays = [
        zarr.create_array(folder / name, shape=shape, chunks=chunks, dtype=dtype)
        for name, dtype in (("labels", np.uint32), ("cracks", np.uint8))
    ]
    (folder / "work").mkdir()
    return VolumeTarget(arrays[0], {"cracks": arrays[1]}, folder / "work")


def run_labels(folder: Path, case, params=None, *, edge=128, workers=2):
    """Labels and cracks as arrays."""
    compute = TomoComputeParams(workers=workers, block_edge_vx=edge)
    plan = plan_labels(*case, params or TomoInstanceParams(), compute)
    target = open_target(folder, plan.shape_zyx, edge)
    plan.write(target)
    return np.asarray(target.array[:]), np.asarray(target.extras["cracks"][:])
