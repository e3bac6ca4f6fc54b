"""What the search hooks into Ray Tune (imported only where a search runs: Ray stays optional)."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from ncm_kedro.learning.trial_files import retire_trial

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _TrialNumber:
    """Stands in for a trial whose id changes with each start of Ray."""

    trial_id: str


def _number(trial: Any) -> _TrialNumber:
    return _TrialNumber(str(trial.config["trial"]))


class RememberingASHA(AsyncHyperBandScheduler):
    """Asynchronous successive halving whose rungs are kept in a file.

    Ray forgets the rungs when a search is taken up again, which would let a poor trial pass that
    the unbroken search had stopped. Here every decision is written to `memory_path` at once, by
    the number of the trial, and read back before the first trial is added.

    Parameters
    ----------
    memory_path
        JSON file of rungs and stopped trials.
    settings
        Arguments of `ASHAScheduler`.

    References
    ----------
    Li et al. (2020), A system for massively parallel hyperparameter tuning, arXiv:1810.05934.
    """

    def __init__(self, memory_path: Path, **settings: Any) -> None:
        super().__init__(**settings)
        self.memory_path = memory_path
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
        partial = self.memory_path.with_suffix(".partial")
        partial.write_text(json.dumps(memory), encoding="utf-8")
        partial.replace(self.memory_path)

    def _recall(self) -> None:
        self._is_recalled = True
        if not self.memory_path.exists():
            return
        memory = json.loads(self.memory_path.read_text(encoding="utf-8"))
        self._stopped_at = memory["stopped_at"]
        for bracket, rungs in zip(self._brackets, memory["rungs"], strict=True):
            bracket._rungs = [(milestone, recorded) for milestone, recorded in rungs]


class TrialKeeper(Callback):
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
