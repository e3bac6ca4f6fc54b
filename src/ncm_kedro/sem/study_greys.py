"""Grey levels of the crops, by class and split, without training (Oh et al., Supp. Figs. 2-3)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.sem.crop_set import SPLITS, CropSet

LEVELS = 256
_BINS = 64
_CROPS_AT_ONCE = 256

Histograms = dict[str, dict[str, NDArray[np.float64]]]


def count_grey_levels(crop_set: CropSet) -> Histograms:
    """Share of pixels at each grey level, by class and split.

    Returns
    -------
    dict
        Class, then split, then (256,) shares that add up to 1.
    """
    counts = {name: np.zeros((len(SPLITS), LEVELS)) for name in crop_set.classes}
    for row, split in enumerate(SPLITS):
        index = crop_set.indices[split]
        for start in range(0, len(index), _CROPS_AT_ONCE):
            part = slice(start, start + _CROPS_AT_ONCE)
            pixels = crop_set.cut_pixels(split, part)
            for crop_yx, label in zip(pixels, index.label[part], strict=True):
                name = crop_set.classes[label]
                counts[name][row] += np.bincount(crop_yx.ravel(), minlength=LEVELS)
    return {
        name: {split: table[row] / table[row].sum() for row, split in enumerate(SPLITS)}
        for name, table in counts.items()
    }


def measure_grey_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Wasserstein-1 distance of two grey-level histograms of (256,) shares, in grey levels.

    In one dimension it is the area between the cumulative distributions.
    """
    return float(np.abs(np.cumsum(first - second)).sum())


def tabulate_grey_levels(histograms: Histograms, crop_set: CropSet) -> list[dict[str, Any]]:
    """Describe the grey levels of each class and split.

    Returns
    -------
    list
        A row per class and split: `study`, `point`, `class`, `split`, `n_crops`, `grey_mean`,
        `grey_std`, `clipped_fraction` (pixels at 0 or 255), `distance_to_train` (to the class's own
        training crops), `nearest_class` (another class, by its training crops) and
        `distance_to_nearest_class`; means and distances in grey levels.
    """
    levels = np.arange(LEVELS)
    rows = []
    for name, splits in histograms.items():
        for split, shares in splits.items():
            others = {
                other: measure_grey_distance(shares, histograms[other]["train"])
                for other in histograms
                if other != name
            }
            nearest = min(others, key=others.__getitem__)
            mean = float(shares @ levels)
            labels = crop_set.tables[split]["class"]
            rows.append(
                {
                    "study": "grey_levels",
                    "point": f"{name}, {split}",
                    "class": name,
                    "split": split,
                    "n_crops": int((labels == name).sum()),
                    "grey_mean": mean,
                    "grey_std": float(np.sqrt(shares @ (levels - mean) ** 2)),
                    "clipped_fraction": float(shares[0] + shares[-1]),
                    "distance_to_train": measure_grey_distance(shares, splits["train"]),
                    "nearest_class": nearest,
                    "distance_to_nearest_class": others[nearest],
                }
            )
    return rows


def answer_grey_levels(rows: list[dict[str, Any]]) -> str:
    """Set the distances between splits of a class beside those between classes."""
    held = [row for row in rows if row["split"] != "train"]
    own = float(np.median([row["distance_to_train"] for row in held]))
    other = float(np.median([row["distance_to_nearest_class"] for row in held]))
    nearer = sum(row["distance_to_train"] < row["distance_to_nearest_class"] for row in held)
    return (
        f"Held-out crops lie {own:.1f} grey levels (median) from the training crops of their own "
        f"class and {other:.1f} from those of the nearest other class; in {nearer} of {len(held)} "
        "cases their own class is the nearest: what grey levels alone could tell."
    )


def shorten_histograms(histograms: Histograms) -> dict[str, dict[str, list[float]]]:
    """Join grey levels to 64 equal bins, ready for JSON."""
    return {
        name: {
            split: shares.reshape(_BINS, -1).sum(axis=1).tolist()
            for split, shares in splits.items()
        }
        for name, splits in histograms.items()
    }
