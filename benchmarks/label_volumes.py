"""Label volumes of any size for benchmarks, written to Zarr block by block.

Ellipsoids stand on a disturbed lattice, some touching; where two would overlap, a voxel goes to
the one whose surface is relatively farther out. Each has a void and a crack that opens to the
outside. The crack of every other particle carries its label and is marked like the void; that of
the others is background between its walls, as a segmentation that follows grey values leaves it.
A voxel depends on the plan and its own position alone: block size and workers change nothing.

    python benchmarks/label_volumes.py [--shape 256 256 256] [--particles 25 | --diameter 85]
        [--workers 2] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numba import njit
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from zarr.codecs import BloscCodec, Crc32cCodec

from ncm_kedro.tomo.volumes.blocks import Block, list_blocks
from ncm_kedro.tomo.volumes.volume import Triple

SHARD, CHUNK = 128, 64
SOLID, CRACK, PORE, NOISE = 160, 70, 50, 12
_FILL = 1.05
"""Mean diameter as a share of the lattice's shortest pitch: neighbours touch here and there."""


@dataclass(frozen=True)
class Plan:
    """Where the particles are; particle n has the label n + 1.

    Attributes
    ----------
    centre_vx
        (N, 3), in voxels from the centre of the first voxel, z, y, x.
    half_vx
        (N, 3), half axes.
    turn
        (N, 3, 3), from the volume's axes to the particle's own.
    void
        (N, 4), centre and radius of the void in units of the half axes.
    crack
        (N, 3): place and half width of the crack along the second axis (in units of the half
        axis), and where it ends along the first.
    seed
        Of the grey values.
    """

    centre_vx: NDArray[np.float64]
    half_vx: NDArray[np.float64]
    turn: NDArray[np.float64]
    void: NDArray[np.float64]
    crack: NDArray[np.float64]
    seed: int


@dataclass(frozen=True)
class LabelVolume:
    """Arrays on disk, (Z, Y, X): labels uint32; grey and cracks uint8."""

    labels: zarr.Array
    grey: zarr.Array
    cracks: zarr.Array


def count_particles(shape_zyx: Triple, diameter_vx: float) -> int:
    """Return how many particles of a mean diameter a volume holds."""
    return max(1, round(float(np.prod([n * _FILL / diameter_vx for n in shape_zyx]))))


def plan_particles(shape_zyx: Triple, particles: int, seed: int = 0) -> Plan:
    """Place particles on the lattice whose number of places comes closest to the one asked for."""
    rng = np.random.default_rng(seed)
    places = _divide(shape_zyx, particles)
    pitch = np.array(shape_zyx) / places
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in places), indexing="ij"), axis=-1)
    count = int(np.prod(places))
    moved = rng.uniform(-0.08, 0.08, (count, 3))
    centre = (grid.reshape(-1, 3) + 0.5 + moved) * pitch - 0.5
    size = rng.uniform(0.85, 1.15, (count, 1)) * rng.uniform(0.88, 1.12, (count, 3))
    half = 0.5 * _FILL * pitch.min() * size
    void = np.concatenate(
        [rng.uniform(-0.3, 0.3, (count, 3)), rng.uniform(0.15, 0.35, (count, 1))], axis=1
    )
    width = np.maximum(1.0, 0.02 * half[:, 1]) / half[:, 1]
    crack = np.stack([rng.uniform(-0.5, 0.5, count), width, rng.uniform(0, 0.6, count)], axis=1)
    turn = Rotation.random(count, rng=rng).as_matrix()
    return Plan(centre, half, turn, void, crack, seed)


def _divide(shape_zyx: Triple, particles: int) -> NDArray[np.int64]:
    """Divide the axes so that the cells are nearly cubes and nearly as many as asked for."""
    pitch = (np.prod(np.array(shape_zyx, dtype=float)) / particles) ** (1 / 3)
    near = [{max(1, int(n / pitch) + step) for step in (-1, 0, 1, 2)} for n in shape_zyx]

    def evaluate(places: tuple[int, ...]) -> float:
        edges = np.array(shape_zyx) / places
        return float(
            abs(np.log(np.prod(places) / particles)) + 0.5 * np.log(edges.max() / edges.min())
        )

    return np.array(min(product(*near), key=evaluate), dtype=np.int64)


def write_volume(folder: Path, shape_zyx: Triple, plan: Plan, workers: int = 2) -> LabelVolume:
    """Write labels, grey values and cracks below a folder, a shard at a time."""
    arrays = {
        name: zarr.create_array(
            folder / name,
            shape=shape_zyx,
            dtype=kind,
            chunks=(CHUNK,) * 3,
            shards=(SHARD,) * 3,
            compressors=[BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), Crc32cCodec()],
            fill_value=0,
        )
        for name, kind in (("labels", np.uint32), ("grey", np.uint8), ("cracks", np.uint8))
    }
    volume = LabelVolume(**arrays)
    reach = plan.half_vx.max(axis=1)[:, None]
    low, high = plan.centre_vx - reach, plan.centre_vx + reach

    def write(block: Block) -> None:
        inside = (low < block.stop).all(axis=1) & (high > np.array(block.start) - 1).all(axis=1)
        labels, grey, cracks = paint_block(plan, block, np.flatnonzero(inside))
        volume.labels[block.region] = labels
        volume.grey[block.region] = grey
        volume.cracks[block.region] = cracks

    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(write, list_blocks(shape_zyx, (SHARD,) * 3)):
            pass
    return volume


