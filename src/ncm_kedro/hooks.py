"""What surrounds every run: what it needs before it starts, tracking, lineage."""

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
from kedro.framework.session import KedroSession
from kedro.io import AbstractDataset, DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro_datasets.partitions import PartitionedDataset
from kedro_mlflow.framework.hooks.mlflow_hook import MlflowHook
from kedro_mlflow.io.metrics import MlflowMetricsHistoryDataset
from pydantic import BaseModel

from ncm_kedro.datasets.frames.raw import holds_frames
from ncm_kedro.datasets.models.relocation import relocate_artifacts
from ncm_kedro.datasets.wrappers import OptionalDataset
from ncm_kedro.errors import NcmError, SettingsError, StoreError
from ncm_kedro.provenance import RunRecord, describe_commit, hash_path

logger = logging.getLogger(__name__)

# kedro-mlflow raises its own level when it is imported, and repeats itself for every node.
logging.getLogger("kedro_mlflow").setLevel(logging.WARNING)

LINEAGE = "lineage"
"""Data set that records which run made each of the others."""
RAW_DATA_PRODUCER = "synthesise"
"""Raw data is the user's; data sets of that kind report themselves what is missing."""
RAW_DATA = {
    "raw_sem_frames": "SEM frames (<composition>_<state>/*.jpg, .png or .tif)",
    "raw_tomograms": "tomograms (<sample>.tif, .h5, .zarr or a folder of sections)",
}
"""What a user lays down, and in which form."""
RECONSTRUCTED = {"raw_tomograms": "holo_tomograms"}
"""What stands in for raw data where another pipeline has made it."""
REFUSED_RUNNERS = ("ParallelRunner", "ThreadRunner")
DEFAULT = "__default__"
SEM, TOMO = ("sem_ingest", "crop_augment", "tune_train", "sem_report"), ("tomo",)
WITHOUT_NEW_ELECTRODES = {"sem": SEM, DEFAULT: SEM + TOMO}
NO_NEW_ELECTRODES = (
    "No new electrodes in %s: evaluate_additives is skipped. To test the classifier on unseen "
    "electrodes, put frames into %s/<composition>_<state>__<additive>/ and run again"
)
_SHOWN = 5


@runtime_checkable
class ContentHashed(Protocol):
    """A data set that knows a hash of its content without reading all of it."""

    def content_hash(self) -> str | None:
        """Return the hash, None where there is nothing."""
        ...


class NcmSession(KedroSession):
    """A session in which electrodes that training never saw are tested where there are any."""

    def run(
        self,
        pipeline_name: str | None = None,
        pipeline_names: list[str] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Run pipelines; without new electrodes the groups do without ``evaluate_additives``.

        Parameters
        ----------
        pipeline_name, pipeline_names, options
            As for ``KedroSession.run``.
        """
        names = [pipeline_name] if pipeline_name else list(pipeline_names or [DEFAULT])
        folder = str(self._get_config_loader()["globals"]["sem_additive_root"])
        if not holds_frames(self._project_path / folder):
            found = [part for name in names for part in WITHOUT_NEW_ELECTRODES.get(name, (name,))]
            if found != names:
                logger.warning(NO_NEW_ELECTRODES, folder, folder)
            names = found
        return super().run(pipeline_names=names, **options)  # type: ignore[no-any-return]


class PrerequisiteHook:
    """Rejects a run that cannot succeed, before anything is tracked."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Name another runner; name inputs that are missing and the pipelines that make them.

        Raises
        ------
        SettingsError
            The run has a runner that works in several processes or threads.
        StoreError
            An input of the run is made by another pipeline and is not there, or a run without a
            name finds one kind of data alone.
        """
        error = (
            _find_other_runner(run_params)
            or _find_missing_raw_data(pipeline, catalog)
            or _find_missing_inputs(run_params, pipeline, catalog)
        )
        if error is not None:
            raise error


def _is_missing(dataset: AbstractDataset[Any, Any]) -> bool:
    return not getattr(dataset, "may_be_missing", False) and not dataset.exists()


def _find_other_runner(run_params: dict[str, Any]) -> NcmError | None:
    """Reject runners in several processes or threads, which lose tracking and lineage."""
    runner = str(run_params.get("runner"))
    if not any(name in runner for name in REFUSED_RUNNERS):
        return None
    return SettingsError(
        "--runner",
        found=runner,
        expected="SequentialRunner: nodes use all `workers` themselves, MLflow tracks one thread",
        action="leave --runner out; set `workers` (or `dask_address`) in conf/local/globals.yml",
    )


def _find_missing_raw_data(pipeline: Pipeline, catalog: DataCatalog) -> NcmError | None:
    """Explain the start to one who runs both kinds of data and has one, or none yet."""
    if not set(RAW_DATA) <= pipeline.inputs():
        return None
    missing = [
        f"{form} into {_find_folder(catalog, name)}"
        for name, form in RAW_DATA.items()
        if not any(map(_holds_files, _list_folders(catalog, name)))
    ]
    if not missing:
        return None
    return StoreError(
        "raw data",
        found="one kind alone" if len(missing) < len(RAW_DATA) else "none yet",
        expected="SEM frames and tomograms, as a run without a name is for both",
        action=f"put {', '.join(missing)}; or run one kind alone, `kedro run --pipelines sem` or "
        "`--pipelines tomo`; or try synthetic data, `kedro run --env demo --pipelines demo`",
    )


def _list_folders(catalog: DataCatalog, name: str) -> list[Path]:
    names = [name, RECONSTRUCTED.get(name, name)]
    return [_find_folder(catalog, each) for each in names if each in catalog]


def _find_folder(catalog: DataCatalog, name: str) -> Path:
    return Path(str(getattr(catalog.get(name), "_filepath", name)))


def _holds_files(folder: Path) -> bool:
    return folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())


def _find_missing_inputs(
    run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
) -> NcmError | None:
    names = run_params.get("pipeline_names") or [DEFAULT]
    producers = list_producers()
    missing, starts = _trace_missing(names, pipeline, catalog, set(producers))
    if missing:
        needed = {producers[name] for name in missing}
        first = ",".join(name for name in pipelines if name in needed)
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        return StoreError(
            ", ".join(names),
            found=f"nothing yet of {', '.join(missing[:_SHOWN])}{more}",
            expected="results of earlier pipelines",
            action=f"run `kedro run --pipelines {first}` first (in the same --env)",
        )
    if starts:
        return StoreError(
            ", ".join(names),
            found=f"a start behind {', '.join(starts)}, whose results are not on disk",
            expected="a start that makes what later nodes need",
            action=f"set `--from-nodes {','.join(starts)}`",
        )
    return None


def _trace_missing(
    names: list[str], pipeline: Pipeline, catalog: DataCatalog, made: set[str]
) -> tuple[list[str], list[str]]:
    """Trace inputs that are not there to other pipelines, and to nodes of the named ones."""
    makers = {
        output: node for name in names for node in pipelines[name].nodes for output in node.outputs
    }
    missing: set[str] = set()
    starts: set[str] = set()
    wanted = set(pipeline.inputs())
    while wanted:
        name = wanted.pop()
        if name not in made or name not in catalog or not _is_missing(catalog.get(name)):
            continue
        if name in makers:
            starts.add(makers[name].name)
            wanted |= set(makers[name].inputs)
        else:
            missing.add(name)
    return sorted(missing), sorted(starts)


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
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, NcmError):
        cause = cause.__cause__
    if cause is None:
        sys.__excepthook__(kind, error, traceback)
    else:
        sys.stderr.write(f"{cause}\n")


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
