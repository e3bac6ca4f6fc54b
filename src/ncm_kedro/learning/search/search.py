"""Search over training settings with Ray Tune.

All trials' settings are drawn before the first one starts, from the seed alone. A trial lives in a
folder of its own number, so a search that was killed is taken up by running it again: finished
trials report their curve once more, half-finished ones go on from their last epoch, and ASHA's
rungs are read back from a file. Folders are named by a digest of settings and data: another search
starts afresh beside the old one. On a cluster the folder must be on storage that all nodes share.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.data.frame_bank import FrameBank
from ncm_kedro.learning.data.loader import CropIndex, open_split_loaders
from ncm_kedro.learning.search.trials import (
    apply_trial,
    connect_ray,
    describe_record,
    draw_trials,
    read_curve,
    trial_folder,
)
from ncm_kedro.learning.training.train import EpochRecord, fit
from ncm_kedro.params.tune_train import SearchParams, TrainParams

logger = logging.getLogger(__name__)

ModelBuilder = Callable[[TrainParams], nn.Module]


@dataclass(frozen=True)
class SearchData:
    """Frames and the crops of the two splits that a search may see."""

    bank: FrameBank
    train: CropIndex
    validate: CropIndex


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
    search_dir = (root_dir / f"search_{_digest(data, params, search)}").resolve()
    search_dir.mkdir(parents=True, exist_ok=True)
    trials = draw_trials(search)
    logger.info("search: %d trials of up to %d epochs", len(trials), search.max_epochs)
    if params.device == "cpu":
        search = search.model_copy(update={"gpus_per_trial": 0.0})
    with connect_ray(search, data.bank.pixels.nbytes) as resources:
        fixed = {
            "data": data,
            "params": _place_trials(params, resources),
            "epochs": search.max_epochs,
            "build": build,
            "search_dir": search_dir,
        }
        tuner = _build_tuner(trials, search, search_dir, fixed, resources, callbacks=callbacks)
        rows = _tabulate(trials, tuner.fit(), search.max_epochs)
    return SearchResult(_pick_best(params, rows), rows, search_dir)


def _build_tuner(
    trials: list[dict[str, Any]],
    search: SearchParams,
    search_dir: Path,
    fixed: dict[str, Any],
    resources: dict[str, float],
    *,
    callbacks: Sequence[Any],
) -> Any:
    from ray import tune  # noqa: PLC0415  Ray is needed by a search alone
    from ray.tune.logger import JsonLoggerCallback  # noqa: PLC0415
    from ray.tune.search.basic_variant import BasicVariantGenerator  # noqa: PLC0415

    from ncm_kedro.learning.search.trials import PersistentASHA, TrialCleanup  # noqa: PLC0415

    threads = max(1, int(resources["cpu"]))
    trainable = tune.with_parameters(run_trial, threads=threads, **fixed)
    asha = PersistentASHA(
        search_dir / "asha.json",
        time_attr="epoch",
        max_t=search.max_epochs,
        grace_period=search.grace_period,
        reduction_factor=search.reduction_factor,
    )
    return tune.Tuner(
        tune.with_resources(trainable, resources),
        param_space={key: tune.choice([row[key] for row in trials]) for key in trials[0]},
        tune_config=tune.TuneConfig(
            metric="best_score",
            mode="max",
            num_samples=len(trials),
            reuse_actors=True,
            max_concurrent_trials=search.max_concurrent or None,
            search_alg=BasicVariantGenerator(points_to_evaluate=trials, random_state=0),
            scheduler=asha,
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(search_dir),
            verbose=0,
            callbacks=[JsonLoggerCallback(), TrialCleanup(search_dir), *callbacks],
        ),
    )


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
    """Train one trial in a worker process, or report the curve of one that is over."""
    from ray import tune  # noqa: PLC0415  Ray is needed by a search alone

    def report(record: EpochRecord) -> None:
        tune.report(describe_record(record))

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
    where = {"device", "loader_threads", "epochs"}
    parts: list[object] = [params.model_dump(mode="json", exclude=where), data.bank.checksum]
    machine = {"cpus_per_trial", "gpus_per_trial", "max_concurrent", "ray_address"}
    machine |= {"object_store_mb", "num_samples", "enabled"}
    parts.append(search.model_dump(mode="json", exclude=machine))
    parts += [split.checksum for split in (data.train, data.validate)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
