"""Writing phantom tomograms as a user would lay down real ones, with their truth elsewhere.

Layout::

    <folder>/<sample>.tif             uint8 (Z, Y, X), OME-TIFF with the voxel size
    <folder>/<sample>.yml             voxel size, cycles, rate, where the collector lies
    <truth>/<sample>_labels.tif       uint32, 0 background
    <truth>/<sample>_cracks.tif       uint8, 1 in voids and cracks
    <truth>/<sample>_particles.parquet, <sample>_contacts.parquet
    <truth>/<sample>.json             record: digest of the settings, and whether all is there

The record says that a sample is finished; it is written as unfinished before the first file is
replaced and as finished after the last one, so that a run that was killed is made good by the
next, and a sample of the same settings is not rendered again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from tqdm import tqdm

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.errors import StoreError
from ncm_kedro.params.tomo_phantoms import TomoPhantomParams

if TYPE_CHECKING:
    from ncm_kedro.synthetic.tomo.scene import Scene

HALO_VX = 12
"""Slices beyond a slab that imaging looks at."""


@dataclass(frozen=True)
class Slab:
    """Finished slices of a phantom.

    Attributes
    ----------
    start
        First slice, along z.
    grey_zyx
        (D, Y, X) uint8, the tomogram.
    labels_zyx
        (D, Y, X) uint32, 0 background, else the particle's number; filled, cracks included.
    cracks_zyx
        (D, Y, X) uint8, 1 in voids and cracks, which lie within labels.
    """

    start: int
    grey_zyx: NDArray[np.uint8]
    labels_zyx: NDArray[np.uint32]
    cracks_zyx: NDArray[np.uint8]


@dataclass
class ParticleCount:
    """What has been counted of each particle so far, (N + 1,) each; entry 0 is background."""

    voxels: NDArray[np.int64]
    crack_voxels: NDArray[np.int64]
    touches_border: NDArray[np.bool_]


def make_scene(name: str, params: TomoPhantomParams) -> Scene:
    """Build the scene of a sample; it depends on the sample's name, settings and the seed."""
    from ncm_kedro.synthetic.tomo.scene import build_scene

    rng = np.random.default_rng([params.seed, zlib.crc32(name.encode())])
    return build_scene(rng, params.samples[name], params)


def iter_slabs(
    scene: Scene, params: TomoPhantomParams, count: ParticleCount | None = None
) -> Iterator[Slab]:
    """Render a phantom from low z to high z, a slab at a time.

    Parameters
    ----------
    params
        Shape, voxel size, imaging; the result does not depend on ``slab_vx``.

    Yields
    ------
    Slab
        ``slab_vx`` slices, the last one may be thinner.
    """
    from ncm_kedro.synthetic.tomo.imaging import (
        assign_materials,
        draw_view,
        image_slab,
        render_scene,
    )

    depth, height, width = params.shape_zyx
    inside = draw_view((height, width), params.imaging)
    size = params.voxel_size_um
    for start in range(0, depth, params.slab_vx):
        stop = min(start + params.slab_vx, depth)
        low, high = max(0, start - HALO_VX), min(depth, stop + HALO_VX)
        rendering = render_scene(
            scene, (low * size, 0.0, 0.0), (size, size, size), (high - low, height, width)
        )
        painted = assign_materials(scene, rendering, low, size)
        own = slice(start - low, stop - low)
        grey = image_slab(scene.seed, painted, low, own, (params.imaging, inside))
        labels = rendering.labels_zyx[own] * inside
        cracks = rendering.cracks_zyx[own] * inside
        slab = Slab(start, grey, labels.astype(np.uint32), cracks.astype(np.uint8))
        if count is not None:
            _count_particles(count, slab, inside, depth)
        yield slab


def start_count(scene: Scene) -> ParticleCount:
    """Return counts of zero for every particle of a scene."""
    size = scene.diameter_um.size + 1
    return ParticleCount(np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros(size, bool))


