"""Training: bit-exact resume, the best epoch, and each part of the recipe by known values."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from ncm_kedro.errors import ModelError, SettingsError
from ncm_kedro.learning.data import loader as loader_module
from ncm_kedro.learning.data.crop_index import CropIndex
from ncm_kedro.learning.data.frame_bank import FrameBank, build_frame_bank
from ncm_kedro.learning.data.loader import (
    CropLoader,
    choose_device,
    choose_precision,
    open_split_loaders,
)
from ncm_kedro.learning.training import train as train_module
from ncm_kedro.learning.training.fitting import choose_batch_size, find_largest_batch
from ncm_kedro.learning.training.state import (
    EpochRecord,
    FitResult,
    build_average,
    build_mixup,
    build_optimiser,
    rate_at,
    read_checkpoint,
    write_checkpoint,
)
from ncm_kedro.learning.training.train import fit, score_validation
from ncm_kedro.params.tune_train import AugmentParams, TrainParams

CPU = torch.device("cpu")
SMALL = TrainParams(
    model="test_resnet",
    pretrained=False,
    epochs=3,
    batch_size=8,
    input_px=24,
    learning_rate=3e-3,
    device="cpu",
    precision="float32",
    drop_rate=0.2,
    seed=5,
    augment=AugmentParams(flip=True, rotate90=True, brightness=0.1),
)
FULL = SMALL.model_copy(
    update={
        "optimiser": "adamw",
        "weight_decay": 0.05,
        "schedule": "one_cycle",
        "label_smoothing": 0.1,
        "mixup_alpha": 0.2,
        "cutmix_alpha": 1.0,
        "ema_decay": 0.9,
        "gradient_accumulation": 2,
        "gradient_clip": 1.0,
    }
)
HELD = SMALL.model_copy(update={"trainable": "last_stages", "layer_decay": 0.5, "l2_sp": 30.0})
AVERAGED = HELD.model_copy(
    update={
        **{"schedule": "cosine", "ema_decay": 0.9, "last_layer": "discriminant"},
        **{"optimiser": "adamw", "weight_decay": 0.05},
    }
)


def make_bank() -> FrameBank:
    """Three classes by stripe width; easy to separate."""
    rng = np.random.default_rng(0)
    frames = {}
    for label, period in enumerate((4, 8, 16)):
        wave = 128 + 80 * np.sign(np.sin(2 * np.pi * np.arange(128) / period + 0.1))
        frame = wave[None, :] + rng.normal(0, 20, (128, 128))
        frames[f"c{label}"] = np.clip(frame, 0, 255).astype(np.uint8)
    return build_frame_bank(frames)


def make_loader(params: TrainParams, *, train: bool) -> CropLoader:
    count = 40 if train else 15
    rng = np.random.default_rng(1 if train else 2)
    label = np.arange(count) % 3
    crops = CropIndex(
        frame=label,
        x_px=rng.integers(0, 128 - 40, count),
        y_px=rng.integers(0, 40, count) if train else rng.integers(41, 88, count),
        size_px=np.full(count, 40),
        label=label,
    )
    return CropLoader(
        make_bank(),
        crops,
        batch_size=params.batch_size,
        input_px=params.input_px,
        augment=params.augment if train else None,
        shuffle=train,
        drop_last=train,
        seed=params.seed,
    )


def make_model(params: TrainParams) -> nn.Module:
    torch.manual_seed(params.seed)
    return timm.create_model(
        params.model, pretrained=False, in_chans=1, num_classes=3, drop_rate=params.drop_rate
    )


def make_small(params: TrainParams) -> nn.Module:
    """A network of two layers, where it does not matter which one is trained."""
    torch.manual_seed(params.seed)
    side = params.input_px
    return nn.Sequential(nn.Flatten(), nn.Linear(side**2, 4), nn.ReLU(), nn.Linear(4, 3))


def run_fit(params: TrainParams, folder: Path | None = None, make=make_model, **options):
    loaders = make_loader(params, train=True), make_loader(params, train=False)
    return fit(make(params), *loaders, params, checkpoint_dir=folder, **options)


def without_clock(history: tuple[EpochRecord, ...]) -> list[EpochRecord]:
    return [replace(record, seconds=0.0, images_per_second=0.0) for record in history]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """A finished run and its folder."""
    folder = tmp_path_factory.mktemp("small")
    return run_fit(SMALL, folder), folder


@pytest.fixture(scope="module")
def unbroken(small_run):
    """What runs with these settings to its end, once."""
    done = {SMALL.model_dump_json(): small_run[0]}

    def find(params: TrainParams) -> FitResult:
        key = params.model_dump_json()
        if key not in done:
            done[key] = run_fit(params)
        return done[key]

    return find


class Killed(Exception):
    pass


def assert_same_run(one: FitResult, other: FitResult) -> None:
    assert without_clock(one.history) == without_clock(other.history)
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("params", "last"),
    [(SMALL, 2), (FULL, 2), (AVERAGED, 0), (AVERAGED, 2)],
    ids=["paper", "full_recipe", "after_discriminant", "held_back"],
)
def test_killed_and_resumed_run_equals_unbroken_run_bitwise(tmp_path, unbroken, params, last):
    def kill(record: EpochRecord) -> None:
        if record.epoch == last:
            raise Killed

    with pytest.raises(Killed):
        run_fit(params, tmp_path, on_epoch=kill)
    seen: list[int] = []
    torch.manual_seed(99)  # the state of the process must not matter
    np.random.seed(99)  # noqa: NPY002
    resumed = run_fit(params, tmp_path, on_epoch=lambda r: seen.append(r.epoch))
    assert seen == list(range(last + 1, 4))
    assert_same_run(resumed, unbroken(params))


@pytest.mark.slow
def test_run_ended_by_sigkill_resumes(tmp_path, small_run):
    code = (
        "import os, signal, sys; from pathlib import Path;"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r});"
        "import test_train as t; t.torch.set_num_threads(1);"
        "t.run_fit(t.SMALL, Path(sys.argv[1]), on_epoch=lambda r:"
        " os.kill(os.getpid(), signal.SIGKILL) if r.epoch == 2 else None)"
    )
    died = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=False)
    assert died.returncode == -9
    assert len(read_checkpoint(tmp_path / "run" / "last.pt")["history"]) == 2
    resumed = run_fit(SMALL, tmp_path / "run")
    assert without_clock(resumed.history) == without_clock(small_run[0].history)


def test_it_learns_and_keeps_the_best_epoch(tmp_path, small_run):
    exact = small_run[0].history
    assert exact[-1].train_loss < exact[0].train_loss
    params = SMALL.model_copy(update={"epochs": 8, "input_px": 32, "precision": "bfloat16"})
    result = run_fit(params, tmp_path)
    scores = [record.validation_score for record in result.history]
    assert result.best_score == max(scores) > 0.9
    assert scores[result.best_epoch - 1] == result.best_score
    assert result.history[-1].train_loss < 0.5 * result.history[0].train_loss
    saved = read_checkpoint(tmp_path / f"best_{result.best_epoch:04d}.pt")["weights"]
    assert all(torch.equal(saved[n], v) for n, v in result.model.state_dict().items())
    assert next(result.model.parameters()).dtype is torch.float32
    assert not result.model.training
    assert json.dumps([vars(record) for record in result.history])


def test_weights_are_stored_once(tmp_path):
    """A large network's checkpoint is dear: no weights twice, none but the best at the end."""
    sizes = []

    def weigh(_: EpochRecord) -> None:
        state = read_checkpoint(tmp_path / "last.pt")
        stored = [state, read_checkpoint(next(tmp_path.glob("best_*.pt")))]
        sizes.append([sum("weights" in name for name in part) for part in stored])

    run_fit(SMALL, tmp_path, make_small, on_epoch=weigh)
    assert sizes == [[1, 1], [1, 1], [0, 1]]
    assert len(list(tmp_path.glob("best_*.pt"))) == 1


