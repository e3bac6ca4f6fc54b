"""Results of other pipelines to a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ncm_kedro.provenance import RunRecord


def write_sem_report(lineage: Mapping[str, RunRecord], **results: Any) -> str:
    """Write the page that a user opens first; results have the names of their data sets."""
    from ncm_kedro.plotting.sem.page import STUDIES, STUDY_FIGURES
    from ncm_kedro.plotting.sem.report import render_sem_report

    loaded = {name: _load_parts(results[name]) for name in (STUDIES, STUDY_FIGURES)}
    return render_sem_report({**results, **loaded}, lineage)


def _load_parts(parts: Mapping[str, Callable[[], Any]] | None) -> dict[str, Any] | None:
    return None if parts is None else {name: load() for name, load in parts.items()}
