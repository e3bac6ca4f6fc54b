"""Time and memory of measuring particles: by size of volume, by number, and against PoreSpy.

``sizes``: particles of one size in volumes of 64 Mvoxel and more; the time per voxel should stay
the same. ``counts``: 100 to 100,000 particles in 64 Mvoxel; the time should stay the same.
Each case runs in a process of its own, which compiles and measures a tiny volume first. Peaks of
memory are the whole process's; the one that imports and compiled code need stands beside them.

``porespy``: the same labels, in the same process within the same minutes, through PoreSpy's
``regionprops_3D``, whose properties are computed when they are asked for; here all that it adds to
scikit-image's are, each of them timed. PoreSpy is not among the locked requirements (it needs an
older ``edt``, and VTK): ``pip install porespy`` into an environment of its own, or without its
requirements of ``edt``.

    python benchmarks/particle_features_speed.py [--parts counts sizes porespy] [--large]
        [--diameter 85] [--voxel-um 0.07] [--workers 2] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from label_volumes import LabelVolume, count_particles, plan_particles, write_volume
from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.particles.attributes import tabulate_attributes
from ncm_kedro.particles.measure import measure_specimen
from ncm_kedro.particles.specimen import Specimen
from ncm_kedro.tomo.volumes.volume import Triple

SMALL: Triple = (400, 400, 400)
SIZES: tuple[Triple, ...] = (SMALL, (640, 640, 640))
LARGE: tuple[Triple, ...] = ((1024, 1024, 1024), (492, 1324, 1985))
"""About 1 Gvoxel, and the volume of Li et al. (2022)."""
COUNTS = (100, 1_000, 10_000, 100_000)
PORESPY: Triple = (256, 256, 256)
BYTES_PER_VOXEL = 2
"""Room on disk that a volume of labels, noisy grey values and cracks is sure to fit into."""

ADDED = ("volume", "bbox_volume", "surface_area", "sphericity", "border", "inscribed_sphere",
         "skeleton", "convex_volume")  # fmt: skip
"""What PoreSpy adds; ``sphericity`` computes the surface a second time."""
SHARED = ("volume", "centroid", "inertia_tensor_eigvals", "sphericity")
"""What comes closest to Table S1: volume, place, elongation, surface and sphericity."""
CONVEX_SAMPLE = 2


@dataclass(frozen=True)
class Case:
    """What one process measured.

    Attributes
    ----------
    voxels, particles, whole
        Numbers of voxels, of particles, and of those that touch no border.
    measure_s, table_s, cpu_s
        Seconds of measuring and of making the table; of processor time of both.
    first_s
        Seconds of the tiny volume before, compilation included.
    peak_gb, base_gb
        Peak of resident memory, and that before the volume was opened.
    """

    voxels: int
    particles: int
    whole: int
    measure_s: float
    table_s: float
    cpu_s: float
    first_s: float
    peak_gb: float
    base_gb: float


def run_case(folder: Path, settings: argparse.Namespace) -> Case:
    """Measure a volume on disk."""
    started = time.perf_counter()
    warm_up(settings)
    first_s, base_gb = time.perf_counter() - started, read_peak_gb()
    volume = LabelVolume(
        *(zarr.open_array(folder / name, mode="r") for name in ("labels", "grey", "cracks"))
    )
    times, table = time_ours(volume.labels, volume.grey, volume.cracks, settings)
    return Case(
        voxels=int(np.prod(volume.labels.shape)),
        particles=len(table),
        whole=int((~table["touches_border"]).sum()),
        measure_s=times[0],
        table_s=times[1],
        cpu_s=times[2],
        first_s=first_s,
        peak_gb=read_peak_gb(),
        base_gb=base_gb,
    )


def time_ours(
    labels: Any,
    grey: Any,
    cracks: Any,
    settings: argparse.Namespace,
    params: AttributeParams | None = None,
) -> tuple[tuple[float, float, float], Any]:
    """Make the table of attributes; return seconds of measuring, of the table, and of the CPU."""
    params = params or AttributeParams()
    size = (settings.voxel_um,) * 3
    specimen = Specimen("balls", labels, size, grey, cracks, axis_to_collector="-z")
    compute = TomoComputeParams(workers=settings.workers)
    started, processor = time.perf_counter(), time.process_time()
    measurement = measure_specimen(specimen, params, compute)
    measured = time.perf_counter()
    table = tabulate_attributes(measurement, params)
    ended = time.perf_counter()
    return (measured - started, ended - measured, time.process_time() - processor), table


def warm_up(settings: argparse.Namespace) -> None:
    """Measure a tiny volume on disk and in memory, so that everything is compiled for both."""
    with tempfile.TemporaryDirectory() as folder:
        volume = write_volume(Path(folder), (160, 96, 96), plan_particles((160, 96, 96), 30))
        time_ours(volume.labels, volume.grey, volume.cracks, settings)
        arrays = [np.asarray(a[:]) for a in (volume.labels, volume.grey, volume.cracks)]
        time_ours(*arrays, settings)


def read_peak_gb() -> float:
    """Peak of resident memory; what ``getrusage`` says may be that of the process before exec."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak_kb = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak_kb) * 1024 / 1e9


