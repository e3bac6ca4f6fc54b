"""What must have been made before a pipeline can run."""

from __future__ import annotations

import logging
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import AbstractDataset, DataCatalog
from kedro.pipeline import Pipeline

from ncm_kedro.errors import StoreError

logger = logging.getLogger(__name__)

RAW_DATA_PRODUCER = "synthesise"
"""Raw data is the user's; data sets of that kind say themselves what they miss."""
_SHOWN = 5


class PrerequisiteHook:
    """Refuses a run whose inputs no pipeline has made yet, before anything is tracked."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Name what is missing and the pipelines that make it.

        Raises
        ------
        StoreError
            An input of the run is made by another pipeline and is not there.
        """
        producers = list_producers()
        missing = [
            name
            for name in sorted(pipeline.inputs())
            if name in producers and name in catalog and _is_missing(catalog.get(name))
        ]
        if not missing:
            return
        needed = {producers[name] for name in missing}
        first = ",".join(name for name in pipelines if name in needed)
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        error = StoreError(
            ", ".join(run_params.get("pipeline_names") or ["__default__"]),
            found=f"nothing yet of {', '.join(missing[:_SHOWN])}{more}",
            expected="results of earlier pipelines",
            action=f"run `kedro run --pipelines {first}` first (in the same --env)",
        )
        logger.error("%s", error)
        raise error


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


def _is_missing(dataset: AbstractDataset[Any, Any]) -> bool:
    return not getattr(dataset, "may_be_missing", False) and not dataset.exists()