def test_a_checkpoint_that_is_slow_to_write_is_written_less_often(tmp_path, monkeypatch):
    clock, written = [0.0], []

    def write_slowly(state, path):
        clock[0] += 5.0
        if path.name == "last.pt":
            written.append(state["history"][-1]["epoch"])
        write_checkpoint(state, path)

    def tick() -> float:
        clock[0] += 0.001
        return clock[0]

    def pass_epoch(record: EpochRecord) -> None:
        clock[0] += 30.0
        curve = json.loads((tmp_path / "epochs.json").read_text())
        assert [entry["epoch"] for entry in curve] == list(range(1, record.epoch + 1))

    params = SMALL.model_copy(update={"epochs": 12, "input_px": 16})
    monkeypatch.setattr(train_module, "write_checkpoint", write_slowly)
    monkeypatch.setattr(train_module.time, "perf_counter", tick)
    run_fit(params, tmp_path, make_small, on_epoch=pass_epoch)
    assert written[0] == 1
    assert written[-1] == 12
    assert 2 <= np.diff(written)[:-1].min() <= np.diff(written)[:-1].max() <= 4


@pytest.mark.parametrize("lost", ["before", "after"])
def test_killed_between_its_files_a_run_still_resumes_to_the_same_weights(
    tmp_path, monkeypatch, small_run, lost
):
    """Killed just before or just after the second `last.pt` is written."""

    def kill(state, path):
        second = path.name == "last.pt" and len(state["history"]) == 2
        if second and lost == "before":
            raise Killed
        write_checkpoint(state, path)
        if second:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(train_module, "write_checkpoint", kill)
        with pytest.raises(Killed):
            run_fit(SMALL, tmp_path)
    assert_same_run(run_fit(SMALL, tmp_path), small_run[0])