def measure_apart(task: Callable[..., Any], *arguments: object) -> Any:
    """Run a task in a fresh process and return its result."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(sender, task, arguments))
    process.start()
    sender.close()
    try:
        result = receiver.recv()
    except EOFError:
        raise SystemExit(f"{task.__name__} ended without a result") from None
    process.join()
    return result


def _report(sender: Connection, task: Callable[..., Any], arguments: Iterable[object]) -> None:
    sender.send(task(*arguments))


def make_volume(folder: Path, shape: Triple, particles: int, workers: int) -> int:
    """Write a volume if the disk has room for it; return the number of its particles."""
    needed, free = int(np.prod(shape)) * BYTES_PER_VOXEL, shutil.disk_usage(folder).free
    if needed > free:
        raise SystemExit(
            f"{folder} has {free / 1e9:.1f} GB free, a volume of {shape} needs up to "
            f"{needed / 1e9:.1f} GB: free some, or name another --folder"
        )
    plan = plan_particles(shape, particles)
    write_volume(folder, shape, plan, workers)
    return len(plan.centre_vx)


def run_cases(chosen: Sequence[tuple[Triple, int]], settings: argparse.Namespace) -> list[Case]:
    """Make and measure volumes one after the other, a row of a table each."""
    print("| volume | Mvoxel | particles | whole | measure s | table s | CPU s | ns per voxel "
          "| first s | peak GB | before GB |")  # fmt: skip
    print("|---" + "|---:" * 10 + "|")
    cases = []
    for shape, particles in chosen:
        with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
            make_volume(Path(folder), shape, particles, settings.workers)
            case: Case = measure_apart(run_case, Path(folder), settings)
        seconds = case.measure_s + case.table_s
        print(
            f"| {' x '.join(map(str, shape))} | {case.voxels / 1e6:.0f} | {case.particles} "
            f"| {case.whole} | {case.measure_s:.1f} | {case.table_s:.2f} | {case.cpu_s:.1f} "
            f"| {seconds / case.voxels * 1e9:.0f} | {case.first_s:.1f} | {case.peak_gb:.2f} "
            f"| {case.base_gb:.2f} |",
            flush=True,
        )
        cases.append(case)
    return cases


def run_sizes(settings: argparse.Namespace) -> None:
    """Time per voxel by size of volume."""
    shapes = (*SIZES, *LARGE) if settings.large else SIZES
    print(f"\n## Volumes, particles of about {settings.diameter:g} voxels\n")
    cases = run_cases([(shape, count_particles(shape, settings.diameter)) for shape in shapes],
                      settings)  # fmt: skip
    rates = [(case.measure_s + case.table_s) / case.voxels for case in cases]
    print(f"\ntime per voxel, each to the first: {', '.join(f'{r / rates[0]:.2f}' for r in rates)}")


def run_counts(settings: argparse.Namespace) -> None:
    """Time by number of particles."""
    print("\n## Numbers of particles in one volume\n")
    cases = run_cases([(SMALL, count) for count in COUNTS], settings)
    times = [case.measure_s + case.table_s for case in cases]
    print(f"\ntime, each to the first: {', '.join(f'{t / times[0]:.2f}' for t in times)}; "
          f"longest to shortest {max(times) / min(times):.2f}")  # fmt: skip


def compare_porespy(settings: argparse.Namespace) -> None:
    """Ours and PoreSpy's on the same arrays in memory."""
    warnings.simplefilter("ignore")  # PoreSpy's and its use of deprecated names
    try:
        from porespy.metrics import regionprops_3D
    except ImportError as error:
        print(f"\nno PoreSpy here ({error}): pip install porespy, in an environment of its own")
        return
    warm_up(settings)
    with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
        asked = count_particles(PORESPY, settings.diameter)
        count = make_volume(Path(folder), PORESPY, asked, settings.workers)
        labels, grey, cracks = (
            np.asarray(zarr.open_array(Path(folder) / name, mode="r")[:])
            for name in ("labels", "grey", "cracks")
        )
    print(f"\n## PoreSpy, {count} particles in {' x '.join(map(str, PORESPY))}\n")
    print("| what | wall s | CPU s | wall, to ours | CPU, to ours |\n|---|---:|---:|---:|---:|")
    (measure_s, table_s, cpu_s), _ = time_ours(labels, grey, cracks, settings)
    ours = np.array([measure_s + table_s, cpu_s])
    print_row(f"ours, the 24 attributes, {settings.workers} workers", ours, ours)
    more = AttributeParams(crack_width=True, profile_bins=10)
    (measure_s, table_s, cpu_s), _ = time_ours(labels, grey, cracks, settings, more)
    print_row("ours, with crack widths and profiles", np.array([measure_s + table_s, cpu_s]), ours)
    compare_properties(regionprops_3D, labels.astype(np.int32), ours)


