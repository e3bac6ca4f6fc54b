from __future__ import annotations

import numpy as np
import pytest
import torch

from ncm_kedro.errors import FrameError, SettingsError, TableError
from ncm_kedro.learning.data.crop_index import (
    CropIndex,
    choose_resampling,
    draw_changes,
)
from ncm_kedro.learning.data.cutters import build_resampling_matrix
from ncm_kedro.learning.data.frame_bank import FrameBank, build_frame_bank
from ncm_kedro.learning.data.loader import CropLoader, measure_statistics, open_split_loaders
from ncm_kedro.params.tune_train import AugmentParams, NormaliseParams, TrainParams

EVERYTHING = AugmentParams(
    flip=True,
    rotate90=True,
    rotation_deg=180.0,
    brightness=0.1,
    contrast=0.3,
    gamma=0.3,
    scale_jitter=0.2,
    position_jitter_px=20,
)


def make_frames() -> dict[str, np.ndarray]:
    """Smooth frames of different sizes: the two paths must agree on them."""
    rng = np.random.default_rng(3)
    frames = {}
    for number, (height, width) in enumerate([(90, 120), (100, 80), (70, 150)]):
        y, x = np.mgrid[:height, :width]
        phase = rng.uniform(0, 6, 4)
        wave = np.sin(x / 7 + phase[0]) + np.sin(y / 9 + phase[1]) + np.sin((x + y) / 11 + phase[2])
        frames[f"f{number}"] = np.clip(128 + 40 * wave, 0, 255).astype(np.uint8)
    return frames


@pytest.fixture(name="bank")
def fixture_bank() -> FrameBank:
    return build_frame_bank(make_frames())


def make_crops(bank: FrameBank, count: int = 12, size_px: int = 48) -> CropIndex:
    rng = np.random.default_rng(1)
    frame = rng.integers(len(bank), size=count)
    allowed = np.stack([0 * frame, 0 * frame, bank.widths[frame], bank.heights[frame]], axis=1)
    return CropIndex(
        frame=frame,
        x_px=rng.integers(0, bank.widths[frame] - size_px + 1),
        y_px=rng.integers(0, bank.heights[frame] - size_px + 1),
        size_px=np.full(count, size_px),
        label=np.arange(count) % 3,
        allowed_xyxy_px=allowed,
    )


def collect(loader: CropLoader, epoch: int = 0) -> np.ndarray:
    images = np.concatenate([b.images.numpy() for b in loader.iterate_epoch(epoch)])
    index = np.concatenate([b.index.numpy() for b in loader.iterate_epoch(epoch)])
    return images[np.argsort(index)]


def test_bank_returns_each_frame_as_it_was():
    frames = make_frames()
    bank = build_frame_bank(frames)
    assert bank.frame_ids == tuple(sorted(frames))
    assert bank.pixels.size == sum(frame.size for frame in frames.values())
    for row, name in enumerate(bank.frame_ids):
        np.testing.assert_array_equal(bank.view_frame(row), frames[name])
    assert bank.find_rows(["f2", "f0"]).tolist() == [2, 0]


def test_bank_names_what_is_wrong(bank):
    with pytest.raises(TableError, match="no frame has"):
        bank.find_rows(["f0", "stranger"])
    with pytest.raises(FrameError, match="no frame"):
        build_frame_bank({})
    with pytest.raises(FrameError, match=r"shape \(4, 4, 3\)"):
        build_frame_bank({"rgb": np.zeros((4, 4, 3), np.uint8)})


def test_unscaled_crop_is_the_pixels_over_255(bank):
    crops = make_crops(bank)
    images = collect(CropLoader(bank, crops, batch_size=5, input_px=48))
    for row in range(len(crops)):
        x, y = crops.x_px[row], crops.y_px[row]
        expected = bank.view_frame(crops.frame[row])[y : y + 48, x : x + 48] / 255.0
        np.testing.assert_allclose(images[row, 0], expected, atol=1e-6)


