"""The table of crops: positions, not pixels.

Positions are spread over the unique ground of a split (`ncm_kedro.sem.crops.sampling`), and each is
taken from one of the frames that show it.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.errors import TableError
from ncm_kedro.params.crop_augment import CropParams
from ncm_kedro.sem.audit.areas import frame_boxes, name_cells
from ncm_kedro.sem.crops.regions import (
    Strip,
    class_generator,
    split_folds,
    split_regions,
)
from ncm_kedro.sem.crops.sampling import (
    Windows,
    crop_boxes,
    cut_windows,
    draw_positions,
    most_distant,
    report_class,
    warn_low_counts,
)

_LOG = logging.getLogger(__name__)
__all__ = ["SPLITS", "crop_boxes", "plan_crops", "plan_folds"]

SPLITS = ("train", "validate", "test")
_REGION = ("region_x0_px", "region_y0_px", "region_x1_px", "region_y1_px")
_COLUMNS = ("crop_id", "frame_id", "x_px", "y_px", "size_px", "split", "class", "mosaic", "area")


def plan_crops(manifest: pd.DataFrame, params: CropParams) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Draw the crops of all classes and splits.

    Parameters
    ----------
    manifest
        Frames with mosaics; excluded ones are not used. The order of its rows does not matter.
    params
        Sizes, numbers, shares and seed.

    Returns
    -------
    crops
        A row per crop: `crop_id`, `frame_id`, `x_px`, `y_px` (top-left corner in the frame),
        `size_px`, `split`, `class`, `mosaic`, `area` (cell of ground that the crop's centre lies
        in) and `region_x0_px` ... `region_y1_px` (part of the frame that belongs to the crop's
        split; a jittered crop must stay in it).
    report
        What was asked and what there is, per class and split; `leaking` says whether splits
        share ground.

    Raises
    ------
    TableError
        If no frame is left to take crops from.
    """
    frames = _usable_frames(manifest)
    leaking = params.split.by == "frame"
    tables: list[pd.DataFrame] = []
    classes: dict[str, dict[str, Any]] = {}
    wanted = _count_wanted(params)
    for class_name, group in frames.groupby("class", sort=True):
        strips = [] if leaking else split_regions(group, params)
        parts = _split_frames(group, params) if leaking else _split_strips(group, strips, params)
        crops = {
            name: _draw(windows, name, strips, wanted=wanted[name], params=params)
            for name, windows in parts.items()
        }
        tables += list(crops.values())
        classes[str(class_name)] = report_class(group, parts, crops, wanted, params.size_px)
    warnings = [
        text for name, entry in classes.items() for text in warn_low_counts(name, entry, leaking)
    ]
    for text in warnings:
        _LOG.warning(text)
    report = {
        "split_by": params.split.by,
        "leaking": leaking,
        "size_px": params.size_px,
        "classes": classes,
        "warnings": warnings,
    }
    return _join(tables), report


