"""The crop table: disjoint regions proven on coordinates, whatever the mosaics look like."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from manifest_cases import list_frame
from ncm_kedro.contracts.sem import SemCrops
from ncm_kedro.errors import TableError
from ncm_kedro.params.crop_augment import CropParams, SplitParams
from ncm_kedro.sem.crops.boxes import Windows, draw_positions
from ncm_kedro.sem.crops.crops import crop_boxes, plan_crops
from ncm_kedro.sem.crops.regions import split_regions

HEIGHT, WIDTH, SIZE = 360, 480, 100
PARAMS = CropParams(size_px=SIZE, images_per_class=60, test_images_per_class=15)


def make_manifest(series, seed=0, height=HEIGHT, width=WIDTH):
    """Give `series`: class -> frames of each mosaic; drift at random, fractional places."""
    rng = np.random.default_rng(seed)
    rows = []
    for class_name, mosaics in series.items():
        for number, n_frames in enumerate(mosaics):
            steps = rng.uniform([-20, 20], [90, 120], (n_frames, 2))
            places = np.cumsum(steps, axis=0)
            places -= places.min(axis=0)
            for frame, (x, y) in enumerate(places):
                rows.append(list_frame(
                    class_name, f"m{number}_{frame}", mosaic=f"{class_name}/m{number + 1:02d}",
                    mosaic_x_px=x, mosaic_y_px=y, height_px=height, width_px=width,
                    pixel_size_um=0.5,
                ))  # fmt: skip
    return pd.DataFrame(rows)


def count_shared(crops, manifest):
    """Brute force: pairs of crops of different splits that overlap."""
    boxes = crop_boxes(crops, manifest)
    x0, y0, x1, y1 = boxes.T
    shared = (x0[:, None] < x1) & (x1[:, None] > x0) & (y0[:, None] < y1) & (y1[:, None] > y0)
    mosaic, split = crops["mosaic"].to_numpy(), crops["split"].to_numpy()
    shared &= mosaic[:, None] == mosaic
    return int((shared & (split[:, None] != split)).sum()) // 2


LAYOUTS = {
    "one long mosaic each": {"333": [30], "811_cycled": [18]},
    "several mosaics": {"333": [6, 7, 5], "523": [3, 3, 9, 2]},
    "many small ones": {"333": [2] * 12, "811": [1] * 15},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("seed", [0, 1])
def test_splits_never_share_ground(layout, seed):
    manifest = make_manifest(layout, seed)
    crops, report = plan_crops(manifest, PARAMS.model_copy(update={"seed": seed}))
    assert report["leaking"] is False
    assert count_shared(crops, manifest) == 0
    counts = crops.groupby(["class", "split"]).size().unstack()
    assert (counts[["train", "validate", "test"]] == [48, 12, 15]).all(axis=None)
    assert set(report["classes"]) == set(layout)
    for side in "xy":
        low, high = (crops[f"region_{side}{end}_px"] for end in (0, 1))
        assert (low <= crops[f"{side}_px"]).all()
        assert (crops[f"{side}_px"] + SIZE <= high).all()
        assert high.max() <= {"x": WIDTH, "y": HEIGHT}[side]
    SemCrops.validate(crops)


def test_a_crop_moved_anywhere_in_its_region_stays_in_its_split():
    manifest = make_manifest(LAYOUTS["one long mosaic each"])
    crops, _ = plan_crops(manifest, PARAMS)
    for x, y in (("x0", "y0"), ("x1", "y1")):
        moved = crops.copy()
        moved["x_px"] = crops[f"region_{x}_px"] - (SIZE if x == "x1" else 0)
        moved["y_px"] = crops[f"region_{y}_px"] - (SIZE if y == "y1" else 0)
        assert count_shared(pd.concat([crops, moved]), manifest) == 0


def test_table_depends_on_seed_only_not_on_row_order_or_other_classes():
    manifest = make_manifest(LAYOUTS["several mosaics"])
    crops, report = plan_crops(manifest, PARAMS)
    again, report_again = plan_crops(manifest.sample(frac=1, random_state=5), PARAMS)
    pd.testing.assert_frame_equal(crops, again)
    assert report == report_again
    alone, _ = plan_crops(manifest[manifest["class"] == "523"], PARAMS)
    pd.testing.assert_frame_equal(crops[crops["class"] == "523"].reset_index(drop=True), alone)
    other, _ = plan_crops(manifest, PARAMS.model_copy(update={"seed": 9}))
    assert not other["crop_id"].equals(crops["crop_id"])


def test_split_by_frame_is_marked_as_leaking_and_leaks():
    manifest = make_manifest(LAYOUTS["one long mosaic each"])
    params = PARAMS.model_copy(update={"split": SplitParams(by="frame")})
    crops, report = plan_crops(manifest, params)
    assert report["leaking"] is True
    assert count_shared(crops, manifest) > 0
    assert crops.groupby("frame_id")["split"].nunique().eq(1).all()
    files = crops.groupby(["class", "split"])["frame_id"].nunique()
    assert files["333", "test"] == 3


def test_excluded_frames_are_not_used():
    manifest = make_manifest({"333": [20]})
    manifest.loc[5:8, "excluded"] = True
    crops, _ = plan_crops(manifest, PARAMS)
    assert not set(crops["frame_id"]) & set(manifest.loc[5:8, "frame_id"])


def test_shares_of_ground_are_near_those_asked():
    crops, report = plan_crops(make_manifest({"333": [60]}), PARAMS)
    split = {name: part["area_px2"] for name, part in report["classes"]["333"]["splits"].items()}
    total = sum(split.values())
    assert split["test"] / total == pytest.approx(0.10, abs=0.03)
    assert split["validate"] / total == pytest.approx(0.18, abs=0.03)
    assert len(crops) == 75


def test_whole_mosaics_are_given_away_where_shares_fit():
    manifest = make_manifest({"333": [1] * 20})
    strips = split_regions(manifest, PARAMS)
    assert len(strips) == len({strip.mosaic for strip in strips}) == 20
    assert sum(strip.split == "test" for strip in strips) == 2


def test_test_ground_is_spread_over_mosaics_where_there_is_room():
    manifest = make_manifest({"333": [60, 60, 60]})
    strips = split_regions(manifest, PARAMS)
    assert sum(strip.split == "test" for strip in strips) == 3


def test_positions_cover_the_ground_without_heavy_repeats():
    manifest = make_manifest({"333": [20]})
    crops, report = plan_crops(manifest, PARAMS)
    train = crops[crops["split"] == "train"]
    centre = crop_boxes(train, manifest)[:, :2]
    gaps = np.hypot(*(centre[:, None] - centre).transpose(2, 0, 1))
    nearest = gaps[~np.eye(len(gaps), dtype=bool)].reshape(len(gaps), -1).min(axis=1)
    part = report["classes"]["333"]["splits"]["train"]
    assert nearest.min() > 0.4 * np.sqrt(part["area_px2"] / len(train))
    assert part["effective_crops"] > 0.85 * min(part["requested"], part["disjoint_crops"])
    assert crops["frame_id"].nunique() > 10


def test_scarce_ground_is_reported(caplog):
    params = PARAMS.model_copy(update={"images_per_class": 1000})
    crops, report = plan_crops(make_manifest({"333": [12]}), params)
    part = report["classes"]["333"]["splits"]["train"]
    assert part["disjoint_crops"] < part["requested"] == part["drawn"] == 800
    assert report["warnings"][0] in caplog.text
    assert len(crops) == 1015


def test_ground_too_small_for_three_splits_is_said():
    manifest = make_manifest({"333": [1]}, height=150, width=150)
    crops, report = plan_crops(manifest, PARAMS)
    assert set(crops["split"]) == {"train"}
    assert report["classes"]["333"]["splits"]["test"]["drawn"] == 0
    assert "0 of 15 test" in report["warnings"][0]


@pytest.mark.parametrize("manifest", [
    make_manifest({"333": [3]}, height=80), make_manifest({"333": [3]}).assign(excluded=True),
])  # fmt: skip
def test_nothing_to_take_crops_from_is_an_error(manifest):
    with pytest.raises(TableError, match="sem_"):
        plan_crops(manifest, PARAMS)


@pytest.mark.parametrize(("height", "width"), [(96, 96), (64, 256), (90, 400)])
def test_the_advice_on_crops_that_are_too_large_works_to_the_letter(height, width):
    manifest = make_manifest({"811": [1]}, height=height, width=width)
    with pytest.raises(TableError, match="size_px") as caught:
        plan_crops(manifest, PARAMS)
    size_px = int(re.search(r"to (\d+)", caught.value.action)[1])
    crops, _ = plan_crops(manifest, PARAMS.model_copy(update={"size_px": size_px}))
    assert set(crops["split"]) == {"train", "validate", "test"}


def test_positions_are_uniform_over_the_unique_area_however_often_it_is_shown():
    places = [0.0] * 9 + [1000.0]
    table = pd.DataFrame([list_frame("333", n, mosaic_x_px=x) for n, x in enumerate(places)])
    windows = Windows(table, np.tile([0, 0, 100, 100], (10, 1)), np.zeros(10, int))
    rows, corner = draw_positions(windows, 800, 20, np.random.default_rng(0))
    assert np.mean(rows == 9) == pytest.approx(0.5, abs=0.06)
    assert corner.mean() == pytest.approx(40, abs=2)
    assert (corner.min(), corner.max()) == (0, 80)
