from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from ray import cloudpickle
from torch import nn

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.data.crop_index import CropIndex, SearchData
from ncm_kedro.learning.data.frame_bank import build_frame_bank
from ncm_kedro.learning.training import search as search_module
from ncm_kedro.learning.training import train as train_module
from ncm_kedro.learning.training.ray_tune import PersistentASHA, name_trial
from ncm_kedro.learning.training.search import (
    SearchResult,
    apply_trial,
    draw_trials,
    retire_trial,
    search_settings,
)
from ncm_kedro.learning.training.state import write_checkpoint
from ncm_kedro.params.tune_train import SearchParams, TrainParams

PARAMS = TrainParams(
    model="test_resnet",
    pretrained=False,
    input_px=32,
    device="cpu",
    precision="float32",
    loader_threads=1,
)
SEARCH = SearchParams(
    num_samples=3,
    learning_rate_low=1e-3,
    learning_rate_high=1e-2,
    batch_sizes=(8,),
    normalisations=("none", "per_image"),
    max_epochs=4,
    grace_period=1,
    reduction_factor=2.0,
    cpus_per_trial=64.0,  # more than there are: cut, not waited for
    gpus_per_trial=1.0,
    object_store_mb=100,
)


# Workers cannot import this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def make_data() -> SearchData:
    rng = np.random.default_rng(0)
    frames = {}
    for label, period in enumerate((4, 16)):
        wave = 128 + 80 * np.sign(np.sin(2 * np.pi * np.arange(96) / period + 0.1))
        noisy = wave[None, :] + rng.normal(0, 30, (96, 96))
        frames[f"c{label}"] = np.clip(noisy, 0, 255).astype(np.uint8)

    def cut(count: int, low: int) -> CropIndex:
        label = np.arange(count) % 2
        return CropIndex(
            frame=label,
            x_px=rng.integers(0, 64, count),
            y_px=np.full(count, low),
            size_px=np.full(count, 32),
            label=label,
        )

    return SearchData(build_frame_bank(frames), train=cut(32, 0), validate=cut(12, 60))


def build_tiny(params: TrainParams) -> nn.Module:
    return timm.create_model(params.model, pretrained=False, in_chans=1, num_classes=2)


def crashing_rate() -> float:
    return draw_trials(SEARCH)[1]["learning_rate"]


def build_crashing(params: TrainParams) -> nn.Module:
    if params.learning_rate == crashing_rate():
        raise RuntimeError("simulated crash")
    return build_tiny(params)


def build_slow(params: TrainParams) -> nn.Module:
    """Slow enough to be interrupted half-way; logs its starts."""

    class Slow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = build_tiny(params)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            time.sleep(float(os.environ.get("NCM_TEST_DELAY", "0")))
            return self.net(images)

    return Slow()


def run(root: Path, build=build_tiny, search: SearchParams = SEARCH, **options) -> SearchResult:
    return search_settings(make_data(), PARAMS, search, build=build, root_dir=root, **options)


def test_trials_are_drawn_from_the_seed_within_their_ranges():
    many = SearchParams(num_samples=200)
    trials = draw_trials(many)
    assert trials == draw_trials(many)
    assert trials[:5] == draw_trials(SearchParams(num_samples=5))
    assert trials != draw_trials(SearchParams(num_samples=200, seed=1))
    rates = np.array([trial["learning_rate"] for trial in trials])
    assert 1e-4 <= rates.min() < 2e-4
    assert 5e-2 < rates.max() <= 1e-1
    assert np.median(rates) == pytest.approx(10**-2.5, rel=0.4)  # uniform in the logarithm
    for key, allowed in (("batch_size", many.batch_sizes), ("normalise", many.normalisations)):
        assert {trial[key] for trial in trials} == set(allowed)
    assert json.dumps(trials)


def test_trial_settings_reach_the_training_settings():
    config = draw_trials(SearchParams(num_samples=1))[0] | {"flip": True, "rotation_deg": 90.0}
    params = apply_trial(PARAMS, config, epochs=7)
    assert params.learning_rate == config["learning_rate"]
    assert params.batch_size == config["batch_size"]
    assert (params.augment.flip, params.augment.rotation_deg) == (True, 90.0)
    assert params.normalise.method == config["normalise"]
    assert params.epochs == 7
    assert params.model == PARAMS.model


