"""What surrounds every run: tracking of parameters, lineage of code and data."""

from __future__ import annotations

import hashlib
import logging
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import mlflow
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import AbstractDataset, DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro_datasets.partitions import PartitionedDataset
from kedro_mlflow.framework.hooks.mlflow_hook import MlflowHook
from kedro_mlflow.io.metrics import MlflowMetricsHistoryDataset
from pydantic import BaseModel

from ncm_kedro.datasets.wrappers import OptionalDataset
from ncm_kedro.errors import NcmError
from ncm_kedro.prerequisites import list_dataset_pipelines
from ncm_kedro.provenance import RunRecord

logger = logging.getLogger(__name__)

# kedro-mlflow raises its own level when it is imported, and repeats itself for every node.
logging.getLogger("kedro_mlflow").setLevel(logging.WARNING)

LINEAGE = "lineage"
"""Data set that keeps which run made each of the others."""


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
        """Create the folder of a SQLite tracking store before MLflow opens it."""
        uri = context.config_loader["mlflow"]["server"]["mlflow_tracking_uri"]
        if uri.startswith("sqlite:///"):
            database = Path(context.project_path) / uri.removeprefix("sqlite:///")
            database.parent.mkdir(parents=True, exist_ok=True)
        super().after_context_created(context)

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
        """Keep which run made the data set, and name a page in the run that made it."""
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

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Say what is wrong in one line, before Kedro's own traceback."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, NcmError):
                logger.error("%s", cause)
                return
            cause = cause.__cause__


def describe_commit(project_path: Path) -> dict[str, str]:
    """Return the git commit of the project and whether the working tree differs from it.

    Parameters
    ----------
    project_path
        Root of the project.
    """
    commit = _run_git(project_path, "rev-parse", "HEAD")
    if commit is None:
        return {"git_commit": "not a git checkout"}
    changed = _run_git(project_path, "status", "--porcelain", "--untracked-files=no")
    return {"git_commit": commit, "git_changed": "yes" if changed else "no"}


def hash_path(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files below a folder with their relative names.

    Parameters
    ----------
    path
        File or folder.

    Returns
    -------
    str
        Hexadecimal digest; the order in which the files are found does not matter.
    """
    digest = hashlib.sha256()
    for file in _files_below(path):
        digest.update(str(file.relative_to(path)).encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


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


def _files_below(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    yield from sorted(item for item in path.rglob("*") if item.is_file())


def _hash_input(catalog: DataCatalog, name: str) -> str | None:
    """Hash what lies on disk; volumes are too large to be read for it and answer themselves."""
    if name.startswith("params:") or name == "parameters" or name not in catalog:
        return None
    dataset = _unwrap(catalog.get(name))
    if isinstance(dataset, ContentHashed):
        return dataset.content_hash()
    filepath = getattr(dataset, "_filepath", None)
    path = None if filepath is None else Path(str(filepath))
    return hash_path(path) if path is not None and path.exists() else None


def _run_git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(  # noqa: S603  (fixed command, no shell)
            ["git", *arguments],  # noqa: S607  (git is found on PATH by design)
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
