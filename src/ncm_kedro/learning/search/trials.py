"""Settings of the trials of a search, drawn before the first one starts.

What a trial leaves on disk: checkpoints while it runs, its curve when it is over.

A connection to Ray, quiet and without telemetry.

What the search hooks into Ray Tune (imported only where a search runs: Ray stays optional).
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune import Callback
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.errors import SettingsError
from ncm_kedro.learning.training.records import read_checkpoint
from ncm_kedro.learning.training.train import EpochRecord
from ncm_kedro.params.tune_train import SearchParams, TrainParams


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
    """Keep the curve of a trial that is over and delete its weights, which nobody needs."""
    folder = trial_folder(search_dir, number)
    state = read_checkpoint(folder / "last.pt")
    if state is not None:
        write_atomic(folder / "curve.json", json.dumps(state["history"]).encode())
    for name in ("last.pt", "best.pt"):
        (folder / name).unlink(missing_ok=True)


def read_curve(search_dir: Path, number: int) -> list[EpochRecord] | None:
    """Curve of a trial that is over; None where it has yet to run or to be taken up again."""
    path = trial_folder(search_dir, number) / "curve.json"
    if not path.exists():
        return None
    return [EpochRecord(**record) for record in json.loads(path.read_text(encoding="utf-8"))]


def describe_record(record: EpochRecord) -> dict[str, float]:
    """Return an epoch's record as Ray reports it."""
    return dataclasses.asdict(record)


_MEGABYTE = 1024**2
_STORE_MARGIN = 1.25
_QUIET_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}


@contextmanager
def connect_ray(search: SearchParams, data_bytes: int) -> Iterator[dict[str, float]]:
    """Connect to Ray; a local one is started and stopped again.

    Parameters
    ----------
    search
        Address and resources.
    data_bytes
        Size of the data that all trials share; a local object store is made to hold it.

    Yields
    ------
    dict
        `cpu` and `gpu` of a trial, cut to what there is, so that no trial waits for ever.

    Raises
    ------
    SettingsError
        The cluster does not answer.
    """
    for name, value in _QUIET_RAY.items():
        os.environ.setdefault(name, value)
    import ray  # noqa: PLC0415  Ray is needed by a search alone

    starts = not ray.is_initialized()
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False}
    if search.ray_address is None:
        needed = data_bytes * _STORE_MARGIN
        store = int(max(search.object_store_mb * _MEGABYTE, needed + 64 * _MEGABYTE))
        options |= {"num_cpus": os.cpu_count(), "object_store_memory": store}
    else:
        options = {"address": search.ray_address, "log_to_driver": False}
    if starts:
        try:
            ray.init(logging_level=logging.WARNING, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise SettingsError(
                "search.ray_address",
                found=f"{search.ray_address}, which does not answer ({error})",
                expected="the address of a running Ray cluster, or none for a local one",
                action="start the cluster (`ray start --head`) or leave the address out",
            ) from error
    try:
        available = ray.cluster_resources()
        yield {
            "cpu": min(search.cpus_per_trial, available.get("CPU", 1.0)),
            "gpu": min(search.gpus_per_trial, available.get("GPU", 0.0)),
        }
    finally:
        if starts:
            ray.shutdown()


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _TrialNumber:
    """Stands in for a trial whose id changes with each start of Ray."""

    trial_id: str


def _number(trial: Any) -> _TrialNumber:
    return _TrialNumber(str(trial.config["trial"]))


class PersistentASHA(AsyncHyperBandScheduler):
    """Asynchronous successive halving whose rungs are kept in a file.

    Ray forgets the rungs when a search is taken up again, which would let a poor trial pass that
    the unbroken search had stopped. Here every decision is written to `state_path` at once, by
    the number of the trial, and read back before the first trial is added.

    Parameters
    ----------
    state_path
        JSON file of rungs and stopped trials.
    settings
        Arguments of `ASHAScheduler`.

    References
    ----------
    Li et al. (2020), A system for massively parallel hyperparameter tuning, arXiv:1810.05934.
    """

    def __init__(self, state_path: Path, **settings: Any) -> None:
        super().__init__(**settings)
        self.state_path = state_path
        self._stopped_at: dict[str, float] = {}
        self._is_recalled = False

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Recall earlier rungs before the first trial."""
        if not self._is_recalled:
            self._recall()
        super().on_trial_add(tune_controller, _number(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide, and remember; a trial stopped before the kill is stopped at the same epoch."""
        number, epoch = _number(trial), float(result[self._time_attr])
        if epoch >= self._stopped_at.get(number.trial_id, float("inf")):
            return str(TrialScheduler.STOP)
        action = str(super().on_trial_result(tune_controller, number, result))
        if action == TrialScheduler.STOP:
            self._stopped_at[number.trial_id] = epoch
        self._remember()
        return action

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Take in the last result of a trial that ended by itself."""
        super().on_trial_complete(tune_controller, _number(trial), result)
        self._remember()

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial that did not end by itself; its rungs stay."""
        super().on_trial_remove(tune_controller, _number(trial))

    def _remember(self) -> None:
        rungs = [bracket._rungs for bracket in self._brackets]
        memory = {"rungs": rungs, "stopped_at": self._stopped_at}
        write_atomic(self.state_path, json.dumps(memory).encode())

    def _recall(self) -> None:
        self._is_recalled = True
        if not self.state_path.exists():
            return
        memory = json.loads(self.state_path.read_text(encoding="utf-8"))
        self._stopped_at = memory["stopped_at"]
        for bracket, rungs in zip(self._brackets, memory["rungs"], strict=True):
            bracket._rungs = [(milestone, recorded) for milestone, recorded in rungs]


class TrialCleanup(Callback):
    """Log how trials end, and drop the checkpoints of those that are over.

    Parameters
    ----------
    search_dir
        Folder of the search.
    """

    def __init__(self, search_dir: Path) -> None:
        self._search_dir = search_dir

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Keep the curve of a finished or stopped trial, drop its weights."""
        result = trial.last_result or {}
        logger.info(
            "trial %d of %d ended after epoch %s: score %s",
            trial.config["trial"],
            len(trials),
            result.get("epoch"),
            result.get("best_score"),
        )
        retire_trial(self._search_dir, int(trial.config["trial"]))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say which trial failed; the others go on."""
        logger.warning(
            "trial %d failed and is left out, the others go on: %s",
            trial.config["trial"],
            trial.error_file,
        )
