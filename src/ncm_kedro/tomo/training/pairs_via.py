"""Annotations of the VGG Image Annotator (VIA), as JSON or CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.draw import ellipse, polygon, rectangle

from ncm_kedro.errors import FrameError

Region = Mapping[str, Any]
Pixels = tuple[NDArray[np.intp], NDArray[np.intp]]

_CSV_COLUMNS = ("filename", "region_shape_attributes")
_SHAPES = "polygon, polyline, circle, ellipse or rect"


def read_via(path: Path) -> dict[str, list[Region]]:
    """Read the regions of each image of an annotation.

    Parameters
    ----------
    path
        A VIA project, a VIA JSON export, or a VIA CSV export.

    Returns
    -------
    dict
        Shape attributes by file name, in their order; empty for a file of another kind.

    Raises
    ------
    FrameError
        If the file is a damaged annotation.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".csv":
            return _parse_csv(text)
        return _parse_json(json.loads(text))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FrameError(
            path,
            found=f"an annotation that cannot be read ({error!r})",
            expected="JSON or CSV as VIA exports it",
            action="export the annotation again, or remove the file",
        ) from error


def draw_regions(
    regions: list[Region], shape_yx: tuple[int, ...], where: Path
) -> NDArray[np.int32]:
    """Draw regions as labels 1..n; later ones lie on top.

    Parameters
    ----------
    regions
        Shape attributes.
    shape_yx
        Rows and columns of the image.
    where
        The annotation, for messages.

    Returns
    -------
    ndarray of int32
        Labels (H, W), 0 for background.

    Raises
    ------
    FrameError
        If a region is of a shape that is no area, or lacks an attribute.
    """
    labels = np.zeros(shape_yx, np.int32)
    for number, region in enumerate(regions, start=1):
        try:
            rows, columns = _fill_region(region, (int(shape_yx[0]), int(shape_yx[1])))
        except (KeyError, TypeError, ValueError) as error:
            raise FrameError(
                f"{where}, region {number}",
                found=f"shape {region.get('name')!r} that cannot be drawn ({error!r})",
                expected=_SHAPES,
                action="redraw the region in VIA, or delete it",
            ) from error
        labels[rows, columns] = number
    return labels


def _parse_json(content: Any) -> dict[str, list[Region]]:
    """Parse a project (``_via_img_metadata``) or an export; regions are lists or numbered."""
    if not isinstance(content, dict):
        return {}
    entries = content.get("_via_img_metadata", content)
    images: dict[str, list[Region]] = {}
    for entry in entries.values():
        if not (isinstance(entry, dict) and "filename" in entry and "regions" in entry):
            continue
        regions = entry["regions"]
        listed = regions.values() if isinstance(regions, dict) else regions
        images[str(entry["filename"])] = [region["shape_attributes"] for region in listed]
    return images


def _parse_csv(text: str) -> dict[str, list[Region]]:
    reader = csv.DictReader(text.splitlines())
    names = {name.lstrip("#").strip(): name for name in reader.fieldnames or ()}
    if not all(column in names for column in _CSV_COLUMNS):
        return {}
    images: dict[str, list[Region]] = {}
    for row in reader:
        attributes = json.loads(row[names["region_shape_attributes"]] or "{}")
        regions = images.setdefault(row[names["filename"]], [])
        if attributes:
            regions.append(attributes)
    return images


def _fill_region(region: Region, shape_yx: tuple[int, int]) -> Pixels:
    match region["name"]:
        case "polygon" | "polyline":
            columns, rows = region["all_points_x"], region["all_points_y"]
            if len(rows) < 3 or len(rows) != len(columns):
                raise ValueError(f"{len(rows)} y and {len(columns)} x coordinates")
            pixels: Pixels = polygon(np.array(rows, float), np.array(columns, float), shape_yx)
        case "circle":
            pixels = ellipse(region["cy"], region["cx"], region["r"], region["r"], shape_yx)
        case "ellipse":
            turn = -float(region.get("theta", 0.0))  # VIA turns clockwise on the screen
            pixels = ellipse(
                region["cy"], region["cx"], region["ry"], region["rx"], shape_yx, rotation=turn
            )
        case "rect":
            top, left = int(region["y"]), int(region["x"])
            extent = (int(region["height"]), int(region["width"]))
            rows, columns = rectangle((top, left), extent=extent, shape=shape_yx)
            pixels = rows.astype(np.intp), columns.astype(np.intp)
        case other:
            raise ValueError(f"{other!r} is no area")
    return pixels
