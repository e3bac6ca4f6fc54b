"""Sharing out the region of a class among splits or folds, as strips that never overlap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
import pandas as pd

from ncm_kedro.params.crop_augment import CropParams
from ncm_kedro.sem.audit.areas import FloatArray, Profile, frame_boxes, profile_area

_ATTEMPTS = 20


@dataclass(frozen=True)
class Strip:
    """Part of a mosaic between two places along its longer side.

    Parameters
    ----------
    mosaic
        Name of the mosaic.
    axis
        0: the strip is bounded in x; 1: in y.
    start_px, stop_px
        Bounds in mosaic coordinates.
    split
        What the strip is for.
    """

    mosaic: str
    axis: int
    start_px: float
    stop_px: float
    split: str

    @property
    def length_px(self) -> float:
        """Extent along the axis (px)."""
        return self.stop_px - self.start_px


@dataclass
class _MosaicRegion:
    """What is still to be shared out of one mosaic."""

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
    """Give a class its own random numbers, which no other class changes."""
    key = [seed, crc32(class_name.encode()), crc32(purpose.encode())]
    return np.random.default_rng(np.random.SeedSequence(key))


def split_regions(frames: pd.DataFrame, params: CropParams) -> list[Strip]:
    """Share out the region of one class among `test`, `validate` and `train`.

    Whole mosaics are given away where their area fits the asked shares. Otherwise strips are cut
    off the ends of mosaics, of as many mosaics as leaves each strip wide enough for crops: the
    test from one end, validation from the other.

    Parameters
    ----------
    frames
        Kept frames of one class, with their mosaics.
    params
        Shares, least widths and seed.

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


def split_folds(frames: pd.DataFrame, params: CropParams, n_folds: int) -> list[Strip]:
    """Cut the region of one class into folds of equal area.

    Parameters
    ----------
    frames
        Kept frames of one class, with their mosaics.
    params
        Least widths and seed.
    n_folds
        Number of folds; the strips' `split` is the fold's number as text.

    Returns
    -------
    list of Strip
        Disjoint strips; remainders narrower than a crop are left out.
    """
    regions = list(_list_regions(frames))
    per_fold_px2 = sum(region.area_px2 for region in regions) / n_folds
    guard_px = float(params.split.guard_px)
    strips: list[Strip] = []
    fold, missing_px2 = 0, per_fold_px2
    for region in regions:
        while fold < n_folds - 1 and region.area_px2 > missing_px2:
            if region.length_of(missing_px2, "start") >= params.size_px:
                strips.append(region.cut(missing_px2, 0, guard_px, str(fold), "start"))
            fold, missing_px2 = fold + 1, per_fold_px2
        strips.append(replace(region.rest, split=str(fold)))
        missing_px2 -= region.area_px2
    return [strip for strip in strips if strip.length_px >= params.size_px]


def _list_regions(frames: pd.DataFrame) -> Iterator[_MosaicRegion]:
    """One region per mosaic, in order of name, along its longer side."""
    for mosaic, group in frames.groupby("mosaic", sort=True):
        boxes: FloatArray = frame_boxes(group)
        low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        axis = int(np.argmax(high - low))
        rest = Strip(str(mosaic), axis, float(low[axis]), float(high[axis]), "")
        yield _MosaicRegion(rest, profile_area(boxes, axis))


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
