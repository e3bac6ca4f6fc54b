"""Search over training settings with Ray Tune.

All trials' settings are drawn before the first one starts, from the seed alone. A trial lives in a
folder of its own number, so that running an interrupted search again resumes it: finished trials
report their curve once more, half-finished ones resume from their last epoch, and ASHA's rungs are
read back from a file. Folders are named by a digest of settings and data: another search starts
from scratch beside the old one. On a cluster the folder must be on storage that all nodes share.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.data.crop_index import SearchData
from ncm_kedro.learning.data.loader import open_split_loaders
from ncm_kedro.learning.training.fitting import identify_training
from ncm_kedro.learning.training.state import EpochRecord
from ncm_kedro.learning.training.train import fit
from ncm_kedro.params.tune_train import SearchParams, TrainParams

logger = logging.getLogger(__name__)

ModelBuilder = Callable[[TrainParams], nn.Module]


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Parameters
    ----------
    best
        Training settings of the trial with the highest validation score.
    trials
        A row per trial: `trial`, its settings, `status` (finished, stopped, failed), `epoch`,
        `best_score`, `validation_loss`, `seconds`, `error`.
    search_dir
        Folder with the curves of this search.
    """

    best: TrainParams
    trials: list[dict[str, Any]]
    search_dir: Path


def search_settings(
    data: SearchData,
    params: TrainParams,
    search: SearchParams,
    *,
    build: ModelBuilder,
    root_dir: Path,
    callbacks: Sequence[Any] = (),
) -> SearchResult:
    """Find good training settings by random search with early stopping (ASHA).

    Parameters
    ----------
    data
        Frames and the crops of the training and validation splits.
    params
        Settings that trials start from.
    search
        What to vary, and resources.
    build
        Builds the network of a trial; runs in a worker process, must be picklable.
    root_dir
        Folder under which each search keeps its own.
    callbacks
        Ray Tune callbacks, such as a logger of nested runs.

    Raises
    ------
    ModelError
        Every trial failed.
    SettingsError
        The Ray cluster cannot be reached.
    """
    from ncm_kedro.learning.training import ray_tune

    search_dir = (root_dir / f"search_{_digest(data, params, search)}").resolve()
    search_dir.mkdir(parents=True, exist_ok=True)
    trials = draw_trials(search)
    logger.info("search: %d trials of up to %d epochs", len(trials), search.max_epochs)
    if params.device == "cpu":
        search = search.model_copy(update={"gpus_per_trial": 0.0})
    with ray_tune.connect_ray(search, data.bank.pixels.nbytes) as resources:
        fixed = {
            "data": data,
            "params": _place_trials(params, resources),
            "epochs": search.max_epochs,
            "build": build,
            "search_dir": search_dir,
            "threads": max(1, int(resources["cpu"])),
        }
        tuner = ray_tune.build_tuner(
            run_trial,
            fixed,
            trials,
            search,
            search_dir=search_dir,
            resources=resources,
            callbacks=callbacks,
        )
        rows = _tabulate(trials, tuner.fit(), search.max_epochs)
    return SearchResult(_pick_best(params, rows), rows, search_dir)


def draw_trials(search: SearchParams) -> list[dict[str, Any]]:
    """Draw the settings of all trials from the seed; fewer samples give the head of the list."""
    trials = []
    for number in range(search.num_samples):
        rng = np.random.default_rng([search.seed, number])
        low, high = np.log([search.learning_rate_low, search.learning_rate_high])
        trials.append(
            {
                "trial": number,
                "learning_rate": float(np.exp(rng.uniform(low, high))),
                "batch_size": int(rng.choice(search.batch_sizes)),
                "flip": bool(rng.choice(search.flips)),
                "rotation_deg": float(rng.choice(search.rotations_deg)),
                "normalise": str(rng.choice(search.normalisations)),
            }
        )
    return trials


def apply_trial(
    params: TrainParams, config: Mapping[str, Any], epochs: int | None = None
) -> TrainParams:
    """Training settings of a trial; `epochs` overrides their number."""
    update: dict[str, Any] = {
        "learning_rate": config["learning_rate"],
        "batch_size": config["batch_size"],
        "augment": params.augment.model_copy(
            update={"flip": config["flip"], "rotation_deg": config["rotation_deg"]}
        ),
        "normalise": params.normalise.model_copy(update={"method": config["normalise"]}),
    }
    if epochs is not None:
        update["epochs"] = epochs
    return params.model_copy(update=update)