def compare_properties(
    regionprops: Callable[[Any], list[Any]], labels: np.ndarray, ours: np.ndarray
) -> None:
    """Print a row for each property, and for those that belong together."""
    tiny = np.pad(np.ones((8, 8, 8), dtype=np.int32), 2)
    time_properties(regionprops, tiny, sorted({*ADDED, *SHARED}))
    spent = time_properties(regionprops, labels, ADDED)
    shared = time_properties(regionprops, labels, SHARED)
    for name, seconds in spent.items():
        print_row(name, seconds, ours)
    everything = sum(spent.values())
    slowest = ("convex_volume", "skeleton")
    print_row("**all that it adds**", everything, ours)
    print_row(f"**without {' and '.join(slowest)}**", everything - sum(spent[n] for n in slowest),
              ours)  # fmt: skip
    print_row(f"**nearest to ours: {', '.join(SHARED)}**", sum(shared.values()), ours)
    print(f"\nconvex_volume timed on {CONVEX_SAMPLE} particles of median size and multiplied")


def time_properties(
    regionprops: Callable[[Any], list[Any]], labels: np.ndarray, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return wall and CPU seconds of finding the regions and of each property of all of them."""
    spent = {}
    mark = read_clocks()
    regions = regionprops(labels)
    spent["regionprops_3D"] = read_clocks() - mark
    for name in names:
        chosen = regions
        if name == "convex_volume":
            middle = len(regions) // 2
            ordered = sorted(regions, key=lambda region: region.volume)
            chosen = ordered[max(0, middle - 1) : middle - 1 + CONVEX_SAMPLE]
        mark = read_clocks()
        for region in chosen:
            getattr(region, name)
        spent[name] = (read_clocks() - mark) * len(regions) / len(chosen)
    return spent


def read_clocks() -> np.ndarray:
    """Return wall and CPU seconds, (2,)."""
    return np.array([time.perf_counter(), time.process_time()])


def print_row(name: str, seconds: np.ndarray, ours: np.ndarray) -> None:
    """Print wall and CPU seconds, and both as multiples of ours."""
    ratio = seconds / ours
    print(
        f"| {name} | {seconds[0]:.2f} | {seconds[1]:.2f} | {ratio[0]:.2f} | {ratio[1]:.2f} |",
        flush=True,
    )


def main() -> None:
    """Print tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = {"counts": run_counts, "sizes": run_sizes, "porespy": compare_porespy}
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--large", action="store_true", help="volumes of 1 Gvoxel and more, too")
    parser.add_argument("--diameter", type=float, default=85.0, help="of a particle (voxels)")
    parser.add_argument("--voxel-um", type=float, default=0.07, help="edge of a voxel (um)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where volumes lie while they are measured")
    settings = parser.parse_args()
    for part in settings.parts:
        if part == "porespy":
            measure_apart(compare_porespy, settings)
        else:
            parts[part](settings)


if __name__ == "__main__":
    main()