def tabulate_truth(
    name: str, scene: Scene, count: ParticleCount, params: TomoPhantomParams
) -> pd.DataFrame:
    """Make the table of what is known of each particle.

    Returns
    -------
    DataFrame
        A row per particle with at least one voxel: ``sample, particle_id`` (the label),
        ``x_um, y_um, z_um`` of the centre, ``diameter_um, elongation, contact_neighbours,
        depth_um, simulated_damage, damage`` (crack over filled voxels), ``voxel_count,
        crack_voxels, touches_border, noise_1...``.
    """
    number = np.flatnonzero(count.voxels[1:]) + 1
    index = number - 1
    voxels, cracks = count.voxels[number], count.crack_voxels[number]
    centre = scene.solids.centre_um[index]
    table = pd.DataFrame(
        {
            "sample": name,
            "particle_id": number.astype(np.int64),
            "x_um": centre[:, 2],
            "y_um": centre[:, 1],
            "z_um": centre[:, 0],
            "diameter_um": scene.diameter_um[index],
            "elongation": scene.elongation[index],
            "contact_neighbours": scene.contact_neighbours[index].astype(np.int64),
            "depth_um": scene.depth_um[index],
            "simulated_damage": scene.simulated_damage[index],
            "damage": cracks / voxels,
            "voxel_count": voxels,
            "crack_voxels": cracks,
            "touches_border": count.touches_border[number],
        }
    )
    rng = np.random.default_rng([params.seed, scene.seed, 1])
    for column in range(1, params.law.noise_columns + 1):
        table[f"noise_{column}"] = rng.standard_normal(scene.diameter_um.size)[index]
    return table


def _count_particles(
    count: ParticleCount, slab: Slab, inside_yx: NDArray[np.bool_], depth: int
) -> None:
    size = count.voxels.size
    labels = slab.labels_zyx
    count.voxels += np.bincount(labels.ravel(), minlength=size)
    count.crack_voxels += np.bincount(labels[slab.cracks_zyx > 0], minlength=size)
    edge = np.zeros_like(inside_yx)
    edge[[0, -1]] = True
    edge[:, [0, -1]] = True
    edge[1:] |= ~inside_yx[:-1]
    edge[:-1] |= ~inside_yx[1:]
    edge[:, 1:] |= ~inside_yx[:, :-1]
    edge[:, :-1] |= ~inside_yx[:, 1:]
    count.touches_border[np.unique(labels[:, edge])] = True
    if slab.start == 0:
        count.touches_border[np.unique(labels[0])] = True
    if slab.start + len(labels) == depth:
        count.touches_border[np.unique(labels[-1])] = True


VERSION = 1
"""Raised when the same settings give another phantom."""

