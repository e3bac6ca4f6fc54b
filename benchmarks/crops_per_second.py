"""Crops per second as network input: from the frame bank, and as the published code does it.

The published code opens and decodes the JPEG as RGB for every crop, cuts 300 px, saves that as JPEG
of quality 75, opens it again and resizes to 224 px (Oh et al. 2024). Both with and without saving
and opening again are measured.
Frames are made by this script, or taken from a folder of JPEG files. Goals: at least 100 times the
crops per second, and a peak of memory below twice the size of the frames.

    python benchmarks/crops_per_second.py [--frames 24] [--folder FOLDER] [--threads 2]
"""

from __future__ import annotations

import argparse
import io
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ncm_kedro.learning.data.crop_index import CropIndex
from ncm_kedro.learning.data.frame_bank import FrameBank, build_frame_bank
from ncm_kedro.learning.data.loader import CropLoader

CROP_PX, INPUT_PX, BANNER_PX = 300, 224, 64


class DecodedFolder(Mapping[str, np.ndarray]):
    """Grey frames of a folder, decoded one at a time."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = {path.name: path for path in paths}

    def __getitem__(self, name: str) -> np.ndarray:
        with Image.open(self._paths[name]) as image:
            image.draft("L", image.size)
            return np.asarray(image.convert("L"))[:-BANNER_PX]

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def make_frames(folder: Path, count: int) -> list[Path]:
    """Write JPEG frames of 1280 x 960 px with blobs and noise."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (60, 80), dtype=np.uint8))
        grey = np.asarray(coarse.resize((1280, 960), Image.Resampling.BICUBIC), dtype=np.float64)
        noisy = np.clip(grey + rng.normal(0, 12, grey.shape), 0, 255).astype(np.uint8)
        paths.append(folder / f"frame_{number:04d}.jpg")
        Image.fromarray(noisy).save(paths[-1], quality=90)
    return paths


def draw_crops(bank: FrameBank, count: int) -> CropIndex:
    """Crops anywhere in the frames."""
    rng = np.random.default_rng(1)
    frame = rng.integers(len(bank), size=count)
    return CropIndex(
        frame=frame,
        x_px=rng.integers(0, bank.widths[frame] - CROP_PX + 1),
        y_px=rng.integers(0, bank.heights[frame] - CROP_PX + 1),
        size_px=np.full(count, CROP_PX),
        label=np.zeros(count, dtype=np.int64),
    )


def time_published(
    paths: list[Path], crops: CropIndex, seconds: float, *, saves: bool
) -> tuple[float, float]:
    """Crops per second, CPU seconds per crop; `saves`: with the detour over a file."""
    started, done, cpu = time.perf_counter(), 0, time.process_time()
    while time.perf_counter() - started < seconds:
        row = done % len(crops)
        x_px, y_px = int(crops.x_px[row]), int(crops.y_px[row])
        with Image.open(paths[int(crops.frame[row])]) as image:
            crop = image.convert("RGB").crop((x_px, y_px, x_px + CROP_PX, y_px + CROP_PX))
        if saves:
            stream = io.BytesIO()
            crop.save(stream, format="JPEG", quality=75)
            crop = Image.open(stream).convert("RGB")
        resized = np.asarray(crop.resize((INPUT_PX, INPUT_PX), Image.Resampling.BILINEAR))
        tensor = torch.from_numpy(resized.copy()).permute(2, 0, 1).float() / 255.0
        assert tensor.shape == (3, INPUT_PX, INPUT_PX)
        done += 1
    return done / (time.perf_counter() - started), (time.process_time() - cpu) / done


def time_bank(loader: CropLoader, seconds: float) -> tuple[float, float]:
    """Crops per second from memory, CPU seconds per crop."""
    started, done, epoch, cpu = time.perf_counter(), 0, 0, time.process_time()
    while time.perf_counter() - started < seconds:
        done += sum(len(batch.labels) for batch in loader.iterate_epoch(epoch))
        epoch += 1
    return done / (time.perf_counter() - started), (time.process_time() - cpu) / done


def peak_bytes() -> int:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--folder", type=Path, help="JPEG frames to use instead of made ones")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=4.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.folder is None:
            paths = make_frames(Path(folder), args.frames)
        else:
            paths = sorted(args.folder.rglob("*.jpg"))[: args.frames]
        report(paths, args.threads, args.seconds)


def report(paths: list[Path], threads: int, seconds: float) -> None:
    """Measure both ways and print ratios."""
    frames = DecodedFolder(paths)
    warm_up = build_frame_bank({"one": frames[next(iter(frames))]})
    list(CropLoader(warm_up, draw_crops(warm_up, 64), batch_size=64).iterate_epoch(0))
    before = peak_bytes()
    bank = build_frame_bank(frames, [path.name for path in paths])
    crops = draw_crops(bank, 2000)
    loader = CropLoader(bank, crops, batch_size=64, input_px=INPUT_PX, threads=threads)
    ours = time_bank(loader, seconds)
    memory_ratio = (peak_bytes() - before) / bank.pixels.nbytes
    published = time_published(paths, crops, seconds, saves=True)
    opened = time_published(paths, crops, seconds, saves=False)
    size_mb = bank.pixels.nbytes / 2**20
    print(f"{len(paths)} frames, {size_mb:.0f} MB; {threads} thread(s)")
    rows = {"published way": published, "  without save, reopen": opened, "from memory": ours}
    for name, (rate, cpu_seconds) in rows.items():
        print(f"{name:24s} {rate:9.1f} crops/s {1e3 * cpu_seconds:9.3f} ms of CPU per crop")
    print(f"ratio of rates           {ours[0] / published[0]:9.1f}  (goal: >= 100)")
    print(f"  without save, reopen   {ours[0] / opened[0]:9.1f}")
    print(f"ratio of CPU time        {published[1] / ours[1]:9.1f}  per core, busy machine or not")
    print(f"peak memory / frames     {memory_ratio:9.2f}  (goal: < 2)")


if __name__ == "__main__":
    main()
