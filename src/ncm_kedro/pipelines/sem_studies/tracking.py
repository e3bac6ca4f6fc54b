"""MLflow runs of the studies: one each, and one below it for every point."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from matplotlib.figure import Figure
from mlflow.entities import Metric

from ncm_kedro.sem.experiments.study_scores import list_study_metrics

_SETTINGS = ("model", "epochs", "batch_size", "input_px", "learning_rate", "seed")
_ABOUT = ("study", "point", "value", "model", "skipped")


def log_study(report: Mapping[str, Any], table: pd.DataFrame, figure: Figure) -> None:
    """Log a study and its points as runs nested below the active one.

    Without an active run nothing is logged.

    Parameters
    ----------
    report, table
        Result of `run_study`.
    figure
        Its figure.
    """
    if mlflow.active_run() is None:
        return
    name = report["study"]
    with mlflow.start_run(run_name=name, nested=True, tags={"study": name, "purpose": "study"}):
        mlflow.set_tag("mlflow.note.content", f"{report['question']} {report['answer']}")
        train, crops = report["settings"]["train"], report["settings"]["crops"]
        mlflow.log_params({f"train.{key}": train[key] for key in _SETTINGS})
        mlflow.log_params({f"crops.{key}": crops[key] for key in ("size_px", "seed")})
        mlflow.log_metrics(list_study_metrics(report))
        mlflow.log_dict(dict(report), f"{name}.json")
        mlflow.log_figure(figure, f"{name}.png")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.csv"
            table.to_csv(path, index=False)
            mlflow.log_artifact(str(path))
        epochs = {entry["point"]: entry["epochs"] for entry in report["history"]}
        for row in report["rows"]:
            if "model" in row:
                _log_point(row, report["varied"], epochs.get(row["point"], []))


def _log_point(row: Mapping[str, Any], varied: str, epochs: list[Mapping[str, float]]) -> None:
    model = row["model"] or "not run"
    tags = {"study": row["study"], "purpose": "study point", "point": row["point"], "model": model}
    if row["skipped"] is not None:
        tags["skipped"] = row["skipped"]
    with mlflow.start_run(run_name=f"{row['point']}, {model}", nested=True, tags=tags) as run:
        mlflow.log_params({"varied": varied, "point": row["point"], "model": model})
        if row["value"] is not None:
            mlflow.log_param("value", row["value"])
        mlflow.log_metrics(
            {
                key: float(value)
                for key, value in row.items()
                if key not in _ABOUT and value is not None
            }
        )
        if model == "network":
            _log_epochs(run.info.run_id, epochs)


def _log_epochs(run_id: str, epochs: list[Mapping[str, float]]) -> None:
    metrics = [
        Metric(f"epoch.{name}", value, 0, int(epoch["epoch"]))
        for epoch in epochs
        for name, value in epoch.items()
        if name != "epoch"
    ]
    if metrics:
        mlflow.MlflowClient().log_batch(run_id, metrics=metrics)