def test_finished_run_is_not_repeated_but_replayed_to_a_listener(small_run):
    first, folder = small_run
    seen: list[EpochRecord] = []
    assert run_fit(SMALL, folder, on_epoch=seen.append).history == first.history
    assert seen == []
    run_fit(SMALL, folder, on_epoch=seen.append, replay=True)
    assert tuple(seen) == first.history


@pytest.mark.parametrize("change", [{"learning_rate": 1e-4}, {"seed": 6}])
def test_changed_settings_start_from_scratch(tmp_path, change):
    params = SMALL.model_copy(update={"epochs": 1, "input_px": 16})
    first = run_fit(params, tmp_path, make_small).history[0]
    changed = params.model_copy(update=change)
    for options in ({}, {"resume": False}):
        seen: list[EpochRecord] = []
        run_fit(changed, tmp_path, make_small, on_epoch=seen.append, **options)
        assert [record.epoch for record in seen] == [1]
        assert seen[0].train_loss != first.train_loss


def test_same_seed_same_result_and_the_caller_keeps_its_random_state():
    params = FULL.model_copy(update={"epochs": 1})
    model = make_model(params)
    before = torch.random.get_rng_state()
    before_numpy = np.random.get_state()[1]  # noqa: NPY002
    loaders = make_loader(params, train=True), make_loader(params, train=False)
    first = fit(model, *loaders, params)
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(before_numpy, np.random.get_state()[1])  # noqa: NPY002
    assert without_clock(first.history) == without_clock(run_fit(params).history)


def test_early_stop_counts_epochs_without_improvement():
    params = SMALL.model_copy(
        update={
            "epochs": 30,
            "input_px": 16,
            "learning_rate": 1e-12,
            "early_stop_patience": 2,
            "score": "accuracy",
        }
    )
    result = run_fit(params, make=make_small)
    assert result.stopped_early
    assert len(result.history) == result.best_epoch + 2 < 30


