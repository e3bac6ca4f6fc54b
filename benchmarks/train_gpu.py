"""Training speed in one process: the published way, this package, and constant tensors.

published   per image: open, decode as RGB, cut, resize to 224 px; batch 10, float32, no workers,
            the loss read at every step (Oh et al. 2024)
constant    this package's training step, fed the same tensors again and again: the upper bound
ours        frames on the device as uint8, crops cut, resized and flipped there by index, bf16
            autocast, fused optimiser, nothing waited for within the run

Frames are made in a temporary folder, so that this runs anywhere with torch, timm, numpy, Pillow,
pydantic and tqdm. Goals on a GPU: ours >= 20 x published, ours >= 0.85 x constant, and on an H200
with EfficientNet-B7 at 224 px >= 1,500 images/s. Small run on a CPU:

    python benchmarks/train_gpu.py --device cpu --model test_resnet --frames 8 --steps 10 --batch 16
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from ncm_kedro.learning.data.crop_index import CropIndex
from ncm_kedro.learning.data.frame_bank import build_frame_bank
from ncm_kedro.learning.data.loader import CropLoader, choose_device, choose_precision
from ncm_kedro.learning.training.state import build_optimiser
from ncm_kedro.params.tune_train import AugmentParams, TrainParams

CROP_PX, INPUT_PX, N_CLASSES, PUBLISHED_BATCH = 300, 224, 12, 10


def make_frames(folder: Path, count: int) -> list[Path]:
    """Write JPEG frames of 1280 x 896 px with blobs and noise."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (56, 80), dtype=np.uint8))
        grey = np.asarray(coarse.resize((1280, 896), Image.Resampling.BICUBIC), dtype=np.float64)
        noisy = np.clip(grey + rng.normal(0, 12, grey.shape), 0, 255).astype(np.uint8)
        paths.append(folder / f"frame_{number:04d}.jpg")
        Image.fromarray(noisy).save(paths[-1], quality=90)
    return paths


def time_steps(
    step: Callable[[], int], warm_up: int, steps: int, device: torch.device
) -> tuple[float, float]:
    """Images per second over `steps` steps, and seconds of the warm-up (compilation included)."""
    started = time.perf_counter()
    for _ in range(warm_up):
        step()
    wait(device)
    warmed = time.perf_counter()
    images = sum(step() for _ in range(steps))
    wait(device)
    return images / (time.perf_counter() - warmed), warmed - started