def plan_folds(manifest: pd.DataFrame, params: CropParams, n_folds: int) -> pd.DataFrame:
    """Draw crops for cross-validation on disjoint ground.

    Parameters
    ----------
    manifest
        Frames with mosaics; excluded ones are not used.
    params
        Sizes, numbers and seed; `images_per_class` is shared out among the folds.
    n_folds
        Number of folds.

    Returns
    -------
    pandas.DataFrame
        Columns as `plan_crops`; `split` is the number of the fold that the crop is tested in, as
        text. Crops of different folds share no ground.
    """
    frames = _usable_frames(manifest)
    per_fold = max(1, params.images_per_class // n_folds)
    tables = []
    for _, group in frames.groupby("class", sort=True):
        strips = split_folds(group, params, n_folds)
        for fold in range(n_folds):
            name = str(fold)
            windows = cut_windows(group, strips, name, params.size_px)
            tables.append(_draw(windows, name, strips, wanted=per_fold, params=params))
    return _join(tables)


def _usable_frames(manifest: pd.DataFrame) -> pd.DataFrame:
    kept = manifest[~manifest["excluded"].astype(bool)].sort_values("frame_id", ignore_index=True)
    if kept.empty:
        raise TableError(
            "sem_manifest",
            found=f"{len(manifest)} frames, all of them excluded",
            expected="at least one frame to take crops from",
            action="look at the exclusion reasons in the audit and correct the data or the rules",
        )
    return kept


def _split_strips(
    group: pd.DataFrame, strips: list[Strip], params: CropParams
) -> dict[str, Windows]:
    return {name: cut_windows(group, strips, name, params.size_px) for name in SPLITS}


def _split_frames(group: pd.DataFrame, params: CropParams) -> dict[str, Windows]:
    """Split by file, as published: whole frames at random."""
    rng = class_generator(params.seed, str(group["class"].iloc[0]), "files")
    order = rng.permutation(len(group))
    n_test = max(1, round(params.split.test_fraction * len(group)))
    n_validate = max(1, round(params.split.validate_fraction * (len(group) - n_test)))
    chosen = {
        "test": order[:n_test],
        "validate": order[n_test : n_test + n_validate],
        "train": order[n_test + n_validate :],
    }
    windows = {}
    for name in SPLITS:
        part: pd.DataFrame = group.iloc[np.sort(chosen[name])]
        size = part[["width_px", "height_px"]].to_numpy(int)
        fits = (size >= params.size_px).all(axis=1)
        region = np.concatenate([np.zeros_like(size), size], axis=1)[fits]
        windows[name] = Windows(part.iloc[np.flatnonzero(fits)], region, np.full(len(region), -1))
    return windows


def _count_wanted(params: CropParams) -> dict[str, int]:
    n_validate = round(params.split.validate_fraction * params.images_per_class)
    n_train = params.images_per_class - n_validate
    return {"train": n_train, "validate": n_validate, "test": params.test_images_per_class}


def _draw(
    windows: Windows, split: str, strips: list[Strip], *, wanted: int, params: CropParams
) -> pd.DataFrame:
    if len(windows.region) == 0 or wanted == 0:
        return pd.DataFrame(columns=[*_COLUMNS, *_REGION])
    class_name = str(windows.table["class"].iloc[0])
    rng = class_generator(params.seed, class_name, split)
    rows, corner = draw_positions(windows, wanted * params.candidates_per_crop, params.size_px, rng)
    chosen = most_distant(windows, rows, corner, wanted)
    rows, corner = rows[chosen], corner[chosen]
    frames = windows.table.iloc[rows]
    table = pd.DataFrame(
        {
            "crop_id": [
                f"{frame_id}@{x},{y},{params.size_px}"
                for frame_id, (x, y) in zip(frames["frame_id"], corner, strict=True)
            ],
            "frame_id": frames["frame_id"].to_numpy(),
            "x_px": corner[:, 0],
            "y_px": corner[:, 1],
            "size_px": params.size_px,
            "split": split,
            "class": class_name,
            "mosaic": frames["mosaic"].to_numpy(),
            "area": _name_areas(windows, rows, corner, strips, params),
        }
    )
    table[list(_REGION)] = windows.region[rows]
    return table


def _name_areas(
    windows: Windows,
    rows: NDArray[np.int_],
    corner: NDArray[np.int_],
    strips: list[Strip],
    params: CropParams,
) -> list[str]:
    """Name the cells, about one crop and a quarter wide, that the centres of crops lie in."""
    boxes = frame_boxes(windows.table)
    mosaics = windows.table["mosaic"].to_numpy()
    low, high = np.empty_like(boxes[:, :2]), np.empty_like(boxes[:, :2])
    for mosaic in np.unique(mosaics):
        mine = mosaics == mosaic
        low[mine], high[mine] = boxes[mine, :2].min(axis=0), boxes[mine, 2:].max(axis=0)
    for number, strip in enumerate(strips):
        mine = windows.strip == number
        low[mine, strip.axis], high[mine, strip.axis] = strip.start_px, strip.stop_px
    centre = corner + boxes[rows, :2] + params.size_px / 2
    cell_px = params.split.min_strip_crops * params.size_px
    x, y = (
        name_cells(centre[:, axis], low[rows, axis], high[rows, axis], cell_px) for axis in (0, 1)
    )
    owners = windows.strip[rows]
    return [
        f"{mosaic}/{'frames' if owner < 0 else f'strip{owner}'}/x{column}y{row}"
        for mosaic, owner, column, row in zip(mosaics[rows], owners, x, y, strict=True)
    ]


def _join(tables: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    if not filled:
        raise TableError(
            "sem_crops",
            found="no frame that holds a crop",
            expected="frames at least as large as a crop",
            action="lower crop_augment's size_px",
        )
    crops = pd.concat(filled, ignore_index=True)[[*_COLUMNS, *_REGION]]
    return crops.sort_values("crop_id", ignore_index=True).astype({"size_px": "int64"})
