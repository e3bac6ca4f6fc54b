"""The table of crops: positions, not pixels, and a report of what the imaged area holds."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.errors import TableError
from ncm_kedro.params.crop_augment import CropParams, SplitParams
from ncm_kedro.sem.crops.boxes import (
    FloatArray,
    Strip,
    Windows,
    cover_boxes,
    cut_windows,
    draw_positions,
    frame_boxes,
    most_distant,
    place_boxes,
)
from ncm_kedro.sem.crops.regions import (
    REGION_COLUMNS,
    SPLITS,
    class_generator,
    measure_pixel,
    name_cells,
    split_regions,
    union_area_px,
)
from ncm_kedro.sem.mosaic.geometry import frame_matrices, map_points
from ncm_kedro.units import area_px_to_mm2

_LOG = logging.getLogger(__name__)
_COLUMNS = (
    "crop_id",
    "frame_id",
    "x_px",
    "y_px",
    "size_px",
    "split",
    "class",
    "mosaic",
    "area",
    "cell",
)


def plan_crops(manifest: pd.DataFrame, params: CropParams) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Draw the crops of all classes and splits.

    Returns
    -------
    crops
        A row per crop: `crop_id`, `frame_id`, `x_px`, `y_px` (top-left corner in the frame),
        `size_px`, `split`, `class`, `mosaic`, `area` (what intervals resample: the mosaic, as no
        crop straddles two), `cell` (that the crop's centre lies in) and `region_x0_px` ...
        `region_y1_px` (part of the frame that belongs to the crop's split; a jittered crop must
        stay in it).
    report
        What was requested and what there is, per class and split; `leaking` says whether splits
        share a region.

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
        parts = (
            _split_frames(group, params)
            if leaking
            else {name: cut_windows(group, strips, name, params) for name in SPLITS}
        )
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
    return _join(tables, frames, params), report


def _usable_frames(manifest: pd.DataFrame) -> pd.DataFrame:
    kept = manifest[~manifest["excluded"].astype(bool)].sort_values("frame_id", ignore_index=True)
    if kept.empty:
        raise TableError(
            "sem_manifest",
            found=f"{len(manifest)} frames, all of them excluded",
            expected="at least one frame to take crops from",
            action="look at the reasons in 08_reporting/sem/audit.html, correct the data or the "
            "rules (sem_ingest.quality), and run `kedro run --pipelines sem_ingest` again",
        )
    return kept


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
        return pd.DataFrame(columns=[*_COLUMNS, *REGION_COLUMNS])
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
            "area": frames["mosaic"].to_numpy(),
            "cell": _name_cells(windows, rows, corner, strips, params),
        }
    )
    table[list(REGION_COLUMNS)] = windows.region[rows]
    return table


def _name_cells(
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
    middle = np.asarray(corner + params.size_px / 2, dtype=np.float64)[:, None]
    centre = map_points(frame_matrices(windows.table)[rows], middle)[:, 0]
    cell_px = params.split.min_strip_crops * params.size_px
    x, y = (
        name_cells(centre[:, axis], low[rows, axis], high[rows, axis], cell_px) for axis in (0, 1)
    )
    owners = windows.strip[rows]
    return [
        f"{mosaic}/{'frames' if owner < 0 else f'strip{owner}'}/x{column}y{row}"
        for mosaic, owner, column, row in zip(mosaics[rows], owners, x, y, strict=True)
    ]


def _fit_three_splits(frames: pd.DataFrame, split: SplitParams) -> int:
    """Return the largest crop (px) of which the smallest frame holds a strip for each split."""
    sides = frames[["height_px", "width_px"]].to_numpy()
    room_px = (sides.max(axis=1) - 2 * split.guard_px) / (len(SPLITS) * split.min_strip_crops)
    return int(np.minimum(sides.min(axis=1), room_px).min())


def _join(tables: list[pd.DataFrame], frames: pd.DataFrame, params: CropParams) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    if not filled:
        raise TableError(
            "sem_crops",
            found=f"no frame that holds a crop of {params.size_px} px",
            expected="frames at least as large as a crop",
            action=f"lower crop_augment.size_px in conf/local/parameters.yml to "
            f"{_fit_three_splits(frames, params.split)} or less (below 16, take larger frames)",
        )
    crops = pd.concat(filled, ignore_index=True)[[*_COLUMNS, *REGION_COLUMNS]]
    return crops.sort_values("crop_id", ignore_index=True).astype({"size_px": "int64"})


def crop_boxes(crops: pd.DataFrame, manifest: pd.DataFrame) -> FloatArray:
    """Return the box around each crop in its mosaic, ``(N, 4)`` x0, y0, x1, y1 (px)."""
    return place_boxes(_frames_of(crops, manifest), _crop_windows(crops))


def _crop_windows(crops: pd.DataFrame) -> FloatArray:
    corner = crops[["x_px", "y_px"]].to_numpy(np.float64)
    size = crops["size_px"].to_numpy(np.float64)[:, None]
    return np.concatenate([corner, corner + size], axis=1)


def _frames_of(crops: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    return manifest.set_index("frame_id").loc[crops["frame_id"]]


def report_class(
    group: pd.DataFrame,
    parts: Mapping[str, Windows],
    crops: Mapping[str, pd.DataFrame],
    requested: Mapping[str, int],
    size_px: int,
) -> dict[str, Any]:
    """Report the splits of one class.

    Parameters
    ----------
    parts
        Windows of each split.
    size_px
        Edge of a crop (px).

    Returns
    -------
    dict
        `frames`, `mosaics` and per split: crops `requested` and `drawn`, unique imaged
        area (`area_px2`, `area_mm2`), `disjoint_crops` (that area in crops), `effective_crops` (the
        area that the drawn ones cover, in crops), and numbers of `mosaics` and `areas`.
    """
    splits = {}
    for name, windows in parts.items():
        table = crops[name]
        region_px2, region_mm2 = _measure_union(windows.table, windows.region)
        covered_px2, _ = _measure_union(_frames_of(table, group), _crop_windows(table))
        splits[name] = {
            "requested": requested[name],
            "drawn": len(table),
            "area_px2": region_px2,
            "area_mm2": region_mm2,
            "disjoint_crops": region_px2 / size_px**2,
            "effective_crops": min(len(table), covered_px2 / size_px**2),
            "mosaics": int(table["mosaic"].nunique()),
            "areas": int(table["area"].nunique()),
        }
    return {"frames": len(group), "mosaics": int(group["mosaic"].nunique()), "splits": splits}


def warn_low_counts(class_name: str, entry: Mapping[str, Any], leaking: bool) -> list[str]:
    """One line per problem: where the imaged area falls short, and what is done about it."""
    texts = []
    short = {
        name: part for name, part in entry["splits"].items() if part["drawn"] < part["requested"]
    }
    tight = {
        name: part
        for name, part in entry["splits"].items()
        if name not in short and part["disjoint_crops"] < part["requested"]
    }
    if short:
        counts = ", ".join(f"{p['drawn']} of {p['requested']} {n}" for n, p in short.items())
        texts.append(f"{class_name}: the imaged area holds no more crops than {counts}")
    if tight:
        counts = ", ".join(
            f"{n} {p['area_mm2']:.3f} mm2 = {p['disjoint_crops']:.1f} for {p['requested']}"
            for n, p in tight.items()
        )
        other = "and those of other splits" if leaking else "of their split, none of another"
        texts.append(
            f"{class_name}: a smaller imaged area than disjoint crops need ({counts}); "
            f"crops overlap others {other}"
        )
    return texts


def _measure_union(rows: pd.DataFrame, boxes: NDArray[Any]) -> tuple[float, float]:
    """Measure the unique area of boxes in frames, in px² of the mosaics and in mm²."""
    area_px2 = area_mm2 = 0.0
    for _, places in rows.reset_index(drop=True).groupby("mosaic").indices.items():
        part = rows.iloc[places]
        union_px2 = union_area_px(cover_boxes(part, boxes[places])[0])
        area_px2 += union_px2
        area_mm2 += area_px_to_mm2(union_px2, measure_pixel(part))
    return area_px2, area_mm2
