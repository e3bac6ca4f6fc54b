"""Candidates: folds are disjoint regions, simulated grains are told apart, little area is said."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from manifest_cases import list_crop, list_frame
from ncm_kedro.params.tune_train import EvaluationParams, TrainParams
from ncm_kedro.sem.crops.crop_set import build_crop_set
from ncm_kedro.sem.experiments.candidates import (
    N_FOLDS,
    assign_blocks,
    compare_candidates,
    iterate_folds,
)
from ncm_kedro.sem.inference.evaluation import measure_all_textures

CROP_PX, FRAME_PX, STEP_PX = 72, 200, 40
TRAIN = TrainParams(model="test_resnet", pretrained=False, input_px=64, precision="float32")
PARAMS = EvaluationParams(n_bootstrap=100)


def draw_frame(rng, coarse):
    """A frame of fine noise, or of noise in 4-px grains."""
    step = 4 if coarse else 1
    small = rng.integers(40, 216, (FRAME_PX // step, FRAME_PX // step))
    return np.kron(small, np.ones((step, step))).astype(np.uint8)


@pytest.fixture
def tables():
    """Two classes of nine frames in a row each; crops overlap within frames and across."""
    rng = np.random.default_rng(0)
    frames, manifest, crops = {}, [], []
    for name, coarse in (("811", False), ("811_cycled", True)):
        for number in range(9):
            frame_id = f"{name}/{number}"
            frames[frame_id] = draw_frame(rng, coarse)
            manifest.append(list_frame(
                name, number, pixel_size_um=0.25, mosaic=name, width_px=FRAME_PX,
                height_px=FRAME_PX, mosaic_x_px=float(number * (FRAME_PX - STEP_PX)),
            ))  # fmt: skip
            for x in (0, STEP_PX, 2 * STEP_PX, FRAME_PX - CROP_PX):
                split = "test" if number == 8 else "validate" if number in (3, 6) else "train"
                crops.append(list_crop(
                    frame_id, x, (x, 20), size_px=CROP_PX, split=split, frame_px=FRAME_PX,
                    mosaic=name, cell=f"{name}/strip0/x{number}y0",
                ))  # fmt: skip
    return frames, pd.DataFrame(manifest), pd.DataFrame(crops)


def compare(frames, crops, manifest, *, folder=Path("unused"), train=TRAIN, params=PARAMS):
    crop_set = build_crop_set(frames, crops, manifest)
    textures = measure_all_textures(crop_set)
    return compare_candidates(crop_set, textures, manifest, train, params, folder=folder)


def test_no_part_of_a_fold_overlaps_another(tables):
    _, manifest, crops = tables
    left = crops["frame_id"].map(manifest.set_index("frame_id")["mosaic_x_px"]) + crops["x_px"]
    boxes = np.stack([left, crops["y_px"], left + CROP_PX, crops["y_px"] + CROP_PX], axis=1)
    mosaics = crops["mosaic"].to_numpy(str)
    block = assign_blocks(crops)
    folds = list(iterate_folds(block, boxes.astype(float), mosaics))
    assert len(folds) == N_FOLDS
    np.testing.assert_array_equal(sum(fold.test.astype(int) for fold in folds), 1)
    dropped = 0
    for fold in folds:
        seen = sum(part.astype(int) for part in fold.parts)
        assert seen.max() == 1
        dropped += (seen == 0).sum()
        for one in fold.parts:
            for other in fold.parts:
                if one is other:
                    continue
                gap = np.abs(boxes[one, :1] - boxes[other, 0]) >= CROP_PX
                assert (gap | (mosaics[one][:, None] != mosaics[other])).all()
    assert dropped > 0


def test_blocks_are_neighbouring_cells_of_about_the_same_size(tables):
    crops = tables[2].sample(frac=1.0, random_state=1)
    block = assign_blocks(crops)
    for _, part in crops.assign(block=block).groupby("class"):
        cells = part["cell"].str.extract(r"x(\d+)y")[0].astype(int)
        order = part.assign(cell=cells).sort_values("cell")["block"].to_numpy()
        assert (np.diff(order) >= 0).all()
        assert np.bincount(order).min() >= 8


def test_grains_are_told_apart_by_every_candidate(tables, tmp_path):
    """A network trained on every fold among them, where it is asked for; it is trained once."""
    frames, manifest, crops = tables
    trained = PARAMS.model_copy(update={"trained_candidate": True})
    train = TRAIN.model_copy(
        update={"epochs": 1, "last_layer": "discriminant", "trainable": "last_layer"}
    )

    def run():
        return compare(frames, crops, manifest, folder=tmp_path, train=train, params=trained)

    found = run()
    assert found["note"] is None
    rows = {row["candidate"]: row for row in found["rows"]}
    assert set(rows) == {"texture", "frozen", "stacked", "trained"}
    assert rows["trained"]["class"] > 0.9
    for name, row in rows.items():
        assert row["class_low"] <= row["class"] <= row["class_high"]
        assert name == "trained" or min(row["class"], row["frame"]) > 0.95
    resumed = next(row for row in run()["rows"] if row["candidate"] == "trained")
    assert resumed | {"seconds": 0} == rows["trained"] | {"seconds": 0}


def test_labels_that_the_image_does_not_show_are_not_found(tables):
    """Both classes of the same noise: the fold's own crops are never learnt."""
    frames, manifest, crops = tables
    rng = np.random.default_rng(1)
    frames = {name: draw_frame(rng, coarse=True) for name in frames}
    found = compare(frames, crops, manifest)
    assert {row["candidate"] for row in found["rows"]} == {"texture", "frozen", "stacked"}
    for row in found["rows"]:
        assert 0.2 < row["class"] < 0.8


def test_too_little_area_is_said_and_ends_nothing(tables):
    frames, manifest, crops = tables
    few = crops[crops["frame_id"].str.contains("/[368]")]
    few = pd.concat([few[few["class"] == "811_cycled"], crops[crops["class"] == "811"]])
    few.loc[few["frame_id"] == "811_cycled/6", "split"] = "train"
    found = compare(frames, few, manifest)
    assert found["rows"] == []
    assert "811_cycled" in found["note"]