def paint_block(
    plan: Plan, block: Block, chosen: NDArray[np.intp]
) -> tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return labels, grey values and cracks of a block.

    Parameters
    ----------
    plan
        All particles.
    block
        Where.
    chosen
        Rows of the particles that may reach into the block, ascending.
    """
    labels = np.zeros(block.shape, dtype=np.uint32)
    cracks = np.zeros(block.shape, dtype=np.uint8)
    nearest = np.ones(block.shape, dtype=np.float64)
    origin = np.array(block.start, dtype=np.int64)
    _paint(plan.centre_vx, plan.half_vx, plan.turn, plan.void, plan.crack, chosen, origin,
           nearest, labels, cracks)  # fmt: skip
    grey = np.empty(block.shape, dtype=np.uint8)
    _colour(labels, cracks, origin, np.uint64(plan.seed), grey)
    cracks[labels == 0] = 0
    return labels, grey, cracks


@njit(nogil=True)
def _paint(  # noqa: PLR0917  (numba takes positions)
    centre: NDArray[Any],
    half: NDArray[Any],
    turn: NDArray[Any],
    void: NDArray[Any],
    crack: NDArray[Any],
    chosen: NDArray[Any],
    origin: NDArray[Any],
    nearest: NDArray[Any],
    labels: NDArray[Any],
    cracks: NDArray[Any],
) -> None:
    """Paint particles one after the other; ``cracks`` is 1 in voids and cracks of any kind."""
    shape = labels.shape
    for n in chosen:
        reach = half[n].max()
        low, high = np.empty(3, dtype=np.int64), np.empty(3, dtype=np.int64)
        for axis in range(3):
            low[axis] = max(0, int(np.floor(centre[n, axis] - reach)) - origin[axis])
            high[axis] = min(shape[axis], int(np.ceil(centre[n, axis] + reach)) + 1 - origin[axis])
        for z in range(low[0], high[0]):
            dz = z + origin[0] - centre[n, 0]
            for y in range(low[1], high[1]):
                dy = y + origin[1] - centre[n, 1]
                for x in range(low[2], high[2]):
                    dx = x + origin[2] - centre[n, 2]
                    a = (turn[n, 0, 0] * dz + turn[n, 0, 1] * dy + turn[n, 0, 2] * dx) / half[n, 0]
                    b = (turn[n, 1, 0] * dz + turn[n, 1, 1] * dy + turn[n, 1, 2] * dx) / half[n, 1]
                    c = (turn[n, 2, 0] * dz + turn[n, 2, 1] * dy + turn[n, 2, 2] * dx) / half[n, 2]
                    square = a * a + b * b + c * c
                    if square >= nearest[z, y, x]:
                        continue
                    nearest[z, y, x] = square
                    open_crack = abs(b - crack[n, 0]) < crack[n, 1] and a > crack[n, 2]
                    aside = (a - void[n, 0]) ** 2 + (b - void[n, 1]) ** 2 + (c - void[n, 2]) ** 2
                    cracks[z, y, x] = open_crack or aside < void[n, 3] ** 2
                    labels[z, y, x] = 0 if open_crack and n % 2 else n + 1


@njit(nogil=True)
def _colour(
    labels: NDArray[Any],
    cracks: NDArray[Any],
    origin: NDArray[Any],
    seed: np.uint64,
    grey: NDArray[Any],
) -> None:
    """Give solid, cracks and pores their grey values, with noise that hangs on the position."""
    depth, rows, columns = labels.shape
    for z in range(depth):
        for y in range(rows):
            for x in range(columns):
                value = PORE
                if cracks[z, y, x]:
                    value = CRACK
                elif labels[z, y, x]:
                    value = SOLID
                key = np.uint64(z + origin[0]) << np.uint64(42)
                key |= np.uint64(y + origin[1]) << np.uint64(21)
                key |= np.uint64(x + origin[2])
                key = (key ^ (seed * np.uint64(0xD6E8FEB86659FD93))) * np.uint64(0x9E3779B97F4A7C15)
                key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
                key ^= key >> np.uint64(27)
                # four bytes added up are near a normal distribution of standard deviation 148
                total = 0
                for part in range(4):
                    total += np.int64((key >> np.uint64(8 * part + 16)) & np.uint64(255))
                grey[z, y, x] = value + (total - 510) * NOISE // 148


def main() -> None:
    """Write a volume; print how long it took and what it holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=[256, 256, 256], help="z y x")
    parser.add_argument("--particles", type=int, help="about how many")
    parser.add_argument("--diameter", type=float, default=85.0, help="of a particle (voxels)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    settings = parser.parse_args()
    depth, height, width = settings.shape
    shape = (depth, height, width)
    count = settings.particles or count_particles(shape, settings.diameter)
    plan = plan_particles(shape, count, settings.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = settings.folder or Path(temporary)
        started = time.perf_counter()
        volume = write_volume(folder, shape, plan, settings.workers)
        seconds = time.perf_counter() - started
        middle = np.asarray(volume.labels[depth // 2])
        stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(
        f"{len(plan.centre_vx)} particles in {np.prod(shape) / 1e6:.0f} Mvoxel, "
        f"{(middle > 0).mean():.0%} of the middle slice: {seconds:.1f} s, {stored / 1e9:.2f} GB"
    )


if __name__ == "__main__":
    main()
