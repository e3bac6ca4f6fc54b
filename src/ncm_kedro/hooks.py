"""What accompanies every run: tracking, lineage, and errors in one line."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import mlflow
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import AbstractDataset, DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro_datasets.partitions import PartitionedDataset
from kedro_mlflow.framework.hooks.mlflow_hook import MlflowHook
from kedro_mlflow.io.metrics import MlflowMetricsHistoryDataset
from pydantic import BaseModel

from ncm_kedro.datasets.models.relocation import relocate_artifacts
from ncm_kedro.datasets.wrappers import OptionalDataset
from ncm_kedro.errors import NcmError
from ncm_kedro.provenance import RunRecord, describe_commit, hash_path

logger = logging.getLogger(__name__)

# kedro-mlflow raises its own level when it is imported, and repeats itself for every node.
logging.getLogger("kedro_mlflow").setLevel(logging.WARNING)

LINEAGE = "lineage"
"""Data set that records which run made each of the others."""
RAW_DATA_PRODUCER = "synthesise"
"""Raw data is the user's; data sets of that kind report themselves what is missing."""


@runtime_checkable
class ContentHashed(Protocol):
    """A data set that knows a hash of its content without reading all of it."""

    def content_hash(self) -> str | None:
        """Return the hash, None where there is nothing."""
        ...


class TrackingHook(MlflowHook):
    """kedro-mlflow's hook, with typed parameters logged field by field."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Prepare a SQLite tracking store before MLflow opens it: its folder, a moved project."""
        uri = context.config_loader["mlflow"]["server"]["mlflow_tracking_uri"]
        if uri.startswith("sqlite:///"):
            database = Path(context.project_path) / uri.removeprefix("sqlite:///")
            database.parent.mkdir(parents=True, exist_ok=True)
            relocate_artifacts(f"sqlite:///{database}")
        super().after_context_created(context)

    @hook_impl
    def after_catalog_created(self) -> None:
        """Make no data set before it is used: metrics name their prefix in the catalog."""

    @hook_impl
    def before_node_run(
        self, node: Node, catalog: DataCatalog, inputs: dict[str, Any], is_async: bool
    ) -> None:
        """Log every parameter of the node under its own name."""
        plain = {
            name: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
            for name, value in inputs.items()
        }
        super().before_node_run(node, catalog, plain, is_async)


class LineageHook:
    """Ties a run to the code and the data that it was made from, and results to their run."""

    def __init__(self) -> None:
        self._project_path = Path.cwd()
        self._catalog = DataCatalog()
        self._made_by: dict[str, Any] = {}
        self._pipeline_of: dict[str, str] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember where the project lies."""
        self._project_path = Path(context.project_path)

    @hook_impl(trylast=True)
    def before_pipeline_run(
        self,
        run_params: dict[str, Any],
        pipeline: Pipeline,
        catalog: DataCatalog,
    ) -> None:
        """Tag the run with the commit and log a hash of each input that lies on disk."""
        commit = describe_commit(self._project_path)
        self._catalog = catalog
        self._pipeline_of = list_dataset_pipelines()
        self._made_by = {
            "git_commit": commit["git_commit"],
            "git_changed": commit.get("git_changed") == "yes",
            **_describe_run(),
        }
        if mlflow.active_run() is None:
            return
        mlflow.set_tags(commit)
        for name in sorted(pipeline.inputs()):
            digest = _hash_input(catalog, name)
            if digest is not None:
                mlflow.log_param(f"data_hash.{name}", digest)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Record which run made the data set, and name a page in the run that made it."""
        if LINEAGE not in self._catalog or dataset_name not in self._catalog:
            return
        dataset = _unwrap(self._catalog.get(dataset_name))
        if isinstance(dataset, MemoryDataset | MlflowMetricsHistoryDataset):
            return
        names = [dataset_name]
        if isinstance(dataset, PartitionedDataset):
            names = [f"{dataset_name}/{partition}" for partition in data]
        made_by = {
            **self._made_by,
            "node": node.name,
            "pipeline": self._pipeline_of.get(node.name, "not registered"),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._catalog.get(LINEAGE).save(
            {name: RunRecord(dataset=name, **made_by) for name in names}
        )
        _link_page(dataset_name, dataset)


def report_error(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Write an error that a user can act on as its message alone; others with the traceback.

    Parameters
    ----------
    kind, error, traceback
        As Python gives them to ``sys.excepthook``.
    """
    cause = _find_error(error)
    if cause is None:
        sys.__excepthook__(kind, error, traceback)
    else:
        sys.stderr.write(f"{cause}\n")


def is_new_to_log(record: logging.LogRecord) -> bool:
    """Tell whether Kedro logs anything but an error that `report_error` is about to write.

    Parameters
    ----------
    record
        Of ``kedro.pipeline.node``, which logs the message of a node's exception.
    """
    return record.levelno < logging.ERROR or _find_error(sys.exception()) is None


def _find_error(error: BaseException | None) -> NcmError | None:
    """Return the error that a user can act on, also where another was raised from it."""
    while error is not None and not isinstance(error, NcmError):
        error = error.__cause__
    return error


def list_producers() -> dict[str, str]:
    """Return the pipeline that makes each data set, without the user's raw data."""
    owners = list_dataset_pipelines()
    return {
        output: owners[node.name]
        for registered in pipelines.values()
        for node in registered.nodes
        for output in node.outputs
        if owners[node.name] != RAW_DATA_PRODUCER
    }


def list_dataset_pipelines() -> dict[str, str]:
    """Return the pipeline that each node belongs to: the smallest, as groups hold it too."""
    by_size = sorted(pipelines.items(), key=lambda item: -len(item[1].nodes))
    return {node.name: name for name, registered in by_size for node in registered.nodes}


def _describe_run() -> dict[str, str | None]:
    run = mlflow.active_run()
    if run is None:
        return {"run_id": None, "run_name": None, "experiment": None}
    return {
        "run_id": run.info.run_id,
        "run_name": run.info.run_name,
        "experiment": mlflow.get_experiment(run.info.experiment_id).name,
    }


def _unwrap(dataset: AbstractDataset[Any, Any]) -> AbstractDataset[Any, Any]:
    return dataset.dataset if isinstance(dataset, OptionalDataset) else dataset


def _link_page(name: str, dataset: AbstractDataset[Any, Any]) -> None:
    """Tag the active run with the artifact that an HTML page is, and note it in words."""
    run, folder = mlflow.active_run(), getattr(dataset, "artifact_path", None)
    file = Path(str(getattr(dataset, "_filepath", "")))
    if run is None or folder is None or file.suffix != ".html":
        return
    mlflow.set_tag(f"page.{name}", f"{folder}/{file.name}")
    tags = mlflow.get_run(run.info.run_id).data.tags
    pages = sorted(value for key, value in tags.items() if key.startswith("page."))
    listed = "\n".join(f"- artifact `{page}`" for page in pages)
    mlflow.set_tag("mlflow.note.content", f"Pages to open:\n\n{listed}")


def _hash_input(catalog: DataCatalog, name: str) -> str | None:
    """Hash what lies on disk; volumes are too large to be read for it and return their own hash."""
    if name.startswith("params:") or name == "parameters" or name not in catalog:
        return None
    dataset = _unwrap(catalog.get(name))
    if isinstance(dataset, ContentHashed):
        return dataset.content_hash()
    filepath = getattr(dataset, "_filepath", None)
    path = None if filepath is None else Path(str(filepath))
    return hash_path(path) if path is not None and path.exists() else None
