"""Overlaps and mosaics on frames cut from random canvases at known places."""

from __future__ import annotations

import json
from itertools import combinations

import cv2
import numpy as np
import pandas as pd
import pytest

from manifest_cases import list_frame
from ncm_kedro.params.sem_ingest import MosaicParams
from ncm_kedro.sem.mosaic.merging import list_scale_conflicts
from ncm_kedro.sem.mosaic.mosaic import (
    assign_sessions,
    build_mosaics,
    order_by_time,
    solve_positions,
)
from ncm_kedro.sem.mosaic.overlaps import find_overlaps, pairs_across, pairs_within
from ncm_kedro.sem.mosaic.registration import build_spectrum_bank, correlate_pairs

HEIGHT, WIDTH = 240, 320
PARAMS = MosaicParams(workers=1)


def draw_canvas(rng, height=1200, width=1200):
    """Smoothed noise with structure at about 6 px, as particles have."""
    noise = rng.standard_normal((height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3) * 3
    return 120 + 35 * smooth / smooth.std()


def cut_frame(canvas, x, y, rng, gain=1.0):
    window = canvas[y : y + HEIGHT, x : x + WIDTH]
    noisy = 120 + gain * (window - 120) + 8 * rng.standard_normal((HEIGHT, WIDTH))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def draw_series(rng, n_frames, step=(60, 40)):
    """Random drift, known exactly."""
    moves = rng.integers(5, step, size=(n_frames - 1, 2))
    return 10 + np.concatenate([[[0, 0]], np.cumsum(moves, axis=0)])


def make_row(class_name, series, number, place, minute):
    return list_frame(
        class_name, f"{series}_{number}", magnification=500.0, accelerating_voltage_kv=20.0,
        instrument="SNE-4500M", height_px=HEIGHT, width_px=WIDTH, pixel_size_um=0.27,
        acquired_at=pd.Timestamp("2024-01-01") + pd.Timedelta(minutes=minute),
        sidecar_json=json.dumps({"Running Info": {"Focus": str(1000 + series)}}),
        true_series=f"{class_name}/{series}", true_x=place[0], true_y=place[1],
    )  # fmt: skip


def make_data(classes=("333", "811_cycled"), n_series=2, n_frames=5, seed=0):
    rng = np.random.default_rng(seed)
    frames, rows = {}, []
    for class_name in classes:
        for series in range(n_series):
            canvas = draw_canvas(rng)
            for number, place in enumerate(draw_series(rng, n_frames)):
                row = make_row(class_name, series, number, place, minute=number + 30 * series)
                gain = rng.uniform(0.6, 1.2)
                frames[row["frame_id"]] = cut_frame(canvas, *place, rng, gain)
                rows.append(row)
    return frames, pd.DataFrame(rows)


@pytest.fixture(scope="module")
def data():
    return make_data()


@pytest.fixture(scope="module")
def built(data):
    frames, manifest = data
    return build_mosaics(manifest, find_overlaps(frames, manifest, PARAMS), PARAMS)


def test_offsets_are_recovered_within_a_pixel(built):
    manifest, _ = built
    errors = []
    for _, group in manifest.groupby("true_series"):
        assert group["mosaic"].nunique() == 1
        for (_, a), (_, b) in combinations(group.iterrows(), 2):
            dx = (b["mosaic_x_px"] - a["mosaic_x_px"]) - (b["true_x"] - a["true_x"])
            dy = (b["mosaic_y_px"] - a["mosaic_y_px"]) - (b["true_y"] - a["true_y"])
            errors.append(np.hypot(dx, dy))
    assert len(errors) == 4 * 10
    assert np.mean(np.array(errors) < 1) >= 0.99


def test_links_hold_true_offsets_and_join_no_classes(data, built):
    _, manifest = data
    _, links = built
    truth = manifest.set_index("frame_id")
    assert (links["kind"] == "same_class").all()
    assert links["used"].all()
    a, b = truth.loc[links["frame_a"]], truth.loc[links["frame_b"]]
    assert (a["true_series"].to_numpy() == b["true_series"].to_numpy()).all()
    dx = links["dx_px"].to_numpy() - (b["true_x"].to_numpy() - a["true_x"].to_numpy())
    dy = links["dy_px"].to_numpy() - (b["true_y"].to_numpy() - a["true_y"].to_numpy())
    refined = links["refined"].to_numpy()
    assert np.hypot(dx, dy)[refined].max() < 1
    assert np.hypot(dx, dy).max() < 2 * WIDTH / PARAMS.thumbnail_width_px


def test_mosaics_are_the_true_series_and_start_at_zero(built):
    manifest, _ = built
    assert manifest.groupby("mosaic")["true_series"].nunique().eq(1).all()
    assert manifest["mosaic"].nunique() == manifest["true_series"].nunique()
    corner = manifest.groupby("mosaic")[["mosaic_x_px", "mosaic_y_px"]].min()
    np.testing.assert_allclose(corner, 0, atol=1e-9)
    assert set(manifest.loc[manifest["class"] == "333", "mosaic"]) == {"333/m01", "333/m02"}


def test_result_depends_on_neither_row_order_nor_workers(data, built):
    frames, manifest = data
    shuffled = manifest.sample(frac=1, random_state=3)
    params = MosaicParams(workers=3)
    again, links = build_mosaics(shuffled, find_overlaps(frames, shuffled, params), params)
    pd.testing.assert_frame_equal(links, built[1])
    again = again.set_index("frame_id").loc[built[0]["frame_id"]].reset_index()
    pd.testing.assert_frame_equal(again[built[0].columns], built[0])


@pytest.mark.parametrize("overlap", [0.10, 0.5, 0.9])
def test_small_overlaps_are_found(overlap):
    rng = np.random.default_rng(7)
    canvas = draw_canvas(rng)
    place = (10 + round((1 - overlap) * WIDTH), 12)
    rows = [make_row("333", 0, 0, (10, 10), 0), make_row("333", 0, 1, place, 1)]
    frames = {row["frame_id"]: cut_frame(canvas, row["true_x"], row["true_y"], rng) for row in rows}
    links = find_overlaps(frames, pd.DataFrame(rows), PARAMS)
    assert len(links) == 1
    assert links.loc[0, "dx_px"] == pytest.approx(place[0] - 10, abs=1)
    assert links.loc[0, "dy_px"] == pytest.approx(2, abs=1)
    assert links.loc[0, "overlap"] == pytest.approx(overlap, abs=0.02)


def test_a_corner_in_common_joins_two_parts_of_a_class():
    rng = np.random.default_rng(11)
    canvas = draw_canvas(rng)
    places = [(10, 10), (60, 30), (60 + 200, 30 + 160), (320, 220)]
    rows = [make_row("333", 0, number, place, number) for number, place in enumerate(places)]
    frames = {row["frame_id"]: cut_frame(canvas, row["true_x"], row["true_y"], rng) for row in rows}
    table = pd.DataFrame(rows)
    manifest, links = build_mosaics(table, find_overlaps(frames, table, PARAMS), PARAMS)
    assert links["overlap"].min() < 0.15
    assert manifest["mosaic"].nunique() == 1
    for axis in "xy":
        found = manifest[f"mosaic_{axis}_px"] - manifest[f"mosaic_{axis}_px"].iloc[0]
        np.testing.assert_allclose(
            found, table[f"true_{axis}"] - places[0]["xy".index(axis)], atol=1
        )


def test_same_ground_under_two_labels_is_reported_not_merged():
    rng = np.random.default_rng(5)
    canvas = draw_canvas(rng)
    rows = [
        make_row("333", 0, 0, (10, 10), 0),
        make_row("333", 0, 1, (60, 40), 1),
        make_row("523", 0, 0, (90, 50), 2),
    ]
    frames = {row["frame_id"]: cut_frame(canvas, row["true_x"], row["true_y"], rng) for row in rows}
    table = pd.DataFrame(rows)
    manifest, links = build_mosaics(table, find_overlaps(frames, table, PARAMS), PARAMS)
    conflicts = links[links["kind"] == "label_conflict"]
    assert set(conflicts["frame_b"]) == {"523/0_0"}
    assert not conflicts["used"].any()
    assert conflicts["residual_px"].isna().all()
    assert manifest.groupby("mosaic")["class"].nunique().eq(1).all()


def test_scatter_of_the_measured_pixel_size_parts_nothing(data):
    frames, manifest = data
    series = manifest[manifest["true_series"] == "333/0"].copy()
    series["pixel_size_um"] *= np.linspace(0.985, 1.015, len(series))
    placed, _ = build_mosaics(series, find_overlaps(frames, series, PARAMS), PARAMS)
    assert placed["mosaic"].nunique() == 1
    assert placed["session"].nunique() == 1
    series["pixel_size_um"] = np.where(np.arange(len(series)) < 3, 0.27, 0.135)
    placed, links = build_mosaics(series, find_overlaps(frames, series, PARAMS), PARAMS)
    assert placed["mosaic"].nunique() == 1  # one of the two pixel sizes is wrong, and they overlap
    assert placed["session"].nunique() == 2
    pairs = list_scale_conflicts(placed, links)
    assert pairs
    assert all(pair["measured"] == pytest.approx(1, abs=0.01) for pair in pairs)
    assert {round(pair["stated"], 1) for pair in pairs} <= {0.5, 2.0}


def test_frames_without_texture_link_to_nothing():
    rows = [make_row("333", 0, number, (0, 0), number) for number in range(4)]
    flat = {row["frame_id"]: np.full((HEIGHT, WIDTH), 40, np.uint8) for row in rows}
    assert find_overlaps(flat, pd.DataFrame(rows), PARAMS).empty


def test_a_wrong_link_is_dropped_and_places_stay_true():
    true_yx = np.array([[0, 0], [10, 20], [25, 30], [40, 60], [50, 61]], float)
    pairs = np.array(list(combinations(range(5), 2)))
    first, second = pairs.T
    shift_yx = true_yx[second] - true_yx[first]
    shift_yx[3] += (90, -70)
    score = np.full(len(pairs), 30.0)
    score[3] = 9.0
    placed = solve_positions(
        5, first, second, shift_yx, score=score, tolerance_px=np.full(len(pairs), 4.0)
    )
    assert placed.used.tolist() == [number != 3 for number in range(len(pairs))]
    np.testing.assert_allclose(placed.position_yx, true_yx, atol=1e-4)
    assert placed.residual_px[3] == pytest.approx(np.hypot(90, 70), abs=1e-3)


@pytest.mark.parametrize("true_yx", [(10.25, 0.25), (4.75, 12.5)])
def test_shifts_are_found_to_a_fraction_of_a_pixel(true_yx):
    fine = draw_canvas(np.random.default_rng(2), 4 * HEIGHT, 4 * WIDTH)
    thumbnails = []
    for y, x in ((0, 0), (int(4 * v) for v in true_yx)):
        window = fine[y : y + 4 * 200, x : x + 4 * 280]
        thumbnails.append(cv2.resize(window, (280, 200), interpolation=cv2.INTER_AREA))
    bank = build_spectrum_bank(list(np.clip(thumbnails, 0, 255).astype(np.uint8)), workers=1)
    pair = np.array([0]), np.array([1])
    score, shift_yx = correlate_pairs(bank, *pair, workers=1, title="pair")
    np.testing.assert_allclose(shift_yx[0], true_yx, atol=0.1)
    assert score[0] > 5


def test_sessions_end_at_pauses_and_changed_settings():
    rows = [make_row("333", 0, number, (0, 0), number) for number in range(6)]
    table = pd.DataFrame(rows)
    late = table["file"].isin(["333/0_3.png", "333/0_4.png", "333/0_5.png"])
    table.loc[late, "acquired_at"] += pd.Timedelta(hours=7)
    table.loc[5, "sidecar_json"] = json.dumps({"Running Info": {"Focus": "1234"}})
    table.loc[1, "acquired_at"] = pd.NaT
    table.loc[2, "sidecar_json"] = json.dumps({})
    sessions = assign_sessions(order_by_time(table), PARAMS)
    assert sessions.tolist() == ["333/s01"] * 3 + ["333/s02"] * 2 + ["333/s03"]


def test_frames_without_times_keep_their_running_number():
    rows = [make_row("333", 0, number, (0, 0), number) for number in (10, 9, 100)]
    table = pd.DataFrame(rows)
    table["acquired_at"] = pd.Series([pd.NaT] * 3, dtype="datetime64[ns]")
    assert order_by_time(table)["file"].tolist() == [
        "333/0_9.png",
        "333/0_10.png",
        "333/0_100.png",
    ]


def test_pairs_are_all_or_neighbours_when_too_many():
    classes = np.array(["a"] * 30 + ["b"] * 10, dtype=object)
    first, second = pairs_within(classes, PARAMS)
    assert len(first) == 30 * 29 // 2 + 10 * 9 // 2
    assert (classes[first] == classes[second]).all()
    few = MosaicParams(max_pairs=100, neighbours=2)
    first, second = pairs_within(classes, few)
    found = set(zip(first.tolist(), second.tolist(), strict=True))
    assert len(found) < 250
    assert {(n, n + 1) for n in range(29)} <= found
    first, second = pairs_across(classes, few)
    assert 0 < len(first) <= 100
    assert (classes[first] != classes[second]).all()


@pytest.mark.real
@pytest.mark.slow
def test_real_frames_form_few_mosaics(real_frames_folder):
    frames, rows = {}, []
    for number, file in enumerate(sorted((real_frames_folder / "622").glob("*.jpg"))):
        row = make_row("622", 0, number, (0, 0), number)
        image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)[:896]
        frames[row["frame_id"]] = image
        rows.append({**row, "height_px": image.shape[0], "width_px": image.shape[1]})
    table = pd.DataFrame(rows)
    manifest, links = build_mosaics(table, find_overlaps(frames, table, PARAMS), PARAMS)
    assert manifest["mosaic"].nunique() == 1
    assert links.loc[links["used"] & links["refined"], "residual_px"].median() < 0.5