def make_asha(path: Path) -> PersistentASHA:
    asha = PersistentASHA(
        path, time_attr="epoch", metric="best_score", mode="max", max_t=9, grace_period=1,
        reduction_factor=3,
    )  # fmt: skip
    return asha


def make_trial(number: int) -> SimpleNamespace:
    return SimpleNamespace(trial_id=f"id{time.perf_counter_ns()}", config={"trial": number})


def test_asha_keeps_its_rungs_over_a_restart(tmp_path):
    first = make_asha(tmp_path / "asha.json")
    trials = [make_trial(number) for number in range(4)]
    for trial in trials:
        first.on_trial_add(None, trial)
    reports = [(trials[0], 0.9), (trials[1], 0.8), (trials[2], 0.1)]
    actions = [first.on_trial_result(None, t, {"epoch": 1, "best_score": s}) for t, s in reports]
    assert actions == ["CONTINUE", "STOP", "STOP"]

    again = make_asha(tmp_path / "asha.json")
    trials = [make_trial(number) for number in range(4)]
    for trial in trials:
        again.on_trial_add(None, trial)
    for trial, score in zip(trials, (0.9, 0.8, 0.1, 0.5), strict=True):
        action = again.on_trial_result(None, trial, {"epoch": 1, "best_score": score})
        assert action == ("CONTINUE" if trial is trials[0] else "STOP")

    forgetful = make_asha(tmp_path / "other.json")
    late = make_trial(3)
    forgetful.on_trial_add(None, late)
    assert forgetful.on_trial_result(None, late, {"epoch": 1, "best_score": 0.5}) == "CONTINUE"


def test_stopped_trial_is_stopped_again_at_the_same_epoch(tmp_path):
    asha = make_asha(tmp_path / "asha.json")
    good, bad = make_trial(0), make_trial(1)
    for trial in (good, bad):
        asha.on_trial_add(None, trial)
    for epoch in (1, 2, 3):
        asha.on_trial_result(None, good, {"epoch": epoch, "best_score": 0.9})
    actions = [
        asha.on_trial_result(None, bad, {"epoch": epoch, "best_score": score})
        for epoch, score in ((1, 0.95), (2, 0.5), (3, 0.5))
    ]
    assert actions == ["CONTINUE", "CONTINUE", "STOP"]
    again = make_asha(tmp_path / "asha.json")
    bad = make_trial(1)
    again.on_trial_add(None, bad)
    actions = [
        again.on_trial_result(None, bad, {"epoch": epoch, "best_score": 0.95})
        for epoch in (1, 2, 3)
    ]
    assert actions == ["CONTINUE", "CONTINUE", "STOP"]


def run_trial_alone(monkeypatch, folder: Path, number: int = 0) -> list[dict]:
    """Run one trial in this process, collecting what it reports."""
    from ray import tune

    reports: list[dict] = []
    monkeypatch.setattr(tune, "report", reports.append)
    search_module.run_trial(
        draw_trials(SEARCH)[number],
        data=make_data(),
        params=PARAMS,
        epochs=3,
        build=build_tiny,
        search_dir=folder,
        threads=1,
    )
    return reports


def test_trial_reports_its_curve_again_once_it_is_over(tmp_path, monkeypatch):
    first = run_trial_alone(monkeypatch, tmp_path)
    assert [report["epoch"] for report in first] == [1, 2, 3]
    retire_trial(tmp_path, 0)
    assert [path.name for path in (tmp_path / "trial_0000").iterdir()] == ["curve.json"]
    assert run_trial_alone(monkeypatch, tmp_path) == first


