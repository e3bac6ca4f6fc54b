"""What MLflow is given: runs of the search below that of the pipeline, scores and curves."""

from __future__ import annotations

from typing import Any

import mlflow
import pandas as pd


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


def list_scores(scores: dict[str, Any]) -> dict[str, Any]:
    """Scores of each model and role, with their intervals where there are any."""
    metrics = {}
    for who, result in scores.items():
        for role in ("class", "composition", "state"):
            for score in ("accuracy", "balanced_accuracy", "macro_f1"):
                for part in result[role][score]:
                    if result[role][score][part] is None:
                        continue
                    suffix = "" if part == "value" else f".{part}"
                    key = f"{who.replace(' ', '_')}.{role}.{score}{suffix}"
                    metrics[key] = {"value": result[role][score][part], "step": 0}
    return metrics


def list_uncertainty(report: dict[str, Any], calibration_error: float) -> dict[str, Any]:
    """Headline numbers of sets and flag; what could not be measured is omitted."""
    named = {f"sets.{key}": report["sets"][key] for key in ("coverage", "mean_size", "singletons")}
    named["flag.false_alarms"] = report["flag"]["false_alarms"]
    for measure, value in (report["flag"]["auroc"] or {}).items():
        named[f"flag.auroc.{measure}"] = value
    return {"calibration.expected_error": {"value": calibration_error, "step": 0}} | {
        key if part == "value" else f"{key}.{part}": {"value": value[part], "step": 0}
        for key, value in named.items()
        for part in ("value", "low", "high")
        if value[part] is not None
    }


def list_history(curves: pd.DataFrame) -> dict[str, Any]:
    """Every column of the learning curves by epoch."""
    return {
        str(name): [
            {"value": float(value), "step": int(epoch)}
            for epoch, value in zip(curves["epoch"], curves[name], strict=True)
        ]
        for name in curves.columns
        if name != "epoch"
    }
