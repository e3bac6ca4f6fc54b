"""Unique imaged area, and its division among splits as strips that never overlap.

A box is ``(x0, y0, x1, y1)`` in the coordinates of its mosaic (px). Areas of unions are exact: the
edges of all boxes form a grid on whose cells the union is constant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.params.crop_augment import CropParams
from ncm_kedro.sem.crops.boxes import FloatArray, Strip, cover_boxes, frame_boxes
from ncm_kedro.sem.mosaic.geometry import frame_matrices
from ncm_kedro.units import area_px_to_mm2

SPLITS = ("train", "validate", "test")
REGION_COLUMNS = ("region_x0_px", "region_y0_px", "region_x1_px", "region_y1_px")
_ATTEMPTS = 20


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
    """Measure the unique imaged area of each mosaic.

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
        area_px2 = union_area_px(cover_frames(group))
        frame_px2 = measure_frames(group)
        extent = boxes[:, 2:].max(axis=0) - boxes[:, :2].min(axis=0)
        rows.append(
            {
                "class": class_name,
                "session": ";".join(sorted(group["session"].unique())),
                "mosaic": mosaic,
                "n_frames": len(group),
                "area_px2": area_px2,
                "area_mm2": area_px_to_mm2(area_px2, measure_pixel(group)),
                "fields_of_view": area_px2 / frame_px2,
                "repeats": len(group) * frame_px2 / area_px2,
                "extent_x_px": float(extent[0]),
                "extent_y_px": float(extent[1]),
            }
        )
    columns = ["class", "session", "mosaic", "n_frames", "area_px2", "area_mm2"]
    columns += ["fields_of_view", "repeats", "extent_x_px", "extent_y_px"]
    return pd.DataFrame(rows, columns=columns)


def cover_frames(manifest: pd.DataFrame) -> FloatArray:
    """Boxes in the mosaic whose union has the area of the frames, ``(M, 4)`` (px)."""
    extent = manifest[["width_px", "height_px"]].to_numpy(np.float64)
    return cover_boxes(manifest, np.concatenate([np.zeros_like(extent), extent], axis=1))[0]


def measure_frames(manifest: pd.DataFrame) -> float:
    """Mean area of the frames in their mosaics (px²)."""
    scale = np.abs(np.linalg.det(frame_matrices(manifest)[:, :, :2]))
    return float((manifest["width_px"] * manifest["height_px"] * scale).mean())


def measure_pixel(manifest: pd.DataFrame) -> float:
    """Median pixel size of the mosaics that frames lie in (um)."""
    scale = np.sqrt(np.abs(np.linalg.det(frame_matrices(manifest)[:, :, :2])))
    return float((manifest["pixel_size_um"] / scale).median())