def test_diverged_training_is_an_error():
    class Exploding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(24**2, 3))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return (images.flatten(1) @ self.weight) * float("nan")

    loaders = make_loader(SMALL, train=True), make_loader(SMALL, train=False)
    with pytest.raises(ModelError, match="epoch 1"):
        fit(Exploding(), *loaders, SMALL)


def test_device_and_precision_are_chosen():
    assert choose_precision("float32", CPU) is torch.float32
    assert choose_precision("auto", CPU) in {torch.float32, torch.bfloat16}
    assert choose_device("cpu") == CPU
    if not torch.cuda.is_available():
        assert choose_device("auto") == CPU
        with pytest.raises(SettingsError):
            choose_device("cuda")


def test_accumulated_gradients_equal_those_of_a_large_batch():
    big = SMALL.model_copy(
        update={"batch_size": 40, "drop_rate": 0.0, "epochs": 1, "learning_rate": 1e-3}
    )
    parts = big.model_copy(update={"batch_size": 10, "gradient_accumulation": 4})

    def train_linear(params: TrainParams) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(24**2, 3))
        loaders = make_loader(params, train=True), make_loader(params, train=False)
        return fit(model, *loaders, params).model[1].weight

    torch.testing.assert_close(train_linear(big), train_linear(parts), atol=1e-6, rtol=1e-4)


def test_learning_rate_over_time():
    cosine = SMALL.model_copy(
        update={"schedule": "cosine", "warmup_fraction": 0.1, "learning_rate": 1.0}
    )
    rates = [rate_at(step, 100, cosine) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5, abs=0.01)
    assert rates[-1] < 0.001
    cycle = cosine.model_copy(update={"schedule": "one_cycle", "warmup_fraction": 0.0})
    assert np.argmax([rate_at(step, 100, cycle) for step in range(100)]) in {29, 30}
    flat = cosine.model_copy(update={"schedule": "none", "warmup_fraction": 0.0})
    assert {rate_at(step, 100, flat) for step in range(100)} == {1.0}


def test_average_of_weights_warms_up_and_copies_buffers():
    model = nn.BatchNorm1d(2)
    nn.init.zeros_(model.weight)
    average = build_average(model, SMALL.model_copy(update={"ema_decay": 0.5}))
    nn.init.ones_(model.weight)
    model.running_mean.fill_(3.0)
    expected = 0.0
    for step in range(12):  # the decay is min(0.5, (1 + step) / (10 + step)), 0.5 from step 8
        average.update(model, step + 2)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + 1.0 - decay
        assert average.module.weight.tolist() == pytest.approx([expected] * 2)
    assert average.module.running_mean.tolist() == [3.0, 3.0]


def test_convolutions_are_chosen_for_repeatability_not_by_timing():
    seen = []
    flags = torch.backends.cudnn
    run_fit(
        SMALL.model_copy(update={"epochs": 1, "input_px": 16}),
        make=make_small,
        on_epoch=lambda _: seen.append((flags.benchmark, flags.deterministic)),
    )
    assert seen == [(False, True)]


def test_validation_and_training_see_the_same_pixels_under_autocast():
    loader = make_loader(SMALL, train=False)
    loader = CropLoader(loader.bank, loader.crops, batch_size=8, input_px=24, path="torch")
    plain = torch.cat([batch.images for batch in loader.iterate_epoch(0)])
    with torch.autocast("cpu", torch.bfloat16):
        inside = torch.cat([batch.images for batch in loader.iterate_epoch(0)])
    assert torch.equal(plain, inside)


def test_networks_are_compiled_only_where_asked_and_do_without_a_compiler(monkeypatch, caplog):
    assert TrainParams().compile == "never"
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    params = SMALL.model_copy(update={"epochs": 1, "input_px": 16})
    with caplog.at_level("WARNING"):
        compiled = run_fit(params.model_copy(update={"compile": "always"}), make=make_small)
    assert "not compiled" in caplog.text
    plain = run_fit(params, make=make_small)
    assert without_clock(compiled.history) == without_clock(plain.history)