def test_half_finished_trial_goes_on_and_reports_the_whole_curve(tmp_path, monkeypatch):
    unbroken = run_trial_alone(monkeypatch, tmp_path / "unbroken")

    def killing_write(state, path):
        write_checkpoint(state, path)
        if path.name == "last.pt" and len(state["history"]) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train_module, "write_checkpoint", killing_write)
        with pytest.raises(KeyboardInterrupt):
            run_trial_alone(patched, tmp_path / "killed")
    resumed = run_trial_alone(monkeypatch, tmp_path / "killed")
    clock = {"seconds", "images_per_second"}
    for left, right in zip(resumed, unbroken, strict=True):
        assert {k: v for k, v in left.items() if k not in clock} == {
            k: v for k, v in right.items() if k not in clock
        }


def test_a_trial_is_named_for_people():
    config = {"trial": 3, "learning_rate": 2.1e-4, "batch_size": 10, "flip": True}
    assert name_trial(SimpleNamespace(config=config)) == "trial 3: lr 2.1e-4, batch 10"


@pytest.mark.slow
def test_search_ends_well_with_a_crashing_trial_and_is_not_repeated(tmp_path):
    """One start of Ray for all assertions: it takes seconds."""
    import ray

    seen = []

    class Listener(ray.tune.Callback):
        def on_trial_result(self, iteration, trials, trial, result, **info):
            seen.append((trial.config["trial"], result["epoch"]))
            assert str(trial) == name_trial(trial)

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        found = run(tmp_path, build_crashing, callbacks=[Listener()])
        failed = [row["trial"] for row in found.trials if row["status"] == "failed"]
        assert failed == [1]
        assert "simulated crash" in found.trials[1]["error"]
        usable = [row for row in found.trials if row["status"] != "failed"]
        best = max(usable, key=lambda row: (row["best_score"], -row["validation_loss"]))
        assert found.best.learning_rate == best["learning_rate"]
        assert found.best.epochs == PARAMS.epochs
        assert {number for number, _ in seen} == {0, 2}
        assert not list(found.search_dir.glob("trial_*/*.pt"))

        first_seen, times = sorted(seen), time.perf_counter()
        seen.clear()
        again = run(tmp_path, build_tiny, callbacks=[Listener()])
        assert time.perf_counter() - times < 60
        assert [row for row in sorted(seen) if row[0] != 1] == first_seen
        assert again.trials[1]["status"] != "failed"  # the crash is tried again
        for number in (0, 2):
            assert again.trials[number]["best_score"] == found.trials[number]["best_score"]
    finally:
        ray.shutdown()


@pytest.mark.slow
def test_all_trials_failing_is_an_error(tmp_path):
    with pytest.raises(ModelError, match=r"all failed.*simulated crash"):
        run(tmp_path, build_crashing_always, SEARCH.model_copy(update={"num_samples": 2}))


def build_crashing_always(params: TrainParams) -> nn.Module:
    raise RuntimeError("simulated crash")


@pytest.mark.slow
@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGINT])
def test_an_ended_search_goes_on_where_it_was(tmp_path, ended_by):
    """An interrupted and resumed search gives the scores of an unbroken one.

    Ctrl-C ends the run, too: the trials until then are no result.
    """
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r});"
        "import test_search as t; from pathlib import Path;"
        "t.run(Path(sys.argv[1]), t.build_slow)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "killed")],
        env=os.environ | {"NCM_TEST_DELAY": "0.3"},
    )
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and child.poll() is None:
        curves = list((tmp_path / "killed").glob("search_*/trial_*/curve.json"))
        running = list((tmp_path / "killed").glob("search_*/trial_*/last.pt"))
        if curves and running:
            break
        time.sleep(0.05)
    os.kill(child.pid, ended_by)
    assert child.wait() != 0
    finished = {path: path.stat().st_mtime_ns for path in curves}
    assert finished
    assert running

    resumed = run(tmp_path / "killed", build_slow)
    unbroken = run(tmp_path / "unbroken", build_slow)
    assert len(list((tmp_path / "killed").glob("search_*"))) == 1
    for path, stamp in finished.items():
        assert path.stat().st_mtime_ns == stamp
    for killed_row, row in zip(resumed.trials, unbroken.trials, strict=True):
        for key in ("best_score", "epoch", "status", "validation_loss"):
            assert killed_row[key] == row[key], key
