"""The crop table and the frames that it points to, as arrays that a network can be trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.errors import SettingsError, TableError
from ncm_kedro.learning.data.crop_index import CropIndex
from ncm_kedro.learning.data.frame_bank import FrameBank, build_frame_bank
from ncm_kedro.sem.crops.regions import REGION_COLUMNS, SPLITS

_HASHED_COLUMNS = ("crop_id", "split", "class")


@dataclass(frozen=True)
class CropSet:
    """Frames in memory, and the crops of each split.

    Attributes
    ----------
    bank
        The frames that crops are cut from.
    classes, compositions, states
        Class names in order, and composition and state of each.
    pixel_size_um
        Median pixel size of the frames.
    crop_px
        Side of a crop.
    tables
        Rows of the crop table by split.
    indices
        The same as arrays, by split.
    split_hash
        Changes with any crop, its split or its class.
    """

    bank: FrameBank
    classes: tuple[str, ...]
    compositions: tuple[str, ...]
    states: tuple[str, ...]
    pixel_size_um: float
    crop_px: int
    tables: Mapping[str, pd.DataFrame]
    indices: Mapping[str, CropIndex]
    split_hash: str

    def cut_pixels(self, split: str, rows: slice) -> NDArray[np.uint8]:
        """Return some crops of a split as they are, (N, S, S)."""
        index = self.indices[split]
        corners = zip(index.frame[rows], index.x_px[rows], index.y_px[rows], strict=True)
        size = self.crop_px
        return np.stack(
            [self.bank.view_frame(int(f))[y : y + size, x : x + size] for f, x, y in corners]
        )


@dataclass(frozen=True)
class CropTextures:
    """Texture features of a crop set.

    Attributes
    ----------
    features
        (N, F) by split.
    seconds
        CPU time that measuring them took, s.
    """

    features: Mapping[str, NDArray[np.float32]]
    seconds: float


def build_crop_set(
    frames: Mapping[str, NDArray[np.uint8]], crops: pd.DataFrame, manifest: pd.DataFrame
) -> CropSet:
    """Read the frames that crops are cut from, once, and index the crops.

    Raises
    ------
    SettingsError
        There is one class only, or a split has no crop of some class.
    TableError
        The crop table names frames that the manifest lacks, or crops of several sizes.
    """
    described = _describe_classes(crops, manifest)
    sizes = sorted(set(crops["size_px"]))
    if len(sizes) != 1:
        raise TableError(
            "sem_crops",
            found=f"crops of {len(sizes)} sizes ({sizes[:5]} px)",
            expected="one size",
            action="run crop_augment again",
        )
    bank = build_frame_bank(frames, sorted(set(crops["frame_id"])))
    used = manifest[manifest["frame_id"].isin(bank.frame_ids)]
    crop_set = join_crop_set(bank, crops, described, float(used["pixel_size_um"].median()))
    for split, table in crop_set.tables.items():
        _check_classes(split, table, crop_set.classes)
    return crop_set


def join_crop_set(
    bank: FrameBank, crops: pd.DataFrame, described: pd.DataFrame, pixel_size_um: float
) -> CropSet:
    """Join frames in memory and a crop table; a split may lack classes.

    Parameters
    ----------
    bank
        The frames that crops are cut from.
    described
        `composition` and `state` by class name, in order.
    pixel_size_um
        Median pixel size of the frames.
    """
    classes = tuple(str(name) for name in described.index)
    tables = {
        split: crops[crops["split"] == split].sort_values("crop_id", ignore_index=True)
        for split in SPLITS
    }
    return CropSet(
        bank=bank,
        classes=classes,
        compositions=tuple(described["composition"]),
        states=tuple(described["state"]),
        pixel_size_um=pixel_size_um,
        crop_px=int(crops["size_px"].iloc[0]),
        tables=tables,
        indices={split: index_crops(table, bank, classes) for split, table in tables.items()},
        split_hash=hash_split(crops),
    )


def index_crops(table: pd.DataFrame, bank: FrameBank, classes: tuple[str, ...]) -> CropIndex:
    """Turn rows of the crop table into arrays.

    Parameters
    ----------
    table
        Rows of the crop table.
    bank
        Frames in memory.
    """
    number = {name: place for place, name in enumerate(classes)}
    return CropIndex(
        frame=bank.find_rows(table["frame_id"].tolist()),
        x_px=table["x_px"].to_numpy(np.int64),
        y_px=table["y_px"].to_numpy(np.int64),
        size_px=table["size_px"].to_numpy(np.int64),
        label=np.array([number[name] for name in table["class"]], dtype=np.int64),
        allowed_xyxy_px=table[list(REGION_COLUMNS)].to_numpy(np.int64),
    )


def hash_split(crops: pd.DataFrame) -> str:
    """Return a digest of which crop belongs to which split; the order of rows does not matter."""
    rows = crops[list(_HASHED_COLUMNS)].astype(str).agg("\t".join, axis=1)
    return hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()[:16]


def _describe_classes(crops: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    unknown = sorted(set(crops["frame_id"]) - set(manifest["frame_id"]))
    if unknown:
        raise TableError(
            "sem_crops",
            found=f"{len(unknown)} frames that the manifest lacks, such as {unknown[0]}",
            expected="crops of frames in the manifest",
            action="run sem_ingest and crop_augment again, in this order",
        )
    present = manifest[manifest["class"].isin(set(crops["class"]))]
    described = present.groupby("class", sort=True)[["composition", "state"]].first()
    if len(described) < 2:
        raise SettingsError(
            "sem_crops",
            found=f"one class only ({', '.join(described.index)})",
            expected="at least two classes to tell apart",
            action="add frames of another composition or state; sem_ingest and crop_augment "
            "work with one class, training does not",
        )
    return described


def _check_classes(split: str, table: pd.DataFrame, classes: tuple[str, ...]) -> None:
    missing = sorted(set(classes) - set(table["class"]))
    if missing:
        raise SettingsError(
            f"sem_crops, split {split}",
            found=f"no crop of {', '.join(missing)}",
            expected="crops of every class in every split",
            action="take more frames of these classes, make crops smaller (crop_augment.size_px) "
            "or lower the test and validation fractions",
        )
