"""Settings of the trials of a search, drawn before the first one starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

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