@pytest.mark.parametrize("input_px", [20, 36, 48, 64])
@pytest.mark.parametrize("augment", [None, EVERYTHING], ids=["plain", "everything"])
def test_opencv_and_torch_paths_agree_within_two_grey_levels(bank, input_px, augment):
    crops = make_crops(bank)
    settings = {"batch_size": 5, "input_px": input_px, "augment": augment, "seed": 4}
    host = collect(CropLoader(bank, crops, path="opencv", **settings), epoch=2)
    device = collect(CropLoader(bank, crops, path="torch", **settings), epoch=2)
    assert host.dtype == device.dtype == np.float32
    assert np.abs(host - device).max() * 255 < 2.0


@pytest.mark.parametrize(
    ("input_px", "method"), [(224, "bilinear"), (150, "area"), (400, "bilinear")]
)
def test_resampling_matches_opencv_on_noise(input_px, method):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8)
    bank = build_frame_bank({"noise": noise})
    one = np.zeros(1, dtype=np.int64)
    crops = CropIndex(one, one, one, one + 300, one)
    host, device = (
        collect(CropLoader(bank, crops, batch_size=1, input_px=input_px, path=path))
        for path in ("opencv", "torch")
    )
    assert choose_resampling(300, input_px) == method
    assert np.abs(host - device).max() * 255 < 1.01
    assert np.abs(host - device).mean() * 255 < 0.3
    weights = build_resampling_matrix(300, input_px)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("path", ["opencv", "torch"])
def test_batches_do_not_depend_on_threads_or_batch_size(bank, path):
    crops = make_crops(bank)
    settings = {"input_px": 32, "augment": EVERYTHING, "seed": 9, "path": path, "shuffle": True}
    one = collect(CropLoader(bank, crops, batch_size=12, threads=1, **settings), epoch=3)
    four = collect(CropLoader(bank, crops, batch_size=5, threads=4, **settings), epoch=3)
    tolerance = 0.0 if path == "opencv" else 1e-5
    np.testing.assert_allclose(one, four, atol=tolerance)
    other = collect(CropLoader(bank, crops, batch_size=12, **settings), epoch=4)
    assert np.abs(one - other).max() > 0.1


def test_shuffling_changes_with_the_epoch_and_keeps_every_crop(bank):
    crops = make_crops(bank)
    loader = CropLoader(bank, crops, batch_size=4, input_px=16, shuffle=True)
    orders = [np.concatenate([b.index for b in loader.iterate_epoch(e)]).tolist() for e in (1, 2)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(12))
    assert orders[0] != orders[1]
    batch = next(loader.iterate_epoch(1))
    assert batch.labels.tolist() == crops.label[batch.index.numpy()].tolist()


def test_incomplete_batch_is_dropped_only_on_demand(bank):
    crops = make_crops(bank)
    keep = CropLoader(bank, crops, batch_size=5, input_px=16)
    drop = CropLoader(bank, crops, batch_size=5, input_px=16, drop_last=True)
    few = CropLoader(bank, crops, batch_size=50, input_px=16, drop_last=True)
    assert [len(keep), len(drop), len(few)] == [3, 2, 1]
    assert [len(b.labels) for b in drop.iterate_epoch(1)] == [5, 5]
    assert [len(b.labels) for b in few.iterate_epoch(1)] == [12]
    assert [len(b.labels) for b in drop.iterate_epoch(0)] == [5, 5, 2]  # nothing is trained there


def test_jitter_stays_inside_the_allowed_rectangle():
    count = 2000
    zero = np.zeros(count, dtype=np.int64)
    allowed = np.tile([10, 20, 90, 75], (count, 1))
    crops = CropIndex(zero, zero + 30, zero + 25, zero + 40, zero, allowed)
    params = AugmentParams(position_jitter_px=1000, scale_jitter=0.3)
    draws = draw_changes(crops, params, seed=0, epoch=1)
    assert draws.x_px.min() == 10
    assert draws.y_px.min() == 20
    assert (draws.x_px + draws.size_px).max() == 90
    assert (draws.y_px + draws.size_px).max() == 75
    assert draws.size_px.min() < 32
    assert draws.size_px.max() > 48


