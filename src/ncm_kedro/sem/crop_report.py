"""What was asked of the ground of a class, and what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ncm_kedro.sem.areas import FloatArray, union_area_px
from ncm_kedro.sem.crop_sampling import Windows
from ncm_kedro.units import area_px_to_mm2


def crop_boxes(crops: pd.DataFrame, manifest: pd.DataFrame) -> FloatArray:
    """Give the outline of each crop in its mosaic, ``(N, 4)`` x0, y0, x1, y1 (px).

    Parameters
    ----------
    crops
        As `plan_crops` returns them.
    manifest
        Frames with mosaics.
    """
    placed = manifest.set_index("frame_id").loc[crops["frame_id"]]
    corner = crops[["x_px", "y_px"]].to_numpy(np.float64)
    corner = corner + placed[["mosaic_x_px", "mosaic_y_px"]].to_numpy(np.float64)
    size = crops["size_px"].to_numpy(np.float64)[:, None]
    return np.concatenate([corner, corner + size], axis=1)


def report_class(
    group: pd.DataFrame,
    parts: Mapping[str, Windows],
    crops: Mapping[str, pd.DataFrame],
    asked: Mapping[str, int],
    size_px: int,
) -> dict[str, Any]:
    """Report the splits of one class.

    Parameters
    ----------
    group
        Kept frames of the class.
    parts
        Ground of each split.
    crops
        Crops of each split.
    asked
        Number of crops asked of each split.
    size_px
        Edge of a crop (px).

    Returns
    -------
    dict
        `frames`, `mosaics` and per split: crops `asked` and `drawn`, unique ground (`area_px2`,
        `area_mm2`), `disjoint_crops` (crops' worth of that ground), `effective_crops` (crops'
        worth of the ground that the drawn ones cover), and numbers of `mosaics` and `areas`.
    """
    pixel_size_um = float(group["pixel_size_um"].median())
    splits = {}
    for name, windows in parts.items():
        table = crops[name]
        ground_px2 = _union_by_mosaic(windows.table["mosaic"], _region_boxes(windows))
        covered_px2 = _union_by_mosaic(table["mosaic"], crop_boxes(table, group))
        splits[name] = {
            "asked": asked[name],
            "drawn": len(table),
            "area_px2": ground_px2,
            "area_mm2": area_px_to_mm2(ground_px2, pixel_size_um),
            "disjoint_crops": ground_px2 / size_px**2,
            "effective_crops": min(len(table), covered_px2 / size_px**2),
            "mosaics": int(table["mosaic"].nunique()),
            "areas": int(table["area"].nunique()),
        }
    return {"frames": len(group), "mosaics": int(group["mosaic"].nunique()), "splits": splits}


def warn_of_scarcity(class_name: str, entry: Mapping[str, Any], leaking: bool) -> list[str]:
    """Say in one line per problem where the ground falls short, and what is done about it.

    Parameters
    ----------
    class_name
        Name of the class.
    entry
        What `report_class` returned.
    leaking
        Whether splits share ground.
    """
    texts = []
    short = {name: part for name, part in entry["splits"].items() if part["drawn"] < part["asked"]}
    tight = {
        name: part
        for name, part in entry["splits"].items()
        if name not in short and part["disjoint_crops"] < part["asked"]
    }
    if short:
        counts = ", ".join(f"{p['drawn']} of {p['asked']} {n}" for n, p in short.items())
        texts.append(f"{class_name}: the ground holds no more crops than {counts}")
    if tight:
        counts = ", ".join(
            f"{n} {p['area_mm2']:.3f} mm2 = {p['disjoint_crops']:.1f} for {p['asked']}"
            for n, p in tight.items()
        )
        other = "and those of other splits" if leaking else "of their split, none of another"
        texts.append(
            f"{class_name}: less ground than disjoint crops need ({counts}); "
            f"crops overlap others {other}"
        )
    return texts


def _region_boxes(windows: Windows) -> FloatArray:
    corner = windows.table[["mosaic_x_px", "mosaic_y_px"]].to_numpy(np.float64)
    return np.asarray(windows.region + np.tile(corner, 2), dtype=np.float64)


def _union_by_mosaic(mosaics: pd.Series, boxes: FloatArray) -> float:
    names = mosaics.to_numpy()
    return float(sum(union_area_px(boxes[names == name]) for name in np.unique(names)))