def name_cells(
    places_px: FloatArray, start_px: FloatArray, stop_px: FloatArray, cell_px: float
) -> NDArray[np.int_]:
    """Return which of the equal cells, at least ``cell_px`` wide, places along one axis lie in.

    Parameters
    ----------
    places_px
        ``(N,)`` (px).
    start_px, stop_px
        Range that the cells fill, for each place, ``(N,)`` (px).
    cell_px
        Minimum width of a cell (px); a narrower range is one cell.
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


@dataclass
class _MosaicRegion:
    """The part of a mosaic that is not yet assigned."""

    rest: Strip
    profile: Profile
    untouched: bool = True

    @property
    def area_px2(self) -> float:
        return self.profile.area_between(self.rest.start_px, self.rest.stop_px)

    def cut(self, area_px2: float, min_px: float, guard_px: float, split: str, at: str) -> Strip:
        """Cut a strip of an area, and at least of a width, off one end."""
        rest = self.rest
        if at == "start":
            place = self.profile.place_after(rest.start_px, area_px2)
            place = max(place, rest.start_px + min_px)
            strip = replace(rest, stop_px=place, split=split)
            self.rest = replace(rest, start_px=place + guard_px)
        else:
            place = self.profile.place_before(rest.stop_px, area_px2)
            place = min(place, rest.stop_px - min_px)
            strip = replace(rest, start_px=place, split=split)
            self.rest = replace(rest, stop_px=place - guard_px)
        self.untouched = False
        return strip

    def length_of(self, area_px2: float, at: str) -> float:
        """Width of the strip that holds an area at one end (px)."""
        rest = self.rest
        if at == "start":
            return self.profile.place_after(rest.start_px, area_px2) - rest.start_px
        return rest.stop_px - self.profile.place_before(rest.stop_px, area_px2)


def class_generator(seed: int, class_name: str, purpose: str) -> np.random.Generator:
    """Random numbers of one class, which no other class changes."""
    key = [seed, crc32(class_name.encode()), crc32(purpose.encode())]
    return np.random.default_rng(np.random.SeedSequence(key))


def split_regions(frames: pd.DataFrame, params: CropParams) -> list[Strip]:
    """Divide the imaged area of one class among `test`, `validate` and `train`.

    Whole mosaics are assigned where their area fits the requested fractions. Otherwise strips are
    cut off the ends of mosaics, of as many mosaics as leaves each strip wide enough for crops: the
    test from one end, validation from the other.

    Returns
    -------
    list of Strip
        Disjoint strips; a split that there is too little region for has none.
    """
    rng = class_generator(params.seed, str(frames["class"].iloc[0]), "ground")
    regions = list(_list_regions(frames))
    total_px2 = sum(region.area_px2 for region in regions)
    ends = {region.rest.mosaic: str(rng.choice(["start", "stop"])) for region in regions}
    split = params.split
    wanted_px2 = {
        "test": split.test_fraction * total_px2,
        "validate": (1 - split.test_fraction) * split.validate_fraction * total_px2,
    }
    strips: list[Strip] = []
    for name, area_px2 in wanted_px2.items():
        taken = _take_whole(regions, area_px2, split.whole_mosaic_tolerance, name, rng)
        strips += taken or _take_strips(regions, area_px2, params, name, ends)
        ends = {mosaic: "stop" if end == "start" else "start" for mosaic, end in ends.items()}
    return [*strips, *(replace(region.rest, split="train") for region in regions)]


def _list_regions(frames: pd.DataFrame) -> Iterator[_MosaicRegion]:
    """One region per mosaic, in order of name, along its longer side."""
    for mosaic, group in frames.groupby("mosaic", sort=True):
        boxes: FloatArray = frame_boxes(group)
        low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        axis = int(np.argmax(high - low))
        rest = Strip(str(mosaic), axis, float(low[axis]), float(high[axis]), "")
        yield _MosaicRegion(rest, profile_area(cover_frames(group), axis))


def _take_whole(
    regions: list[_MosaicRegion],
    area_px2: float,
    tolerance: float,
    split: str,
    rng: np.random.Generator,
) -> list[Strip]:
    """Take whole mosaics whose area together fits best; none if no attempt comes near enough."""
    best: list[_MosaicRegion] = []
    best_miss_px2 = tolerance * area_px2
    for _ in range(_ATTEMPTS):
        taken: list[_MosaicRegion] = []
        miss_px2 = area_px2
        for index in rng.permutation(len(regions)):
            region = regions[index]
            left_px2 = area_px2 - sum(other.area_px2 for other in taken) - region.area_px2
            if region.untouched and abs(left_px2) < miss_px2 and len(taken) < len(regions) - 1:
                taken.append(region)
                miss_px2 = abs(left_px2)
        if taken and miss_px2 <= best_miss_px2:
            best, best_miss_px2 = taken, miss_px2
    for region in best:
        regions.remove(region)
    return [replace(region.rest, split=split) for region in best]


def _take_strips(
    regions: list[_MosaicRegion],
    area_px2: float,
    params: CropParams,
    split: str,
    ends: dict[str, str],
) -> list[Strip]:
    """Cut strips off the largest mosaics, or take the smallest one where none can be cut."""
    guard_px = float(params.split.guard_px)
    parts_left = 3 if split == "test" else 2
    for min_px in (params.split.min_strip_crops * params.size_px, float(params.size_px)):
        needed_px = parts_left * (min_px + guard_px)
        roomy = [region for region in regions if region.rest.length_px >= needed_px]
        if not roomy and len(regions) > 1:
            needed_px = 2 * (min_px + guard_px)
            roomy = [region for region in regions if region.rest.length_px >= needed_px]
        roomy.sort(key=lambda region: (-region.area_px2, region.rest.mosaic))
        for n_strips in range(len(roomy), 0, -1):
            share_px2 = area_px2 / n_strips
            chosen = roomy[:n_strips]
            wide = all(
                min_px <= region.length_of(share_px2, ends[region.rest.mosaic])
                and region.area_px2 > 2 * share_px2
                for region in chosen
            )
            if wide or n_strips == 1:
                return [
                    region.cut(share_px2, min_px, guard_px, split, ends[region.rest.mosaic])
                    for region in chosen
                ]
    if len(regions) <= 1:
        return []
    smallest = min(regions, key=lambda region: (region.area_px2, region.rest.mosaic))
    regions.remove(smallest)
    return [replace(smallest.rest, split=split)]
