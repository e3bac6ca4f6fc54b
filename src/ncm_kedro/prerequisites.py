"""What a run needs before it starts, and what it does without."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.io import AbstractDataset, DataCatalog
from kedro.pipeline import Pipeline

from ncm_kedro.datasets.frames.raw import holds_frames
from ncm_kedro.errors import NcmError, SettingsError, StoreError
from ncm_kedro.hooks import list_producers

logger = logging.getLogger(__name__)

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
