"""Discs with a known outline, networks that attend to known regions, and tables of a small test."""

import numpy as np
import pandas as pd
import torch
from torch import nn

from manifest_cases import list_crop
from model_cases import make_classifier, make_settings
from ncm_kedro.sem.crops.crop_set import hash_split

PIXEL_UM = 0.5
CLASSES = ("333", "811", "811_cycled")
CROP_PX, FRAME_PX = 64, 160


def draw_discs(side=160, spacing=24, radius=9.0, seed=0):
    """Bright discs on a jittered grid, with noise; grey values and distance to the outlines."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    signed = np.full((side, side), -np.inf)
    for cy in range(spacing // 2, side, spacing):
        for cx in range(spacing // 2, side, spacing):
            shift = rng.uniform(-2, 2, 2)
            signed = np.maximum(signed, radius - np.hypot(y - cy - shift[0], x - cx - shift[1]))
    grey = np.where(signed > 0, 170.0, 70.0) + rng.normal(0, 8, (side, side))
    return np.clip(grey, 0, 255).astype(np.uint8), signed


class FilterNet(nn.Module):
    """The mean over the image of what a bank of given filters finds, for the only class."""

    def __init__(self, filters_nyx, bias):
        super().__init__()
        count, size = filters_nyx.shape[0], filters_nyx.shape[-1]
        self.conv = nn.Conv2d(1, count, size, padding=size // 2, padding_mode="replicate")
        self.act = nn.ReLU()
        self.head = nn.Linear(count, 1)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor(filters_nyx[:, None], dtype=torch.float32))
            self.conv.bias.fill_(bias)
            self.head.weight.fill_(1.0)

    def forward(self, image):
        return self.head(self.act(self.conv(image)).mean(dim=(2, 3)))


def make_edge_net():
    """A network that sees grey values change."""
    slope = np.outer([1, 2, 1], [-1, 0, 1]) / 8.0
    return FilterNet(np.stack([slope, -slope, slope.T, -slope.T]), bias=-0.05)


def make_inside_net():
    """A network that sees where all around is bright."""
    return FilterNet(np.full((1, 7, 7), 1 / 49), bias=-0.55)


def make_tables(seed=0):
    """Frames, crop table, predictions and the untrained classifier that they might be from."""
    rng = np.random.default_rng(seed)
    frames, crops, predictions = {}, [], []
    for name in CLASSES:
        for number, split in enumerate(("train", "validate", "test", "test")):
            frame_id = f"{name}/{number}"
            frames[frame_id] = draw_discs(FRAME_PX, seed=int(rng.integers(1000)))[0]
            for crop in range(5):
                row = list_crop(
                    frame_id, crop, rng.integers(0, FRAME_PX - CROP_PX, 2),
                    size_px=CROP_PX, split=split, frame_px=FRAME_PX,
                )  # fmt: skip
                crops.append(row)
                if split == "test":
                    known = {key: row[key] for key in ("crop_id", "frame_id", "class", "area")}
                    predictions.append({**known, **_predict(name, crop, rng)})
    table = pd.DataFrame(crops)
    return frames, table, pd.DataFrame(predictions), make_explained(hash_split(table))


def make_explained(split_hash=None):
    """An untrained classifier of the classes of the tables."""
    known = {"pixel_size_um": PIXEL_UM, "input_px": 64, "split_hash": split_hash}
    return make_classifier(make_settings(CLASSES, **known))


def _predict(name, crop, rng):
    """Right but for the last crop of each frame of 811, which is taken for the cycled one."""
    predicted = "811_cycled" if name == "811" and crop == 4 else name
    shares = dict(zip(CLASSES, 0.1 * rng.random(3), strict=True))
    shares[name] += 0.3
    shares[predicted] += 0.5
    total = sum(shares.values())
    return {
        "predicted": predicted,
        "probability": shares[predicted] / total,
        **{f"p_{key}": value / total for key, value in shares.items()},
    }