def wait(device: torch.device) -> None:
    """Wait until the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def make_published_step(
    paths: list[Path], crops: CropIndex, model_name: str, device: torch.device
) -> Callable[[], int]:
    """One training step as the published code does it."""
    model = timm.create_model(model_name, in_chans=3, num_classes=N_CLASSES).to(device).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=3.5e-4)
    rng = np.random.default_rng(0)

    def read(row: int) -> torch.Tensor:
        x_px, y_px = int(crops.x_px[row]), int(crops.y_px[row])
        with Image.open(paths[int(crops.frame[row])]) as image:
            crop = image.convert("RGB").crop((x_px, y_px, x_px + CROP_PX, y_px + CROP_PX))
        resized = np.asarray(crop.resize((INPUT_PX, INPUT_PX), Image.Resampling.BILINEAR))
        return torch.from_numpy(resized.copy()).permute(2, 0, 1).float() / 255.0

    def step() -> int:
        rows = rng.integers(len(crops), size=PUBLISHED_BATCH)
        images = torch.stack([read(row) for row in rows]).to(device)
        labels = torch.from_numpy(crops.label[rows]).to(device)
        optimiser.zero_grad()
        loss = functional.cross_entropy(model(images), labels)
        loss.backward()
        optimiser.step()
        loss.item()
        return len(rows)

    return step


class OurStep:
    """One training step of this package, on whatever batch it is given."""

    def __init__(self, params: TrainParams, device: torch.device) -> None:
        self.device, self.dtype = device, choose_precision(params.precision, device)
        model: nn.Module = timm.create_model(params.model, in_chans=1, num_classes=N_CLASSES)
        self.model = model.to(device, memory_format=torch.channels_last).train()
        self.forward = torch.compile(self.model) if params.compile == "always" else self.model
        self.optimiser = build_optimiser(self.model, params, device)
        self.total = torch.zeros((), device=device)

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> int:
        """Forward, backward, update; returns the count of images."""
        images = images.to(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self.dtype, self.dtype is not torch.float32):
            logits = self.forward(images)
        loss = functional.cross_entropy(logits.float(), labels)
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.total += loss.detach()
        return len(labels)


def draw_crops(n_frames: int, count: int) -> CropIndex:
    """Crops anywhere in the frames."""
    rng = np.random.default_rng(1)
    return CropIndex(
        frame=rng.integers(n_frames, size=count),
        x_px=rng.integers(0, 1280 - CROP_PX + 1, count),
        y_px=rng.integers(0, 896 - CROP_PX + 1, count),
        size_px=np.full(count, CROP_PX),
        label=rng.integers(N_CLASSES, size=count),
    )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="tf_efficientnet_b7")
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--timed-convolutions", action="store_true", help="cudnn.benchmark")
    args = parser.parse_args()
    device = choose_device(args.device)
    torch.backends.cudnn.benchmark = args.timed_convolutions
    torch.backends.cudnn.deterministic = not args.timed_convolutions
    with tempfile.TemporaryDirectory() as folder:
        measure(args, make_frames(Path(folder), args.frames), device)


def measure(args: argparse.Namespace, paths: list[Path], device: torch.device) -> None:
    """Measure the three ways and print ratios."""
    augment = AugmentParams(flip=True, rotate90=True, brightness=0.1, contrast=0.1)
    params = TrainParams(
        model=args.model,
        pretrained=False,
        augment=augment,
        compile="always" if args.compile else "never",
    )
    bank = build_frame_bank({path.name: np.asarray(Image.open(path)) for path in paths})
    crops = draw_crops(len(bank), args.batch * (args.steps + 20))
    loader = CropLoader(
        bank,
        crops,
        batch_size=args.batch,
        input_px=INPUT_PX,
        augment=params.augment,
        shuffle=True,
        drop_last=True,
        device=device,
    )
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{args.model}, {INPUT_PX} px, {name}, torch {torch.__version__}")

    our_step = OurStep(params, device)
    warm_up = 10 if device.type == "cuda" else 2
    batches = loader.iterate_epoch(0)
    constant = next(batches)
    constant_rate, seconds = time_steps(
        lambda: our_step(constant.images, constant.labels), warm_up, args.steps, device
    )
    print(f"constant tensors  {constant_rate:9.1f} images/s  (batch {args.batch}, "
          f"{seconds:.0f} s of warm-up)")  # fmt: skip

    def step_from_bank() -> int:
        batch = next(batches)
        return our_step(batch.images, batch.labels)

    our_rate, _ = time_steps(step_from_bank, 2, args.steps, device)
    print(f"ours              {our_rate:9.1f} images/s  (loader path: {loader.path})")
    if device.type == "cuda":
        print(f"peak GPU memory   {torch.cuda.max_memory_allocated(device) / 2**30:9.1f} GiB")
    published_step = make_published_step(paths, crops, args.model, device)
    published_rate, _ = time_steps(published_step, warm_up, args.steps, device)
    print(f"published way     {published_rate:9.1f} images/s  (batch {PUBLISHED_BATCH})")
    print(f"ours / published  {our_rate / published_rate:9.2f}  (goal on a GPU: >= 20)")
    print(f"ours / constant   {our_rate / constant_rate:9.2f}  (goal: >= 0.85)")
    print(f"20 epochs of 3,456 crops take {20 * 3456 / our_rate:.0f} s")


if __name__ == "__main__":
    main()