def trial_folder(search_dir: Path, number: int) -> Path:
    """Folder of one trial."""
    return search_dir / f"trial_{number:04d}"


def retire_trial(search_dir: Path, number: int) -> None:
    """Retain the curve of a trial that has ended and delete its weights."""
    folder = trial_folder(search_dir, number)
    if (folder / "epochs.json").exists():
        (folder / "epochs.json").replace(folder / "curve.json")
    for weights in folder.glob("*.pt"):
        weights.unlink()


def read_curve(search_dir: Path, number: int) -> list[EpochRecord] | None:
    """Curve of a trial that has ended; None where it has yet to run or to be resumed."""
    path = trial_folder(search_dir, number) / "curve.json"
    if not path.exists():
        return None
    return [EpochRecord(**record) for record in json.loads(path.read_text(encoding="utf-8"))]


def run_trial(
    config: dict[str, Any],
    *,
    data: SearchData,
    params: TrainParams,
    epochs: int,
    build: ModelBuilder,
    search_dir: Path,
    threads: int,
) -> None:
    """Train one trial in a worker process, or report the curve of one that has ended."""
    from ray import tune

    def report(record: EpochRecord) -> None:
        tune.report(asdict(record))

    curve = read_curve(search_dir, config["trial"])
    if curve is not None:
        for record in curve:
            report(record)
        return
    torch.set_num_threads(threads)
    trial_params = apply_trial(params, config, epochs)
    train, validate = open_split_loaders(data.bank, data.train, data.validate, trial_params)
    torch.manual_seed(trial_params.seed)
    fit(
        build(trial_params),
        train,
        validate,
        trial_params,
        on_epoch=report,
        checkpoint_dir=trial_folder(search_dir, config["trial"]),
        replay=True,
    )


def _place_trials(params: TrainParams, resources: dict[str, float]) -> TrainParams:
    """Keep trials that were given no GPU off the GPUs."""
    if params.device == "auto" and resources["gpu"] == 0.0:
        return params.model_copy(update={"device": "cpu"})
    return params


def _tabulate(trials: list[dict[str, Any]], results: Any, max_epochs: int) -> list[dict[str, Any]]:
    """Rows in the order of the trials' numbers."""
    rows = {}
    for result in results:
        number, metrics = result.config["trial"], result.metrics or {}
        epoch = metrics.get("epoch")
        status = "finished" if epoch == max_epochs else "stopped"
        rows[number] = {
            **trials[number],
            "status": "failed" if result.error is not None else status,
            "epoch": epoch,
            "best_score": metrics.get("best_score"),
            "validation_loss": metrics.get("validation_loss"),
            "seconds": metrics.get("time_total_s"),
            "error": _last_line(result.error),
        }
    return [rows[number] for number in sorted(rows)]


def _last_line(error: object) -> str | None:
    if error is None:
        return None
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _pick_best(params: TrainParams, rows: list[dict[str, Any]]) -> TrainParams:
    usable = [row for row in rows if row["status"] != "failed" and row["best_score"] is not None]
    if not usable:
        raise ModelError(
            "search",
            found=f"{len(rows)} trials, all failed; the first with: {rows[0]['error']}",
            expected="at least one trial that trains",
            action="correct the cause, or set `search.enabled: false`, and run again",
        )
    best = max(usable, key=lambda row: (row["best_score"], -row["validation_loss"]))
    return apply_trial(params, best)


def _digest(data: SearchData, params: TrainParams, search: SearchParams) -> str:
    """Digest of what decides the curve of a trial."""
    settings = {k: v for k, v in identify_training(params).items() if k != "epochs"}
    parts: list[object] = [settings, data.bank.checksum]
    machine = {"cpus_per_trial", "gpus_per_trial", "max_concurrent", "ray_address"}
    machine |= {"object_store_mb", "num_samples", "enabled"}
    parts.append(search.model_dump(mode="json", exclude=machine))
    parts += [split.checksum for split in (data.train, data.validate)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
