from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from ncm_kedro.errors import ModelError, SettingsError
from ncm_kedro.learning.data.frame_bank import FrameBank, build_frame_bank
from ncm_kedro.learning.data.loader import CropIndex, CropLoader
from ncm_kedro.learning.training.optimisation import (
    WeightAverage,
    blend_batch,
    blended_loss,
    build_optimiser,
    rate_at,
)
from ncm_kedro.learning.training.records import read_checkpoint, write_checkpoint
from ncm_kedro.learning.training.train import EpochRecord, choose_device, choose_precision, fit
from ncm_kedro.params.tune_train import AugmentParams, TrainParams

CPU = torch.device("cpu")
SMALL = TrainParams(
    model="test_resnet",
    pretrained=False,
    epochs=4,
    batch_size=8,
    input_px=32,
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


def make_bank() -> FrameBank:
    """Three classes by stripe width; easy to tell apart."""
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


def run_fit(params: TrainParams, folder: Path | None = None, **options):
    return fit(
        make_model(params),
        make_loader(params, train=True),
        make_loader(params, train=False),
        params,
        checkpoint_dir=folder,
        **options,
    )


def without_clock(history: tuple[EpochRecord, ...]) -> list[EpochRecord]:
    from dataclasses import replace

    return [replace(record, seconds=0.0, images_per_second=0.0) for record in history]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Killed(Exception):
    pass


@pytest.mark.parametrize("params", [SMALL, FULL], ids=["paper", "full_recipe"])
def test_killed_and_resumed_run_equals_unbroken_run_bitwise(tmp_path, params):
    unbroken = run_fit(params, tmp_path / "unbroken")

    def kill(record: EpochRecord) -> None:
        if record.epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        run_fit(params, tmp_path / "killed", on_epoch=kill)
    seen: list[int] = []
    torch.manual_seed(99)  # the state of the process must not matter
    resumed = run_fit(params, tmp_path / "killed", on_epoch=lambda r: seen.append(r.epoch))
    assert seen == [3, 4]
    assert without_clock(resumed.history) == without_clock(unbroken.history)
    for name, value in unbroken.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.mark.slow
def test_run_ended_by_sigkill_resumes(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path;"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r});"
        "import test_train as t; t.torch.set_num_threads(1);"
        "t.run_fit(t.SMALL, Path(sys.argv[1]), on_epoch=lambda r:"
        " os.kill(os.getpid(), signal.SIGKILL) if r.epoch == 3 else None)"
    )
    died = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=False)
    assert died.returncode == -9
    assert len(read_checkpoint(tmp_path / "run" / "last.pt")["history"]) == 3
    resumed = run_fit(SMALL, tmp_path / "run")
    assert without_clock(resumed.history) == without_clock(run_fit(SMALL).history)


def test_it_learns_and_keeps_the_best_epoch(tmp_path):
    result = run_fit(SMALL.model_copy(update={"epochs": 8}), tmp_path)
    scores = [record.validation_score for record in result.history]
    assert result.best_score == max(scores) > 0.9
    assert scores[result.best_epoch - 1] == result.best_score
    assert result.history[-1].train_loss < 0.5 * result.history[0].train_loss
    saved = read_checkpoint(tmp_path / "best.pt")["weights"]
    assert all(torch.equal(saved[n], v) for n, v in result.model.state_dict().items())
    assert not result.model.training
    assert json.dumps([vars(record) for record in result.history])


def test_finished_run_is_not_repeated_and_changed_settings_start_over(tmp_path, caplog):
    first = run_fit(SMALL, tmp_path)
    seen: list[int] = []
    again = run_fit(SMALL, tmp_path, on_epoch=lambda r: seen.append(r.epoch))
    assert seen == []
    assert again.history == first.history
    run_fit(
        SMALL.model_copy(update={"learning_rate": 1e-4}),
        tmp_path,
        on_epoch=lambda r: seen.append(r.epoch),
    )
    assert seen == [1, 2, 3, 4]
    assert "starts over" in caplog.text
    seen.clear()
    fresh = SMALL.model_copy(update={"learning_rate": 1e-4})
    run_fit(fresh, tmp_path, resume=False, on_epoch=lambda r: seen.append(r.epoch))
    assert seen == [1, 2, 3, 4]


def test_replay_shows_a_listener_the_whole_curve(tmp_path):
    first = run_fit(SMALL, tmp_path)
    seen: list[EpochRecord] = []
    run_fit(SMALL, tmp_path, on_epoch=seen.append, replay=True)
    assert tuple(seen) == first.history


def test_same_seed_same_result_and_other_seed_another():
    first, second = run_fit(SMALL), run_fit(SMALL)
    assert without_clock(first.history) == without_clock(second.history)
    other = run_fit(SMALL.model_copy(update={"seed": 6}))
    assert other.history[0].train_loss != first.history[0].train_loss


def test_random_state_of_the_caller_is_left_alone():
    torch.manual_seed(3)
    model = make_model(SMALL)
    before = torch.random.get_rng_state()
    fit(model, make_loader(SMALL, train=True), make_loader(SMALL, train=False), SMALL)
    assert torch.equal(before, torch.random.get_rng_state())


def test_early_stop_counts_epochs_without_improvement():
    params = SMALL.model_copy(
        update={"epochs": 30, "learning_rate": 1e-12, "early_stop_patience": 2, "score": "accuracy"}
    )
    result = run_fit(params)
    assert result.stopped_early
    assert len(result.history) == result.best_epoch + 2 < 30


