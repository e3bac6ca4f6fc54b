"""Crops of the points of a study, cut from frames that are read once."""

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
from ncm_kedro.learning.frame_bank import FrameBank, build_frame_bank
from ncm_kedro.params.crop_augment import CropParams
from ncm_kedro.sem.crop_set import SPLITS, CropSet, hash_split, index_crops, join_crop_set
from ncm_kedro.sem.crops import plan_crops
from ncm_kedro.sem.studies import MissingPoint, StudyPoint

_TableKey = tuple[CropParams, tuple[str, ...] | None]


@dataclass(frozen=True)
class StudyCrops:
    """The whole crop table that a point takes its crops from, and what ground it covers.

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

    def sum_ground(self, split: str, measure: str) -> float:
        """Add up a measure of a split's unique ground over classes (`area_mm2`, ...)."""
        classes = self.report["classes"].values()
        return float(sum(entry["splits"][split][measure] for entry in classes))


class StudyGround:
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
        self._found: StudyCrops | MissingPoint | None = None

    @cached_property
    def bank(self) -> FrameBank:
        """All frames that are not excluded."""
        return build_frame_bank(self._frames, sorted(self.manifest["frame_id"]))

    def cut(self, point: StudyPoint) -> StudyCrops | MissingPoint:
        """Draw the crop table of a point; the last table is kept.

        Returns
        -------
        StudyCrops or MissingPoint
            What was cut, or which class the ground is too small for.
        """
        key = (point.crops, point.frame_ids)
        if self._found is None or key != self._key:
            self._key, self._found = key, self._cut(point)
        if isinstance(self._found, MissingPoint):
            return MissingPoint(point.name, self._found.reason)
        return self._found

    def _cut(self, point: StudyPoint) -> StudyCrops | MissingPoint:
        manifest, wanted = self.manifest, point.frame_ids
        if wanted is not None:
            manifest = manifest[manifest["frame_id"].isin(wanted)]
        try:
            table, report = plan_crops(manifest, point.crops)
        except TableError as error:
            return MissingPoint(point.name, str(error))
        described = manifest.groupby("class", sort=True)[["composition", "state"]].first()
        reason = _find_gap(table, tuple(described.index), point.crops.size_px)
        if reason is not None:
            return MissingPoint(point.name, reason)
        pixel_size_um = float(manifest["pixel_size_um"].median())
        return StudyCrops(join_crop_set(self.bank, table, described, pixel_size_um), report)


def select_crops(whole: CropSet, point: StudyPoint, seed: int) -> tuple[CropSet, NDArray[np.int64]]:
    """Keep a point's share of the crops; fewer crops are a subset of more, the test stays whole.

    Parameters
    ----------
    whole
        All crops of the table.
    point
        How many are kept.
    seed
        Seed of the order in which crops are kept.

    Returns
    -------
    crop_set
        The kept crops.
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
                f"the {split} split has no ground for crops of {size_px} px of {', '.join(missing)}"
            )
    return None
