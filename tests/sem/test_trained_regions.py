"""Frames of new electrodes that show a region of the training frames."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pandas as pd
import pytest

from model_cases import make_settings
from ncm_kedro.params.sem_ingest import MosaicParams
from ncm_kedro.sem.crops.crop_set import hash_split
from ncm_kedro.sem.inference.trained_regions import (
    choose_covering_frames,
    find_trained_regions,
    list_notes,
)

PARAMS = MosaicParams(workers=1)
WIDTH, HEIGHT, PIXEL_UM, STEP = 480, 360, 0.2, 40


def draw_field(seed, side=1600):
    """Structure at every scale, in grey values."""
    rng = np.random.default_rng(seed)
    field_yx = np.zeros((side, side), np.float32)
    for sigma in (2, 4, 8, 16, 32):
        noise = rng.standard_normal((side // max(1, sigma // 2),) * 2).astype(np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), 2)
        field_yx += cv2.resize(smooth / smooth.std(), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(120 + 20 * field_yx, 0, 255).astype(np.uint8)


def cut(field_yx, x, y, scale=1.0):
    """A frame whose pixels are `scale` pixels of the field."""
    width, height = round(WIDTH * scale), round(HEIGHT * scale)
    region = field_yx[y : y + height, x : x + width]
    return cv2.resize(region, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def list_frames(frames, classes, pixel_um):
    return pd.DataFrame(
        {
            "frame_id": list(frames),
            "class": classes,
            "height_px": [image.shape[0] for image in frames.values()],
            "width_px": [image.shape[1] for image in frames.values()],
            "pixel_size_um": pixel_um,
            "pixel_size_source": "metadata",
            "excluded": False,
        }
    )


@pytest.fixture(scope="module")
def field():
    return draw_field(0)


@pytest.fixture(scope="module")
def trained(field):
    """A drift series that a classifier was trained on, an excluded frame, and one never cut."""
    frames = {f"811/{n}": cut(field, 100 + n * STEP, 100) for n in range(12)}
    frames |= {"811/apart": cut(field, 900, 1100), "811/spoilt": cut(field, 100, 1100)}
    manifest = list_frames(frames, "811", PIXEL_UM).assign(
        mosaic=["a"] * 12 + ["b", "a"],
        mosaic_x_px=[*(n * STEP for n in range(12)), 0, 0],
        mosaic_y_px=[*[0.0] * 13, 1000],
        excluded=[*[False] * 13, True],
    )
    crops = pd.DataFrame({"crop_id": ["x", "y"], "split": ["train", "test"], "class": "811"})
    crops["frame_id"] = ["811/0", "811/7"]
    settings = make_settings(("333", "811"), pixel_size_um=PIXEL_UM, split_hash=hash_split(crops))
    return settings, frames, manifest, crops


def search(new, table, trained, params=PARAMS):
    settings, frames, manifest, crops = trained
    return find_trained_regions(
        new, table, settings,
        trained_frames=frames, trained_manifest=manifest, crops=crops, params=params,
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(field, trained):
    _, frames, _, _ = trained
    shades = (60 + 0.5 * cut(field, 100 + 3 * STEP, 100)).astype(np.uint8)
    coded = cv2.imencode(".jpg", frames["811/5"], [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    new = {
        "811/0": cut(draw_field(1), 100, 100),  # as a training frame is called
        "copy": frames["811/7"],
        "compressed": cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE),
        "dimmed": shades,
        "magnified": cut(field, 300, 150, 0.5),
        "magnified, not said": cut(field, 300, 150, 0.5),
        "magnified x4": cut(field, 500, 300, 0.25),
        "reduced": cut(field, 0, 0, 2.0),
        "turned": np.rot90(frames["811/4"]).copy(),
        "turned back": cv2.rotate(frames["811/4"], cv2.ROTATE_180),
        "mirrored": frames["811/9"][:, ::-1].copy(),
        "negative": 255 - frames["811/9"],
        "beside": cut(field, 100 + 11 * STEP + 240, 200),
        "elsewhere": cut(draw_field(2), 500, 500),
        "elsewhere, magnified": cut(draw_field(3), 500, 500, 0.5),
        "never cut": frames["811/apart"],
        "excluded training frame": frames["811/spoilt"],
        "excluded": frames["811/2"],
    }
    scales = {"magnified": 0.5, "elsewhere, magnified": 0.5, "magnified x4": 0.25, "reduced": 2.0}
    table = list_frames(new, "811__VC", [PIXEL_UM * scales.get(name, 1.0) for name in new])
    table["excluded"] = table["frame_id"] == "excluded"
    return search(new, table, trained)


def test_copies_of_training_frames_are_found_however_they_are_shown(found):
    json.dumps(found, allow_nan=False)
    assert {view["frame_id"] for view in found["views"]} == {
        "copy", "compressed", "dimmed", "magnified", "magnified, not said", "magnified x4",
        "reduced", "turned", "turned back", "mirrored", "negative", "beside",
    }  # fmt: skip
    assert (found["problem"], found["n_frames"], found["n_trained_frames"]) == (None, 17, 12)
    assert found["pairs_skipped"] == 0


def test_the_reason_says_how_the_frame_shows_it(found):
    reasons = {view["frame_id"]: view["reason"] for view in found["views"]}
    assert "100% of" in reasons["magnified"]
    assert "enlarged x2" in reasons["magnified"]
    assert "enlarged x0.5" in reasons["reduced"]
    assert "turned" in reasons["turned"]
    assert "mirrored" in reasons["mirrored"]
    assert "inverted" in reasons["negative"]


def test_the_note_counts_what_is_not_scored_per_class(found):
    (note,) = list_notes(found)
    assert "12 of 17 frames" in note
    assert "811__VC: 12 of 17" in note
    assert list_notes(found | {"views": []}) == []


def test_pairs_beyond_the_budget_are_counted(field, trained):
    new = {f"new {n}": cut(field, 100 + n * 100, 700) for n in range(3)}
    few = PARAMS.model_copy(update={"max_view_pairs": 2})
    result = search(new, list_frames(new, "811", PIXEL_UM), trained, few)
    assert result["pairs_compared"] == 2
    assert result["pairs_skipped"] > 0
    assert "not compared" in list_notes(result)[0]


def test_frames_that_are_not_those_of_the_model_are_not_compared(trained):
    settings, frames, manifest, crops = trained
    new = {"copy": frames["811/7"]}
    table = list_frames(new, "811", PIXEL_UM)
    cases = {
        "not those of the model": (settings, frames, manifest, crops.assign(split="train")),
        "does not say": (settings.model_copy(update={"split_hash": None}), *trained[1:]),
        "are at hand": (settings, frames, None, crops),
        "any more, such as 811/7": (
            settings, frames, manifest[manifest["frame_id"] != "811/7"], crops,
        ),
    }  # fmt: skip
    for problem, arguments in cases.items():
        result = search(new, table, arguments)
        assert problem in result["problem"]
        assert result["views"] == []
        assert list_notes(result)[0].startswith("Not checked")


def test_few_frames_cover_a_drift_series_and_frames_that_share_nothing_all_stay():
    places = [*range(0, 480, 10), 2000, 5000]
    manifest = pd.DataFrame(
        {"mosaic": "a", "mosaic_x_px": places, "mosaic_y_px": 0.0, "width_px": 100, "height_px": 90}
    )
    chosen = choose_covering_frames(manifest)
    assert {48, 49} <= set(chosen)
    assert 5 <= len(chosen) - 2 <= 9
    covered = np.zeros(570, bool)
    for number in chosen[:-2]:
        covered[places[number] : places[number] + 100] = True
    assert covered.mean() > 0.95
    assert len(choose_covering_frames(manifest.assign(mosaic=[str(n) for n in range(50)]))) == 50
