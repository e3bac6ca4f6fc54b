"""What `kedro run` without a name holds, beside what is registered."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.pipeline import Pipeline, pipeline

from ncm_kedro.datasets.frames.raw import FRAME_TABLE, IMAGE_SUFFIXES

logger = logging.getLogger(__name__)

SELF_CONTAINED_ENVIRONMENTS = frozenset({"demo", "test"})
DEFAULT = "__default__"
WITH_NEW_ELECTRODES = (DEFAULT, "sem")


class DemoHook:
    """In the self-contained environments the default run first makes its own data."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Put ``synthesise`` in front of the default pipeline, what needs its results behind.

        That is applying and explaining the model that the run has just made, testing it on what is
        left out, varying its settings, drawing a quiz for experts, and setting cells beside frames.
        """
        if context.env in SELF_CONTAINED_ENVIRONMENTS:
            classify = pipeline(
                pipelines["sem_classify"], inputs={"sem_classifier_to_apply": "sem_classifier"}
            )
            survey = pipeline(
                pipelines["expert_survey"], inputs={"survey_classifier": "sem_classifier"}
            )
            pipelines[DEFAULT] = (
                pipelines["synthesise"]
                + pipelines[DEFAULT]
                + classify
                + pipelines["sem_explain"]
                + pipelines["sem_transfer"]
                + pipelines["sem_studies"]
                + survey
                + pipelines["cycling"]
                + pipelines["cycling_join"]
            )


class NewElectrodesHook:
    """Electrodes that training never saw are tested where there are any."""

    def __init__(self) -> None:
        self._warning = ""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Leave ``evaluate_additives`` out of the larger runs where it would find nothing."""
        self._warning = ""
        if context.env in SELF_CONTAINED_ENVIRONMENTS:
            return
        folder = context.config_loader["globals"]["sem_additive_root"]
        if _holds_frames(Path(context.project_path) / folder):
            return
        self._warning = (
            f"No new electrodes in {folder}: evaluate_additives is left out. To test the "
            "classifier on electrodes that it never saw, put frames into "
            f"{folder}/<composition>_<state>__<additive>/ (or without `__<additive>`) and run again"
        )
        excluded_nodes = {node.name for node in pipelines["evaluate_additives"].nodes}
        for name in WITH_NEW_ELECTRODES:
            kept = [node for node in pipelines[name].nodes if node.name not in excluded_nodes]
            pipelines[name] = Pipeline(kept)

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Say what is left out, and what to put where to have it."""
        asked = set(run_params.get("pipeline_names") or [DEFAULT])
        if self._warning and asked & set(WITH_NEW_ELECTRODES):
            logger.warning(self._warning)


def _holds_frames(folder: Path) -> bool:
    return (folder / FRAME_TABLE).is_file() or any(
        path.suffix.lower() in IMAGE_SUFFIXES for path in folder.rglob("*")
    )