def test_diverged_training_is_an_error():
    params = SMALL.model_copy(update={"learning_rate": 10.0, "epochs": 10})

    class Exploding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1024, 3))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return (images.flatten(1) @ self.weight) * float("nan")

    loaders = make_loader(params, train=True), make_loader(params, train=False)
    with pytest.raises(ModelError, match=r"loss of nan.*learning_rate"):
        fit(Exploding(), *loaders, params)


def test_bfloat16_trains_where_it_is_asked_for():
    result = run_fit(SMALL.model_copy(update={"precision": "bfloat16", "epochs": 8}))
    assert result.best_score > 0.9
    assert next(result.model.parameters()).dtype is torch.float32


def test_device_and_precision_are_chosen():
    assert choose_precision("float32", CPU) is torch.float32
    assert choose_precision("auto", CPU) in {torch.float32, torch.bfloat16}
    assert choose_device("cpu") == CPU
    if not torch.cuda.is_available():
        assert choose_device("auto") == CPU
        with pytest.raises(SettingsError, match="device: auto"):
            choose_device("cuda")


def test_accumulated_gradients_equal_those_of_a_large_batch():
    big = SMALL.model_copy(
        update={"batch_size": 40, "drop_rate": 0.0, "epochs": 1, "learning_rate": 1e-3}
    )
    parts = big.model_copy(update={"batch_size": 10, "gradient_accumulation": 4})

    def train_linear(params: TrainParams) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(1024, 3))
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


def test_average_of_weights_is_applied_and_taken_back():
    model = nn.Linear(2, 2, bias=False)
    nn.init.zeros_(model.weight)
    average = WeightAverage(model, decay=0.5)
    nn.init.ones_(model.weight)
    average.update(model, step=0)  # warm-up: decay min(0.5, 0.1)
    with average.applied(model):
        assert model.weight.detach().flatten().tolist() == pytest.approx([0.9] * 4)
    assert model.weight.detach().flatten().tolist() == [1.0] * 4
    average.update(model, step=1000)
    assert average.weights["weight"].flatten().tolist() == pytest.approx([0.95] * 4)


def test_biases_and_norms_are_not_decayed():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    params = SMALL.model_copy(update={"weight_decay": 0.3, "optimiser": "adamw"})
    groups = build_optimiser(model, params, CPU).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(1, 0.3), (3, 0)]


def test_cutmix_share_is_the_area_kept():
    images = torch.zeros(2, 1, 40, 40)
    images[1] = 1.0
    params = SMALL.model_copy(update={"cutmix_alpha": 1.0})
    for seed in range(20):
        blended, share = blend_batch(images, params, np.random.default_rng(seed))
        assert float(blended[1].mean()) == pytest.approx(share)
        assert float(blended[0].mean()) == pytest.approx(1.0 - share)
    mixed, share = blend_batch(
        images, SMALL.model_copy(update={"mixup_alpha": 1.0}), np.random.default_rng(0)
    )
    torch.testing.assert_close(mixed[1], torch.full((1, 40, 40), share))


def test_blended_loss_weighs_both_labels():
    logits = torch.tensor([[5.0, 0.0], [0.0, 5.0]])
    labels = torch.tensor([0, 1])
    own, other = (float(blended_loss(logits, labels, share, 0.0)) for share in (1.0, 0.0))
    assert float(blended_loss(logits, labels, 0.25, 0.0)) == pytest.approx(
        0.25 * own + 0.75 * other
    )


def test_checkpoint_is_whole_or_absent(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    write_checkpoint({"epoch": 1}, path)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(ModelError, match="No space left"):
        write_checkpoint({"epoch": 2}, path)
    assert read_checkpoint(path) == {"epoch": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


def test_unreadable_checkpoint_is_named(tmp_path):
    path = tmp_path / "last.pt"
    assert read_checkpoint(path) is None
    for content in (b"", b"not a checkpoint"):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"last\.pt.*delete the file"):
            read_checkpoint(path)


def test_training_needs_neither_opencv_nor_pandas_nor_ray_nor_kedro(tmp_path):
    code = (
        "import sys\n"
        "for name in ('cv2', 'pandas', 'ray', 'kedro', 'mlflow', 'sklearn', 'zarr'):\n"
        "    sys.modules[name] = None\n"
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'cv2' else find(name, *a)\n"
        "import torch; from torch import nn; torch.set_num_threads(1)\n"
        "import numpy as np\n"
        "from ncm_kedro.learning.data.frame_bank import build_frame_bank\n"
        "from ncm_kedro.learning.data.loader import CropIndex, open_split_loaders\n"
        "from ncm_kedro.learning.training.train import fit\n"
        "from ncm_kedro.params.tune_train import TrainParams\n"
        "bank = build_frame_bank({'a': np.zeros((40, 40), np.uint8)})\n"
        "zero = np.zeros(4, np.int64)\n"
        "crops = CropIndex(zero, zero, zero, zero + 40, zero)\n"
        "params = TrainParams(epochs=1, batch_size=2, input_px=16, device='cpu')\n"
        "train, validate = open_split_loaders(bank, crops, crops, params)\n"
        "assert train.path == 'torch'\n"
        "model = nn.Sequential(nn.Flatten(), nn.Linear(256, 2))\n"
        "assert len(fit(model, train, validate, params).history) == 1\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


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
