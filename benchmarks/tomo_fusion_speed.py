"""Three fused directions against StarDist's own prediction, slice by slice, on the same volume.

Each method runs in a process of its own, one after the other within the same minutes, so that the
peak of memory is its own. StarDist predicts instances on every slice of three directions at full
resolution, as the authors of the method do (Li et al. 2022); to save time it may be timed on every
n-th slice of each direction and projected, and says so.

    python benchmarks/tomo_fusion_speed.py --detector FOLDER [--shape 256 256 256] [--diameter 140]
        [--workers 2] [--every 16] [--fusion-only]
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from ncm_kedro.params.tomo_segment import TomoComputeParams, TomoFusionParams
from ncm_kedro.tomo.detector.detector import load_detector
from ncm_kedro.tomo.fusion.fusion import plan_probability
from ncm_kedro.tomo.volumes.volume import Volume, VolumeTarget

VOXEL_UM = 0.07
EDGE = 128


def make_volume(folder: Path, shape: tuple[int, int, int], diameter_vx: float) -> Volume:
    """Write balls on a disturbed lattice with noise, and the pyramid of means above them.

    A tile of at most 256 voxels is made and repeated.
    """
    tile = make_tile(diameter_vx)
    arrays = []
    for level in range(3):
        size = tuple(n // 2**level for n in shape)
        array = zarr.create_array(
            folder / f"level{level}", shape=size, chunks=(EDGE,) * 3, dtype=np.uint8
        )
        for z in range(0, size[0], EDGE):
            rows = np.arange(z, min(z + EDGE, size[0])) % len(tile)
            places = [np.arange(n) % len(tile) for n in size[1:]]
            array[z : z + len(rows)] = tile[np.ix_(rows, *places)]
        arrays.append(array)
        half = len(tile) // 2
        tile = tile.reshape(half, 2, half, 2, half, 2).mean(axis=(1, 3, 5)).astype(np.uint8)
    sizes = (VOXEL_UM, VOXEL_UM, VOXEL_UM)
    return Volume("balls", folder, arrays[0], tuple(arrays), sizes, {}, {"fingerprint": "balls"})


def make_tile(diameter_vx: float, edge: int = 256) -> np.ndarray:
    """Make a cube that continues into itself, with noise of 12 grey levels."""
    rng = np.random.default_rng(0)
    count = max(1, int(edge // (1.15 * diameter_vx)))
    pitch = edge / count
    grey = rng.normal(60, 12, (edge, edge, edge)).astype(np.float32)
    axis = np.arange(edge)
    for place in np.ndindex(count, count, count):
        centre = (np.array(place) + 0.5 + rng.uniform(-0.05, 0.05, 3)) * pitch
        z, y, x = (((axis - c + edge / 2) % edge) - edge / 2 for c in centre)
        ways = z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2
        grey[ways < (diameter_vx / 2) ** 2 * rng.uniform(0.5, 1)] += 100
    return np.clip(grey, 0, 255).astype(np.uint8)


def run_fusion(volume: Volume, detector: Path, settings: argparse.Namespace) -> float:
    """Fuse three directions; return seconds."""
    started = time.perf_counter()
    params = TomoFusionParams(particle_diameter_um=settings.diameter * VOXEL_UM)
    compute = TomoComputeParams(workers=settings.workers, block_edge_vx=EDGE)
    plan = plan_probability(volume, load_detector(detector), params, compute)
    with tempfile.TemporaryDirectory() as folder:
        arrays = [
            zarr.create_array(
                Path(folder) / name, shape=plan.shape_zyx, chunks=(EDGE,) * 3, dtype=np.uint8
            )
            for name in ("probability", "distance", "disagreement")
        ]
        work = Path(folder) / "work"
        work.mkdir()
        extras = {"distance": arrays[1], "disagreement": arrays[2]}
        plan.write(VolumeTarget(arrays[0], extras, work))
    return time.perf_counter() - started


def run_stardist(volume: Volume, detector: Path, settings: argparse.Namespace) -> float:
    """Predict instances on slices of three directions; return seconds for all slices."""
    from stardist.models import StarDist2D

    model = StarDist2D(None, name=detector.name, basedir=str(detector.parent))
    low, high = np.percentile(np.asarray(volume.levels[-1]), [1, 99.8])
    first = np.asarray(volume.array[0]).astype(np.float32)
    model.predict_instances((first - low) / (high - low))
    seconds = 0.0
    for axis, length in enumerate(volume.shape_zyx):
        started = time.perf_counter()
        chosen = range(settings.every // 2, length, settings.every)
        for number in chosen:
            cut: list[slice | int] = [slice(None)] * 3
            cut[axis] = number
            section = np.asarray(volume.array[tuple(cut)]).astype(np.float32)
            model.predict_instances((section - low) / (high - low))
        seconds += (time.perf_counter() - started) * length / len(chosen)
    return seconds


def measure(
    method: Callable[..., float], volume: Volume, detector: Path, settings: argparse.Namespace
) -> tuple[float, float]:
    """Run a method in a fresh process; return seconds and its peak of memory in GB."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    arguments: tuple[Any, ...] = (sender, method, volume, detector, settings)
    process = context.Process(target=_report, args=arguments)
    process.start()
    sender.close()
    try:
        result: tuple[float, float] = receiver.recv()
    except EOFError:
        raise SystemExit(f"{method.__name__} ended without a result") from None
    process.join()
    return result


def _report(
    sender: Connection,
    method: Callable[..., float],
    volume: Volume,
    detector: Path,
    settings: argparse.Namespace,
) -> None:
    seconds = method(volume, detector, settings)
    sender.send((seconds, read_peak_gb()))


def read_peak_gb() -> float:
    """Peak of resident memory; what ``getrusage`` says may be that of the process before exec."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak_kb = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak_kb) * 1024 / 1e9


def main() -> None:
    """Print seconds, nanoseconds per voxel and peak memory of both methods."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--detector", type=Path, required=True, help="folder of a StarDist model")
    parser.add_argument("--shape", type=int, nargs=3, default=[256, 256, 256], help="z y x")
    parser.add_argument("--diameter", type=float, default=140.0, help="of a particle (voxels)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=int, default=16, help="StarDist: time every n-th slice")
    parser.add_argument("--fusion-only", action="store_true")
    settings = parser.parse_args()
    depth, height, width = settings.shape
    voxels = depth * height * width
    with tempfile.TemporaryDirectory() as folder:
        volume = make_volume(Path(folder), (depth, height, width), settings.diameter)
        methods = [run_fusion] if settings.fusion_only else [run_fusion, run_stardist]
        times = []
        for method in methods:
            seconds, peak_gb = measure(method, volume, settings.detector, settings)
            times.append(seconds)
            print(
                f"{method.__name__}: {seconds:.1f} s, {seconds / voxels * 1e9:.0f} ns per voxel, "
                f"peak {peak_gb:.2f} GB"
            )
    if len(times) > 1:
        print(f"ratio {times[1] / times[0]:.1f} (every {settings.every}-th slice)")


if __name__ == "__main__":
    main()
