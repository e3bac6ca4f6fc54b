"""Unique imaged area: known values and a brute-force raster."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from manifest_cases import list_frame
from ncm_kedro.sem.crops.regions import measure_areas, name_cells, profile_area, union_area_px


def test_union_of_known_boxes():
    boxes = np.array([[0, 0, 10, 10], [5, 5, 15, 15], [100, 0, 101, 2]], float)
    assert union_area_px(boxes) == 100 + 100 - 25 + 2
    assert union_area_px(np.repeat(boxes[:1], 5, axis=0)) == 100
    assert union_area_px(np.zeros((0, 4))) == 0


def test_union_agrees_with_a_raster():
    rng = np.random.default_rng(0)
    low = rng.integers(0, 150, (60, 2))
    boxes = np.concatenate([low, low + rng.integers(1, 50, (60, 2))], axis=1)
    raster = np.zeros((200, 200), bool)
    for x0, y0, x1, y1 in boxes:
        raster[y0:y1, x0:x1] = True
    assert union_area_px(boxes.astype(float)) == raster.sum()
    for axis in (0, 1):
        profile = profile_area(boxes.astype(float), axis)
        along = raster.sum(axis=axis)
        assert profile.area_between(30, 77) == pytest.approx(along[30:77].sum())


def test_areas_per_mosaic_in_mm2_without_excluded_frames():
    manifest = pd.DataFrame([
        list_frame("333", n, mosaic=mosaic, mosaic_x_px=x, pixel_size_um=2.0, excluded=n == 3)
        for n, (mosaic, x) in enumerate([("m1", 0.0), ("m1", 50.0), ("m2", 0.0), ("m2", 500.0)])
    ])  # fmt: skip
    areas = measure_areas(manifest).set_index("mosaic")
    assert areas["area_px2"].to_dict() == {"m1": 15_000.0, "m2": 10_000.0}
    assert areas.loc["m1", "area_mm2"] == pytest.approx(15_000 * 4e-6)
    assert areas.loc["m1", "fields_of_view"] == pytest.approx(1.5)
    assert areas.loc["m1", "repeats"] == pytest.approx(2 / 1.5)


def test_cells_fill_a_range_evenly():
    places = np.array([0.0, 49.9, 50.0, 99.0, 100.0])
    zero, stop = np.zeros(5), np.full(5, 100.0)
    assert name_cells(places, zero, stop, 40).tolist() == [0, 0, 1, 1, 1]
    assert name_cells(places, zero, stop, 200).tolist() == [0] * 5
