"""What surrounds every run: tracking of parameters, lineage of code and data, the demo."""

from __future__ import annotations

import hashlib
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import mlflow
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline, pipeline
from kedro.pipeline.node import Node
from kedro_mlflow.framework.hooks.mlflow_hook import MlflowHook
from pydantic import BaseModel

from ncm_kedro.errors import NcmError

logger = logging.getLogger(__name__)

# kedro-mlflow raises its own level when it is imported, and repeats itself for every node.
logging.getLogger("kedro_mlflow").setLevel(logging.WARNING)

SELF_CONTAINED_ENVIRONMENTS = frozenset({"demo", "test"})
KNOWN = {
    "known_sem_frames": "sem_frames",
    "known_sem_crops": "sem_crops",
    "known_sem_predictions": "sem_test_predictions",
}
"""What new electrodes are set beside in the self-contained environments."""


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
    """Ties a run to the code and the data that it was made from."""

    def __init__(self) -> None:
        self._project_path = Path.cwd()

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
        if mlflow.active_run() is None:
            return
        mlflow.set_tags(describe_commit(self._project_path))
        for name in sorted(pipeline.inputs()):
            digest = _hash_input(catalog, name)
            if digest is not None:
                mlflow.log_param(f"data_hash.{name}", digest)

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Say what is wrong in one line, before Kedro's own traceback."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, NcmError):
                logger.error("%s", cause)
                return
            cause = cause.__cause__


class DemoHook:
    """In the self-contained environments the default run first makes its own data."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Put ``synthesise`` in front of the default pipeline, what needs its results behind.

        That is applying and explaining the model that the run has just made, testing it on new
        electrodes and on what is left out, drawing a quiz for experts, and setting cells beside
        frames.
        """
        if context.env in SELF_CONTAINED_ENVIRONMENTS:
            fresh = {"sem_classifier_to_apply": "sem_classifier"}
            classify = pipeline(pipelines["sem_classify"], inputs=fresh)
            additives = pipeline(
                pipelines["evaluate_additives"],
                inputs={**fresh, **KNOWN},
            )
            survey = pipeline(
                pipelines["expert_survey"], inputs={"survey_classifier": "sem_classifier"}
            )
            pipelines["__default__"] = (
                pipelines["synthesise"]
                + pipelines["__default__"]
                + classify
                + pipelines["sem_explain"]
                + pipelines["sem_transfer"]
                + additives
                + survey
                + pipelines["cycling"]
                + pipelines["cycling_join"]
            )


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


def _files_below(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    yield from sorted(item for item in path.rglob("*") if item.is_file())


def _hash_input(catalog: DataCatalog, name: str) -> str | None:
    """Hash what lies on disk; volumes are too large to be read for it and answer themselves."""
    if name.startswith("params:") or name == "parameters" or name not in catalog:
        return None
    dataset = catalog.get(name)
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