def test_jitter_is_bounded_by_its_parameter():
    count = 500
    zero = np.zeros(count, dtype=np.int64)
    allowed = np.tile([0, 0, 500, 500], (count, 1))
    crops = CropIndex(zero, zero + 200, zero + 200, zero + 40, zero, allowed)
    draws = draw_changes(crops, AugmentParams(position_jitter_px=7), seed=0, epoch=1)
    assert (draws.x_px.min(), draws.x_px.max()) == (193, 207)
    fixed = CropIndex(zero, zero + 200, zero + 200, zero + 40, zero)
    still = draw_changes(fixed, AugmentParams(position_jitter_px=7), seed=0, epoch=1)
    assert set(still.x_px.tolist()) == {200}


def test_flips_and_quarter_turns_reach_all_eight_views():
    corner = np.zeros((8, 8), np.uint8)
    corner[0, 1] = 255
    bank = build_frame_bank({"a": corner})
    zero = np.zeros(400, dtype=np.int64)
    crops = CropIndex(zero, zero, zero, zero + 8, zero)
    views = AugmentParams(rotate90=True, flip=True)
    for path in ("opencv", "torch"):
        loader = CropLoader(bank, crops, batch_size=400, input_px=8, augment=views, path=path)
        spots = [tuple(np.argwhere(image[0] > 0.5)[0]) for image in collect(loader, 1)]
        counts = {spot: spots.count(spot) for spot in spots}
        assert len(counts) == 8
        assert min(counts.values()) > 25
    turns = AugmentParams(rotate90=True)
    images = collect(CropLoader(bank, crops, batch_size=400, input_px=8, augment=turns), 1)
    expected = {tuple(np.argwhere(np.rot90(corner, k))[0]) for k in range(4)}
    assert {tuple(np.argwhere(image[0] > 0.5)[0]) for image in images} == expected


def test_normalisation(bank):
    crops = make_crops(bank)
    statistics = measure_statistics(bank, crops)
    plain = collect(CropLoader(bank, crops, batch_size=4, input_px=48))
    assert statistics.mean == pytest.approx(plain.mean(), abs=1e-4)
    assert statistics.std == pytest.approx(plain.std(), abs=1e-4)
    flat = FrameBank(bank.pixels * 0, bank.heights, bank.widths, bank.frame_ids)
    assert measure_statistics(flat, crops).std > 0.0
    for path in ("opencv", "torch"):
        common = {"batch_size": 4, "input_px": 48, "path": path}
        scaled = collect(
            CropLoader(
                bank,
                crops,
                normalise=NormaliseParams(method="data_set"),
                statistics=statistics,
                **common,
            )
        )
        assert scaled.mean() == pytest.approx(0.0, abs=1e-3)
        assert scaled.std() == pytest.approx(1.0, abs=1e-3)
        own = collect(
            CropLoader(bank, crops, normalise=NormaliseParams(method="per_image"), **common)
        )
        np.testing.assert_allclose(own.mean(axis=(2, 3)), 0.0, atol=1e-4)
        np.testing.assert_allclose(own.std(axis=(2, 3)), 1.0, atol=0.05)


def test_split_loaders_share_training_statistics_and_change_training_crops_alone(bank):
    train, validate = make_crops(bank, 12), make_crops(bank, 7)
    params = TrainParams(
        batch_size=5,
        input_px=32,
        device="cpu",
        augment=EVERYTHING,
        normalise=NormaliseParams(method="data_set"),
    )
    left, right = open_split_loaders(bank, train, validate, params)
    assert left.statistics == right.statistics == measure_statistics(bank, train)
    assert (len(left), len(right)) == (2, 2)
    assert np.abs(collect(right, 1) - collect(right, 2)).max() == 0.0
    shuffled = [np.concatenate([b.index for b in left.iterate_epoch(e)]) for e in (1, 2)]
    assert shuffled[0].tolist() != shuffled[1].tolist()