class FullMemory(nn.Module):
    """Holds no more than 24 images."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > 24:
            raise torch.OutOfMemoryError
        return images.mean(dim=(1, 2, 3)) * self.weight


def test_batch_size_auto_is_half_of_what_just_fits():
    auto = SMALL.model_copy(update={"batch_size": "auto"})
    assert find_largest_batch(FullMemory(), auto, CPU, 1000) == 8
    assert find_largest_batch(FullMemory(), auto, CPU, 6) <= 6
    assert choose_batch_size(FullMemory(), auto, 1000).batch_size == 32  # a CPU
    assert choose_batch_size(FullMemory(), SMALL, 1000) is SMALL
    assert TrainParams().batch_size == 10  # the paper's
    with pytest.raises(SettingsError, match="auto"):
        open_split_loaders(make_bank(), None, None, auto)


def test_biases_and_norms_are_not_decayed():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    params = SMALL.model_copy(update={"weight_decay": 0.3, "optimiser": "adamw"})
    groups = build_optimiser(model, params, CPU).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(3, 0), (1, 0.3)]


@pytest.mark.parametrize("kind", ["mixup_alpha", "cutmix_alpha"])
def test_labels_are_blended_as_the_images_are(kind):
    params = SMALL.model_copy(update={kind: 1.0, "label_smoothing": 0.0})
    model = make_model(params)
    for _ in range(5):
        images = torch.tensor([0.0, 1.0])[:, None, None, None].repeat(1, 1, 40, 40)
        blended, targets = build_mixup(model, params)(images, torch.tensor([0, 2]))
        torch.testing.assert_close(blended.mean(dim=(1, 2, 3)), targets[:, 2])


@pytest.mark.parametrize("kind", ["mixup_alpha", "cutmix_alpha"])
def test_blending_wants_even_batches(kind):
    with pytest.raises(ValueError, match="batch_size"):
        TrainParams(batch_size=9, **{kind: 0.2})


def test_validation_scores_by_hand():
    logits = torch.tensor([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]])
    scores = score_validation(logits, torch.tensor([0, 0, 0, 1]))
    assert scores["accuracy"] == 0.5
    assert scores["balanced_accuracy"] == pytest.approx((2 / 3 + 0) / 2)
    hit = np.log(np.exp(2) + 2) - 2
    assert scores["loss"] == pytest.approx((2 * hit + 2 * (hit + 2)) / 4)


def test_checkpoint_is_whole_or_absent(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    assert read_checkpoint(path) is None
    write_checkpoint({"epoch": 1}, path)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(ModelError):
        write_checkpoint({"epoch": 2}, path)
    assert read_checkpoint(path) == {"epoch": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_unreadable_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"last\.pt"):
        read_checkpoint(path)


def test_crops_are_cut_with_torch_where_there_is_no_opencv(monkeypatch):
    monkeypatch.setattr(loader_module, "find_spec", lambda _: None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    params = SMALL.model_copy(update={"epochs": 1, "input_px": 16})
    train = make_loader(params, train=True)
    assert train.path == "torch"
    assert len(fit(make_model(params), train, train, params).history) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_trains_without_waiting_within_an_epoch():
    params = FULL.model_copy(update={"device": "cuda", "precision": "bfloat16", "epochs": 3})
    train = make_loader(params, train=True)
    loader = CropLoader(
        train.bank, train.crops, batch_size=8, input_px=32, augment=params.augment, device="cuda"
    )
    result = fit(make_model(params), loader, loader, params)
    assert len(result.history) == 3
    list(loader.iterate_epoch(0))
    batches = loader.iterate_epoch(1)
    next(batches)
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert len(list(batches)) == len(loader) - 1
    finally:
        torch.cuda.set_sync_debug_mode("default")
