"""What a long run is doing: one line a node, with the time that is left; then what to open."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from kedro.config import MissingConfigException
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

logger = logging.getLogger(__name__)

_SHORT_S = 1.0
_TRUST_S = 60.0  # of measured time that the pace of the machine is held against


class ProgressHook:
    """Reports each node before it runs, and the time left in environments with ``progress.yml``.

    That file holds the seconds that the longer nodes took when they were measured; the pace of the
    present machine corrects them.
    """

    def __init__(self) -> None:
        self._measured_s: dict[str, float] = {}
        self._left_s: dict[str, float] = {}
        self._planned_s = 0.0
        self._started = 0.0

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read how long nodes take."""
        try:
            self._measured_s = context.config_loader["progress"]
        except MissingConfigException:
            self._measured_s = {}

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Add up what the run will take."""
        self._left_s = {
            node.name: self._measured_s.get(node.name, _SHORT_S) for node in pipeline.nodes
        }
        self._planned_s, self._started = sum(self._left_s.values()), time.monotonic()

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Report the node, and the time left at the pace so far where times were measured."""
        left = f"{len(self._left_s)} {'node' if len(self._left_s) == 1 else 'nodes'} to go"
        if self._measured_s:
            left += f", about {self._estimate_left_s() / 60:.0f} min left"
        logger.info("%s: %s", left, node.name.replace("_", " "))

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Strike the node off."""
        self._left_s.pop(node.name, None)

    @hook_impl(trylast=True)
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Name the pages that the run wrote."""
        for node in pipeline.nodes:
            for name in node.outputs:
                file = Path(str(getattr(catalog.get(name), "_filepath", "")))
                if file.suffix == ".html" and file.is_file():
                    near = file.is_relative_to(Path.cwd())
                    logger.info("written: %s", file.relative_to(Path.cwd()) if near else file)

    def _estimate_left_s(self) -> float:
        left_s = sum(self._left_s.values())
        done_s = self._planned_s - left_s
        return left_s * (time.monotonic() - self._started + _TRUST_S) / (done_s + _TRUST_S)