def test_offset_normalisation_removes_brightness_and_keeps_contrast(bank):
    crops = make_crops(bank)
    common = {"batch_size": 4, "input_px": 48, "normalise": NormaliseParams(method="offset")}
    grey = {name: frame // 2 + 20 for name, frame in make_frames().items()}
    plain, bright, flat = (
        build_frame_bank({name: change(frame).astype(np.uint8) for name, frame in grey.items()})
        for change in (lambda f: f, lambda f: f + 60, lambda f: f // 2)
    )
    first = collect(CropLoader(plain, crops, **common))
    np.testing.assert_allclose(collect(CropLoader(bright, crops, **common)), first, atol=0.005)
    halved = collect(CropLoader(flat, crops, **common))
    assert halved.std() == pytest.approx(first.std() / 2, rel=0.05)
    on_device = collect(CropLoader(plain, crops, path="torch", **common))
    np.testing.assert_allclose(on_device, first, atol=0.02)


def test_clahe_raises_local_contrast_and_stays_on_the_opencv_path(bank):
    crops = make_crops(bank)
    flat = build_frame_bank({n: (f // 8 + 100).astype(np.uint8) for n, f in make_frames().items()})
    clahe = NormaliseParams(clahe=True, clahe_tiles=2)
    plain = collect(CropLoader(flat, crops, batch_size=4, input_px=48))
    equalised = collect(CropLoader(flat, crops, batch_size=4, input_px=48, normalise=clahe))
    assert equalised.std() > 1.5 * plain.std()
    with pytest.raises(SettingsError, match="torch path"):
        CropLoader(bank, crops, batch_size=4, normalise=clahe, path="torch")


def test_noise_has_the_drawn_strength():
    bank = build_frame_bank({"grey": np.full((64, 64), 128, np.uint8)})
    zero = np.zeros(40, dtype=np.int64)
    crops = CropIndex(zero, zero, zero, zero + 64, zero)
    augment = AugmentParams(noise=0.1)
    expected = draw_changes(crops, augment, seed=0, epoch=1).noise
    for path in ("opencv", "torch"):
        loader = CropLoader(bank, crops, batch_size=40, input_px=64, augment=augment, path=path)
        np.testing.assert_allclose(collect(loader, 1).std(axis=(1, 2, 3)), expected, rtol=0.08)


def test_crops_outside_their_frame_and_missing_statistics_are_refused(bank):
    with pytest.raises(SettingsError):
        CropLoader(
            bank, make_crops(bank), batch_size=1, normalise=NormaliseParams(method="data_set")
        )
    one = np.zeros(1, dtype=np.int64)
    with pytest.raises(TableError, match="frame f0"):
        CropLoader(bank, CropIndex(one, one + 100, one, one + 48, one), batch_size=1)
    tight = CropIndex(one, one, one, one + 48, one, np.array([[1, 0, 90, 90]]))
    with pytest.raises(TableError, match="allowed rectangle"):
        CropLoader(bank, tight, batch_size=1)


def test_fingerprint_follows_frames_crops_and_settings(bank):
    crops = make_crops(bank)
    base = CropLoader(bank, crops, batch_size=4).fingerprint
    assert CropLoader(build_frame_bank(make_frames()), crops, batch_size=4).fingerprint == base
    assert CropLoader(bank, crops, batch_size=4, threads=7).fingerprint == base
    assert CropLoader(bank, make_crops(bank, 11), batch_size=4).fingerprint != base
    assert CropLoader(bank, crops, batch_size=4, augment=EVERYTHING).fingerprint != base
    changed = make_frames()
    changed["f0"] = changed["f0"] // 2
    assert CropLoader(build_frame_bank(changed), crops, batch_size=4).fingerprint != base


def test_read_only_frames_are_accepted(bank):
    frozen = bank.pixels.copy()
    frozen.flags.writeable = False
    shared = FrameBank(frozen, bank.heights, bank.widths, bank.frame_ids)
    crops = make_crops(bank)
    for path in ("opencv", "torch"):
        images = collect(CropLoader(shared, crops, batch_size=4, input_px=16, path=path))
        assert torch.isfinite(torch.from_numpy(images)).all()
