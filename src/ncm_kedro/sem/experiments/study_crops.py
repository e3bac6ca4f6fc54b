"""Crops of the points of a study, cut from frames that are read once.

Grey levels of the crops, by class and split, without training (Oh et al., Supp. Figs. 2-3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.errors import TableError
from ncm_kedro.learning.data.frame_bank import FrameBank, build_frame_bank
from ncm_kedro.params.crop_augment import CropParams
from ncm_kedro.sem.crops.crop_set import CropSet, hash_split, index_crops, join_crop_set
from ncm_kedro.sem.crops.crops import plan_crops
from ncm_kedro.sem.crops.regions import SPLITS
from ncm_kedro.sem.experiments.studies import SkippedPoint, StudyPoint

_TableKey = tuple[CropParams, tuple[str, ...] | None]


@dataclass(frozen=True)
class StudyCrops:
    """The whole crop table that a point takes its crops from, and the imaged area that it covers.

    Attributes
    ----------
    crop_set
        All crops of the table.
    report
        The report of `plan_crops`.
    """

    crop_set: CropSet
    report: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        """Digest of frames, crops and splits."""
        return digest_crops(self.crop_set)

    def sum_region_area(self, split: str, measure: str) -> float:
        """Add up a measure of a split's unique imaged area over classes (`area_mm2`, ...)."""
        classes = self.report["classes"].values()
        return float(sum(entry["splits"][split][measure] for entry in classes))


class StudyFrames:
    """Frames in memory, and the crop tables that were cut from them.

    Parameters
    ----------
    frames
        Grey frames by ``frame_id``.
    manifest
        The frame table.
    """

    def __init__(self, frames: Mapping[str, NDArray[np.uint8]], manifest: pd.DataFrame) -> None:
        self.manifest = manifest[~manifest["excluded"].astype(bool)]
        self._frames = frames
        self._key: _TableKey | None = None
        self._found: StudyCrops | SkippedPoint | None = None

    @cached_property
    def bank(self) -> FrameBank:
        """All frames that are not excluded."""
        return build_frame_bank(self._frames, sorted(self.manifest["frame_id"]))

    def cut(self, point: StudyPoint) -> StudyCrops | SkippedPoint:
        """Draw the crop table of a point; the last table is cached.

        Returns
        -------
        StudyCrops or SkippedPoint
            What was cut, or the class whose imaged area is too small.
        """
        key = (point.crops, point.frame_ids)
        if self._found is None or key != self._key:
            self._key, self._found = key, self._cut(point)
        if isinstance(self._found, SkippedPoint):
            return SkippedPoint(point.name, self._found.reason)
        return self._found

    def _cut(self, point: StudyPoint) -> StudyCrops | SkippedPoint:
        manifest, wanted = self.manifest, point.frame_ids
        if wanted is not None:
            manifest = manifest[manifest["frame_id"].isin(wanted)]
        try:
            table, report = plan_crops(manifest, point.crops)
        except TableError as error:
            return SkippedPoint(point.name, str(error))
        described = manifest.groupby("class", sort=True)[["composition", "state"]].first()
        reason = _find_gap(table, tuple(described.index), point.crops.size_px)
        if reason is not None:
            return SkippedPoint(point.name, reason)
        pixel_size_um = float(manifest["pixel_size_um"].median())
        return StudyCrops(join_crop_set(self.bank, table, described, pixel_size_um), report)


def select_crops(whole: CropSet, point: StudyPoint, seed: int) -> tuple[CropSet, NDArray[np.int64]]:
    """Select the crops of a point; fewer crops are a subset of more, the test is the same.

    Returns
    -------
    crop_set
        The selected crops.
    rows
        (N,) where they stand among all crops of training, validation and test, one after the other.
    """
    if point.per_class is None:
        return whole, np.arange(sum(len(index) for index in whole.indices.values()))
    n_validate = round(point.crops.split.validate_fraction * point.per_class)
    kept = {"train": point.per_class - n_validate, "validate": n_validate}
    tables, rows, start = {}, [], 0
    for split in SPLITS:
        table = whole.tables[split]
        limit = kept.get(split, len(table))
        chosen = np.flatnonzero(_rank_in_class(table, seed) < limit)
        tables[split] = table.iloc[chosen].reset_index(drop=True)
        rows.append(start + chosen)
        start += len(table)
    selected = replace(
        whole,
        tables=tables,
        indices={s: index_crops(t, whole.bank, whole.classes) for s, t in tables.items()},
        split_hash=hash_split(pd.concat(tables.values(), ignore_index=True)),
    )
    return selected, np.concatenate(rows)


def digest_crops(crop_set: CropSet) -> str:
    """Return a digest of frames, crops, their labels and splits."""
    sums = [crop_set.indices[split].checksum for split in SPLITS]
    about = [crop_set.split_hash, crop_set.bank.checksum, crop_set.classes, sums]
    return hashlib.sha256(repr(about).encode()).hexdigest()


def _rank_in_class(table: pd.DataFrame, seed: int) -> NDArray[np.int64]:
    order = np.random.default_rng(seed).permutation(len(table))
    ranks = table["class"].iloc[order].groupby(table["class"]).cumcount()
    return np.asarray(ranks.sort_index(), dtype=np.int64)


def _find_gap(table: pd.DataFrame, classes: tuple[str, ...], size_px: int) -> str | None:
    if len(classes) < 2:
        return f"one class only ({', '.join(classes)})"
    for split in SPLITS:
        missing = sorted(set(classes) - set(table.loc[table["split"] == split, "class"]))
        if missing:
            return (
                f"the {split} split has no region for crops of {size_px} px of {', '.join(missing)}"
            )
    return None


LEVELS = 256
_BINS = 64
_CROPS_AT_ONCE = 256

Histograms = dict[str, dict[str, NDArray[np.float64]]]


def count_grey_levels(crop_set: CropSet) -> Histograms:
    """Fraction of pixels at each grey level, by class and split.

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


def summarise_grey_levels(rows: list[dict[str, Any]]) -> str:
    """Compare the distances between splits of a class with those between classes."""
    held = [row for row in rows if row["split"] != "train"]
    own = float(np.median([row["distance_to_train"] for row in held]))
    other = float(np.median([row["distance_to_nearest_class"] for row in held]))
    nearer = sum(row["distance_to_train"] < row["distance_to_nearest_class"] for row in held)
    return (
        f"Held-out crops lie {own:.1f} grey levels (median) from the training crops of their own "
        f"class and {other:.1f} from those of the nearest other class; in {nearer} of {len(held)} "
        "cases their own class is the nearest: what grey levels alone can separate."
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
