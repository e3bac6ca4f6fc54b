"""Ray Tune for a search: the connection, the tuner, and what makes ASHA resumable.

Imported only where a search runs.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.logger import JsonLoggerCallback
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.errors import SettingsError
from ncm_kedro.learning.training.search import retire_trial
from ncm_kedro.params.tune_train import SearchParams

logger = logging.getLogger(__name__)

_MEGABYTE = 1024**2
_STORE_MARGIN = 1.25
_QUIET_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C would end the search as if all trials had run
}


@contextmanager
def connect_ray(search: SearchParams, data_bytes: int) -> Iterator[dict[str, float]]:
    """Connect to Ray; a local one is started and stopped again.

    Parameters
    ----------
    search
        Address and resources.
    data_bytes
        Size of the data that all trials share; sets the size of a local object store.

    Yields
    ------
    dict
        `cpu` and `gpu` of a trial, at most what there is, so that no trial waits for ever.

    Raises
    ------
    SettingsError
        The cluster does not answer.
    """
    for name, value in _QUIET_RAY.items():
        os.environ.setdefault(name, value)
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
                action="start the cluster (`ray start --head`) or omit the address",
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


def build_tuner(
    trainable: Callable[..., None],
    fixed: dict[str, Any],
    trials: list[dict[str, Any]],
    search: SearchParams,
    *,
    search_dir: Path,
    resources: dict[str, float],
    callbacks: Sequence[Any],
) -> tune.Tuner:
    """Set up the trials; `fixed` are the arguments that all of them share."""
    asha = PersistentASHA(
        search_dir / "asha.json",
        time_attr="epoch",
        max_t=search.max_epochs,
        grace_period=search.grace_period,
        reduction_factor=search.reduction_factor,
    )
    return tune.Tuner(
        tune.with_resources(tune.with_parameters(trainable, **fixed), resources),
        param_space={key: tune.choice([row[key] for row in trials]) for key in trials[0]},
        tune_config=tune.TuneConfig(
            metric="best_score",
            mode="max",
            num_samples=len(trials),
            reuse_actors=True,
            max_concurrent_trials=search.max_concurrent or None,
            search_alg=BasicVariantGenerator(points_to_evaluate=trials, random_state=0),
            scheduler=asha,
            trial_name_creator=name_trial,
            trial_dirname_creator=_name_folder,
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(search_dir),
            verbose=0,
            callbacks=[JsonLoggerCallback(), TrialCleanup(search_dir), *callbacks],
        ),
    )


def name_trial(trial: Any) -> str:
    """Name a trial for people, by what varies most: ``trial 3: lr 2.1e-4, batch 10``.

    Parameters
    ----------
    trial
        Ray Tune's, with a ``config`` of `ncm_kedro.learning.training.search.draw_trials`.
    """
    digits, power = f"{trial.config['learning_rate']:.1e}".split("e")
    batch = trial.config["batch_size"]
    return f"trial {trial.config['trial']}: lr {digits}e{int(power)}, batch {batch}"


def _name_folder(trial: Any) -> str:
    """Name a folder that a repeated search does not share: Ray reads old errors from it."""
    return f"trial_{trial.config['trial']:04d}_{trial.trial_id}"


@dataclass(frozen=True)
class _TrialNumber:
    """Stands in for a trial whose id changes with each start of Ray."""

    trial_id: str


def _number(trial: Any) -> _TrialNumber:
    return _TrialNumber(str(trial.config["trial"]))


class PersistentASHA(AsyncHyperBandScheduler):
    """Asynchronous successive halving with its rungs in a file.

    Ray loses the rungs when a search is resumed, so that a poor trial could pass that the
    uninterrupted search had stopped. Here every decision is written to `state_path` at once, by
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
        self._is_loaded = False

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Read earlier rungs before the first trial."""
        if not self._is_loaded:
            self._load()
        super().on_trial_add(tune_controller, _number(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide, and save; a trial stopped before an interruption stops at the same epoch."""
        number, epoch = _number(trial), float(result[self._time_attr])
        if epoch >= self._stopped_at.get(number.trial_id, float("inf")):
            return str(TrialScheduler.STOP)
        action = str(super().on_trial_result(tune_controller, number, result))
        if action == TrialScheduler.STOP:
            self._stopped_at[number.trial_id] = epoch
        self._save()
        return action

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Record the last result of a trial that ended by itself."""
        super().on_trial_complete(tune_controller, _number(trial), result)
        self._save()

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Drop a trial that did not end by itself; its rungs stay."""
        super().on_trial_remove(tune_controller, _number(trial))

    def _save(self) -> None:
        rungs = [bracket._rungs for bracket in self._brackets]
        state = {"rungs": rungs, "stopped_at": self._stopped_at}
        write_atomic(self.state_path, json.dumps(state).encode())

    def _load(self) -> None:
        self._is_loaded = True
        if not self.state_path.exists():
            return
        state = json.loads(self.state_path.read_text(encoding="utf-8"))
        self._stopped_at = state["stopped_at"]
        for bracket, rungs in zip(self._brackets, state["rungs"], strict=True):
            bracket._rungs = [(milestone, recorded) for milestone, recorded in rungs]


class TrialCleanup(tune.Callback):
    """Log how trials end, and delete the checkpoints of those that have ended.

    Parameters
    ----------
    search_dir
        Folder of the search.
    """

    def __init__(self, search_dir: Path) -> None:
        self._search_dir = search_dir

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Retain the curve of a finished or stopped trial, delete its weights."""
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
        """Report which trial failed; the others continue."""
        logger.warning(
            "trial %d failed and is excluded, the others continue: %s",
            trial.config["trial"],
            trial.error_file,
        )
