"""How much ground frames show, each spot counted once.

A box is ``(x0, y0, x1, y1)`` in the coordinates of its mosaic (px). Areas of unions are exact: the
edges of all boxes form a grid on whose cells the union is constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.units import area_px_to_mm2

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """Area of a union of boxes as a function of the place along one axis.

    Parameters
    ----------
    edges_px
        Places along the axis, rising, ``(E,)``.
    cumulative_px2
        Area of the union below each place, ``(E,)``.
    """

    edges_px: FloatArray
    cumulative_px2: FloatArray

    def area_between(self, start_px: float, stop_px: float) -> float:
        """Area of the union between two places (px²)."""
        low, high = np.interp([start_px, stop_px], self.edges_px, self.cumulative_px2)
        return float(high - low)

    def place_after(self, start_px: float, area_px2: float) -> float:
        """Place up to which the union holds ``area_px2`` beyond ``start_px`` (px)."""
        done = np.interp(start_px, self.edges_px, self.cumulative_px2)
        return float(np.interp(done + area_px2, self.cumulative_px2, self.edges_px))

    def place_before(self, stop_px: float, area_px2: float) -> float:
        """Place from which the union holds ``area_px2`` up to ``stop_px`` (px)."""
        done = np.interp(stop_px, self.edges_px, self.cumulative_px2)
        return float(np.interp(done - area_px2, self.cumulative_px2, self.edges_px))


def frame_boxes(manifest: pd.DataFrame) -> FloatArray:
    """Give the outline of each frame in its mosaic, ``(N, 4)`` (px).

    Parameters
    ----------
    manifest
        With `mosaic_x_px`, `mosaic_y_px`, `width_px` and `height_px`.
    """
    corner = manifest[["mosaic_x_px", "mosaic_y_px"]].to_numpy(np.float64)
    extent = manifest[["width_px", "height_px"]].to_numpy(np.float64)
    return np.concatenate([corner, corner + extent], axis=1)


def union_area_px(boxes: FloatArray) -> float:
    """Area of the union of boxes (px²).

    Parameters
    ----------
    boxes
        ``(N, 4)``.
    """
    return float(profile_area(boxes, axis=0).cumulative_px2[-1]) if len(boxes) else 0.0


def profile_area(boxes: FloatArray, axis: int) -> Profile:
    """Measure how the area of a union of boxes adds up along an axis.

    Parameters
    ----------
    boxes
        ``(N, 4)``, at least one.
    axis
        0 for x, 1 for y.
    """
    x_edges, y_edges, covered_xy = _cover_grid(boxes)
    cells = np.diff(x_edges)[:, None] * np.diff(y_edges)[None] * covered_xy
    edges = (x_edges, y_edges)[axis]
    return Profile(edges, np.concatenate([[0.0], np.cumsum(cells.sum(axis=1 - axis))]))


def measure_areas(manifest: pd.DataFrame) -> pd.DataFrame:
    """Measure the unique ground of each mosaic.

    Parameters
    ----------
    manifest
        Frames with their mosaics; excluded ones are left out.

    Returns
    -------
    pandas.DataFrame
        A row per mosaic, sorted: `class`, `session` (those of its frames, ``;``-joined),
        `mosaic`, `n_frames`, `area_px2`, `area_mm2`, `fields_of_view` (unique area in frames),
        `repeats` (how often a spot is shown on average), `extent_x_px`, `extent_y_px`.
    """
    kept = manifest[~manifest["excluded"].astype(bool)]
    rows = []
    for (class_name, mosaic), group in kept.groupby(["class", "mosaic"], sort=True):
        boxes = frame_boxes(group)
        area_px2 = union_area_px(boxes)
        frame_px2 = float((group["width_px"] * group["height_px"]).mean())
        extent = boxes[:, 2:].max(axis=0) - boxes[:, :2].min(axis=0)
        rows.append(
            {
                "class": class_name,
                "session": ";".join(sorted(group["session"].unique())),
                "mosaic": mosaic,
                "n_frames": len(group),
                "area_px2": area_px2,
                "area_mm2": area_px_to_mm2(area_px2, float(group["pixel_size_um"].median())),
                "fields_of_view": area_px2 / frame_px2,
                "repeats": len(group) * frame_px2 / area_px2,
                "extent_x_px": float(extent[0]),
                "extent_y_px": float(extent[1]),
            }
        )
    columns = ["class", "session", "mosaic", "n_frames", "area_px2", "area_mm2"]
    columns += ["fields_of_view", "repeats", "extent_x_px", "extent_y_px"]
    return pd.DataFrame(rows, columns=columns)


def name_cells(
    places_px: FloatArray, start_px: FloatArray, stop_px: FloatArray, cell_px: float
) -> NDArray[np.int_]:
    """Tell which of the equal cells, at least ``cell_px`` wide, places along one axis lie in.

    Parameters
    ----------
    places_px
        ``(N,)`` (px).
    start_px, stop_px
        Range that the cells fill, for each place, ``(N,)`` (px).
    cell_px
        Least width of a cell (px); a narrower range is one cell.
    """
    n_cells = np.maximum(1, np.floor((stop_px - start_px) / cell_px)).astype(int)
    width = np.maximum(stop_px - start_px, 1e-9) / n_cells
    cell = np.floor((places_px - start_px) / width).astype(int)
    return np.asarray(np.clip(cell, 0, n_cells - 1), dtype=np.int_)


def _cover_grid(boxes: FloatArray) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    x_edges, y_edges = np.unique(boxes[:, [0, 2]]), np.unique(boxes[:, [1, 3]])
    change = np.zeros((len(x_edges), len(y_edges)), dtype=np.int64)
    x0, x1 = (np.searchsorted(x_edges, boxes[:, column]) for column in (0, 2))
    y0, y1 = (np.searchsorted(y_edges, boxes[:, column]) for column in (1, 3))
    for x, y, sign in ((x0, y0, 1), (x1, y1, 1), (x0, y1, -1), (x1, y0, -1)):
        np.add.at(change, (x, y), sign)
    covered = change.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0
    return x_edges, y_edges, covered