_BIG_BYTES = 2**31
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhantomPlan:
    """A sample that is yet to be rendered.

    Attributes
    ----------
    name
        The sample.
    params
        Settings of the whole set, which the sample is part of.
    """

    name: str
    params: TomoPhantomParams

    @property
    def digest(self) -> str:
        """Changes with every setting that changes this sample."""
        settings = self.params.model_dump(mode="json", exclude={"samples", "slab_vx"})
        settings["sample"] = self.params.samples[self.name].model_dump(mode="json")
        text = json.dumps([VERSION, self.name, settings], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def plan_phantoms(params: TomoPhantomParams) -> list[PhantomPlan]:
    """List the samples of a set; nothing is rendered before it is written."""
    return [PhantomPlan(name, params) for name in params.samples]


def list_files(name: str, folder: Path, truth: Path) -> list[Path]:
    """Return where the files of a sample go, the record excepted."""
    return [
        folder / f"{name}.tif",
        folder / f"{name}.yml",
        truth / f"{name}_labels.tif",
        truth / f"{name}_cracks.tif",
        truth / f"{name}_particles.parquet",
        truth / f"{name}_contacts.parquet",
    ]


def write_phantom(plan: PhantomPlan, folder: Path, truth: Path) -> bool:
    """Render a sample and write it, unless it is there already.

    Parameters
    ----------
    truth
        Of what is known; must not lie within `folder`.

    Returns
    -------
    bool
        Whether anything was written.

    Raises
    ------
    StoreError
        If the sample's file was not written by this package, or cannot be written.
    """
    files = list_files(plan.name, folder, truth)
    record = truth / f"{plan.name}.json"
    known = _read_record(record)
    if known.get("finished") and known.get("digest") == plan.digest:
        if all(path.is_file() for path in files):
            logger.info("phantom %s is there already", plan.name)
            return False
    unrelated = [path for path in files[:2] if path.exists()]
    if unrelated and not known:
        raise StoreError(
            unrelated[0],
            found="a tomogram that this pipeline did not write",
            expected="no file of that name, or a phantom",
            action="move it away, or give the phantom another name in its parameters",
        )
    try:
        _render_and_place(plan, files, record)
    except OSError as error:
        raise StoreError(
            error.filename or folder,
            found=os.strerror(error.errno) if error.errno else str(error),
            expected="a place with room that can be written to",
            action="free space or choose another folder, then start again",
        ) from error
    return True


def _render_and_place(plan: PhantomPlan, files: list[Path], record: Path) -> None:
    for parent in {path.parent for path in files}:
        parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{plan.name}.", dir=record.parent))
    try:
        _render(plan, draft)
        _write_record(record, {"digest": plan.digest, "finished": False})
        for path in files:
            (draft / path.name).replace(path)
        _write_record(record, {"digest": plan.digest, "finished": True})
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _render(plan: PhantomPlan, draft: Path) -> None:
    """Write all files of a sample into a draft folder, holding one slab in memory."""
    params, name = plan.params, plan.name
    scene = make_scene(name, params)
    count = start_count(scene)
    arrays = {
        kind: np.lib.format.open_memmap(
            draft / f"{kind}.npy", mode="w+", dtype=dtype, shape=params.shape_zyx
        )
        for kind, dtype in (("grey", np.uint8), ("labels", np.uint32), ("cracks", np.uint8))
    }
    total = -(-params.shape_zyx[0] // params.slab_vx)
    slabs = iter_slabs(scene, params, count)
    for slab in tqdm(slabs, desc=f"phantom {name}", total=total, unit="slab", disable=None):
        own = slice(slab.start, slab.start + len(slab.grey_zyx))
        arrays["grey"][own] = slab.grey_zyx
        arrays["labels"][own] = slab.labels_zyx
        arrays["cracks"][own] = slab.cracks_zyx
    size = params.voxel_size_um
    _write_tiff(draft / f"{name}.tif", arrays["grey"], size, compress=False)
    _write_tiff(draft / f"{name}_labels.tif", arrays["labels"], size, compress=True)
    _write_tiff(draft / f"{name}_cracks.tif", arrays["cracks"], size, compress=True)
    _write_tables(plan, draft, tabulate_truth(name, scene, count, params), (scene.contacts, count))
    sample = params.samples[name]
    about = {
        "voxel_size_um": [size] * 3,
        "cycles": sample.cycles,
        "c_rate": sample.c_rate,
        "axis_to_collector": "-z",
    }
    (draft / f"{name}.yml").write_text(yaml.safe_dump(about, sort_keys=False))


def _write_tables(
    plan: PhantomPlan,
    draft: Path,
    particles: pd.DataFrame,
    known: tuple[NDArray[np.int64], ParticleCount],
) -> None:
    """Write the particles, and the touching pairs among those that the volume shows."""
    contacts, count = known
    particles.to_parquet(draft / f"{plan.name}_particles.parquet", index=False)
    pairs = contacts + 1
    pairs = pairs[(count.voxels[pairs] > 0).all(axis=1)]
    table = pd.DataFrame({"particle_id": pairs[:, 0], "other_id": pairs[:, 1]})
    table.to_parquet(draft / f"{plan.name}_contacts.parquet", index=False)


def _write_tiff(
    path: Path, array_zyx: NDArray[Any], voxel_size_um: float, *, compress: bool
) -> None:
    import tifffile

    metadata = {"axes": "ZYX"} | {
        key: value
        for axis in "XYZ"
        for key, value in (
            (f"PhysicalSize{axis}", voxel_size_um),
            (f"PhysicalSize{axis}Unit", "µm"),
        )
    }
    tifffile.imwrite(
        path,
        iter(array_zyx),
        shape=array_zyx.shape,
        dtype=array_zyx.dtype,
        bigtiff=array_zyx.nbytes > _BIG_BYTES,
        ome=True,
        compression="zlib" if compress else None,
        metadata=metadata,
    )


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _write_record(path: Path, record: dict[str, Any]) -> None:
    write_atomic(path, json.dumps(record).encode())
