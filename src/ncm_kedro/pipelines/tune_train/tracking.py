"""MLflow runs of the search, nested below the run of the pipeline."""

from __future__ import annotations

from typing import Any

import mlflow


def nest_trials() -> list[Any]:
    """Return Ray Tune callbacks that log every trial as a child of the active run.

    Without an active run trials are not logged.
    """
    run = mlflow.active_run()
    if run is None:
        return []
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    experiment = mlflow.get_experiment(run.info.experiment_id)
    return [
        MLflowLoggerCallback(
            tracking_uri=mlflow.get_tracking_uri(),
            experiment_name=experiment.name,
            tags={"mlflow.parentRunId": run.info.run_id, "purpose": "search trial"},
        )
    ]
